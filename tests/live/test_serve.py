"""A capture over HTTP, read by Prometheus and by its client's parsers."""

import contextlib
import gzip
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

import quantum_pulse as qp
from quantum_pulse import histogram
from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.keep import Keep
from quantum_pulse.live import exposition
from quantum_pulse.live.counters import Counters
from quantum_pulse.live.server import Server
from quantum_pulse.reading import reader
from tests import commands
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture
from tests.view.captures import ENGINE

DURATION = "quantum_pulse_duration_seconds"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@contextlib.contextmanager
def serving(path, **options):
    with Server(path, (options.pop("host", "127.0.0.1"), 0), **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server, path, headers=None):
    url = urllib.parse.urljoin(server.url, path)
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=30) as answer:
        return answer.headers, answer.read()


def refused(server, path, headers=None):
    with pytest.raises(urllib.error.HTTPError) as error:
        get(server, path, headers)
    with error.value:
        return error.value.code, error.value.read().decode()


def samples(server):
    """All samples, by name and labels."""
    text = get(server, "metrics", OPENMETRICS)[1].decode()
    families = openmetrics_parser.text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples]


def counts(server):
    return {one.labels["operation"]: one.value for one in samples(server) if one.name == f"{DURATION}_count"}


def test_figures_equal_the_statistics():
    capture = qp.open(ENGINE)
    stats, calls = capture.stats().reset_index("category"), capture.samples()
    budgets = capture.definitions()["budget_us"].dropna()
    with serving(ENGINE) as server:
        found = samples(server)
        headers, body = get(server, "metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert any(family.type == "counter" for family in parser.text_string_to_metric_families(body.decode()))
    assert {one.labels["operation"]: one.value for one in found if one.name == "quantum_pulse_errors_total"} == stats[
        "errors"
    ].to_dict()
    bounds = {}
    for one in found:
        own = calls.loc[calls["operation"] == one.labels.get("operation"), "duration_ns"]
        if one.name == f"{DURATION}_count":
            assert one.value == stats.loc[one.labels["operation"], "count"]
        elif one.name == f"{DURATION}_sum":
            assert one.value == pytest.approx(own.sum() / 1e9, rel=1e-12)
        elif one.name == f"{DURATION}_bucket":
            bound = float(one.labels["le"])
            assert one.value == (own <= round(min(bound * 1e9, 2**62))).sum(), one
            bounds.setdefault(one.labels["operation"], []).append(bound)
            if one.exemplar is not None:
                call = calls[calls["span"] == int(one.exemplar.labels["span"])].iloc[0]
                assert one.exemplar.value == call["duration_ns"] / 1e9 <= bound
    assert any(one.exemplar for one in found)
    assert len(budgets)
    for name, budget_us in budgets.items():
        assert min(abs(bound - budget_us / 1e6) for bound in bounds[name]) < budget_us / 1e6 / histogram.LINEAR


def test_json_says_what_stats_does():
    with serving(ENGINE) as server:
        exact = json.loads(get(server, "stats.json?approximate=false&start=0.1&end=0.5")[1])["operations"]
        rough = json.loads(get(server, "stats.json")[1])["operations"]
        assert refused(server, "stats.json?begin=1") == (
            400,
            "there is no parameter 'begin'; there are approximate, end, start\n",
        )
        assert refused(server, "stats.json?approximate=perhaps")[0] == 400
        assert refused(server, "stats.json?start=yesterday-ish")[0] == 400
        code, why = refused(server, "nothing")
        assert (code, "/metrics" in why) == (404, True)
    capture = qp.open(ENGINE)
    for found, wanted in (
        (exact, capture.stats(start=0.1, end=0.5)),
        (rough, capture.stats(approximate=True)),
    ):
        assert [one["operation"] for one in found] == wanted.index.get_level_values("operation").tolist()
        for name in wanted.columns:
            assert [one[name] for one in found] == pytest.approx(
                [None if value != value else value for value in wanted[name].tolist()]
            )


def test_the_page_is_a_report_that_reloads():
    with serving(ENGINE) as server:
        headers, body = get(server, "", {"Accept-Encoding": "gzip"})
        assert get(server, "")[1] == gzip.decompress(body), "it is made once"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    page = gzip.decompress(body).decode()
    assert 'http-equiv="refresh"' in page
    assert "Engine.ORDER" in page


def test_other_machines_need_a_token(tmp_path):
    with pytest.raises(ValueError, match="set a token"):
        Server(ENGINE, ("0.0.0.0", 0))
    with serving(ENGINE, token="geheim") as server:
        assert refused(server, "metrics")[0] == 401
        assert refused(server, "metrics", {"Authorization": "Bearer falsch"})[0] == 401
        assert refused(server, "metrics", {"Authorization": "Basic geheim"})[0] == 401
        assert get(server, "metrics", {"Authorization": "Bearer geheim"})[1]
        assert get(server, "metrics", {"Authorization": "Basic dTpnZWhlaW0="})[1]
    (tmp_path / "empty").write_text("\n")
    said = commands.run("serve", ENGINE, "--token-file", tmp_path / "empty")
    assert (said.returncode, "is empty" in said.stderr) == (2, True)
    assert commands.run("serve", ENGINE, "--host", "0.0.0.0").returncode == 2
    assert "no-such" in commands.run("serve", tmp_path / "no-such", "--port", "0").stderr


def test_a_site_that_resolves_to_this_machine_reads_nothing():
    with serving(ENGINE) as server:
        port = server.server_address[1]
        for host, status in (("evil.example", 403), (f"127.0.0.1:{port}", 200), (f"localhost:{port}", 200)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/metrics", headers={"Host": host})
            assert connection.getresponse().status == status, host
            connection.close()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", exposition.CLASSIC),
        ("*/*", exposition.CLASSIC),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", exposition.OPENMETRICS),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.1", exposition.CLASSIC),
        (f"{exposition.PROTOBUF.content_type},application/openmetrics-text;q=0.8", exposition.PROTOBUF),
        ("application/vnd.google.protobuf;proto=other;encoding=delimited,text/plain;q=0.1", exposition.CLASSIC),
        ("application/openmetrics-text;q=many", exposition.CLASSIC),
    ],
)
def test_the_format_is_negotiated(accept, wanted):
    assert exposition.negotiated(accept) is wanted


def refreshed(counters):
    counters.refresh()
    return {key.operation: (tally.count, tally.errors, tally.total_ns) for key, tally in counters.tallies.items()}


def test_what_is_merged_expires_or_is_damaged_stays_counted(write_capture):  # noqa: F811 - the fixture
    rows = [{"operation": 0, "start": number * 10**9, "duration": 1000 + number} for number in range(8)]
    path = write_capture([rows[:3], rows[3:5], rows[5:]])
    counters = Counters(path)
    before = refreshed(counters)
    ((count, _, total_ns),) = before.values()
    assert (count, total_ns) == (8, sum(row["duration"] for row in rows))
    _, second, _ = sorted((path / "samples").iterdir())
    content = second.read_bytes()
    second.write_bytes(content[:-40])
    assert refreshed(counters) == before
    second.write_bytes(content)
    assert refreshed(counters) == before
    assert Expiry(path, Keep(bytes=1), lambda _: True).run(time.time_ns()).parts
    assert refreshed(counters) == before == refreshed(Counters(path))
    (newest,) = (path / "samples").iterdir()
    shutil.copy(newest, path / "samples" / "1-abcd-000009.parquet")
    assert next(iter(refreshed(counters).values()))[0] == 11
    newest.unlink()
    assert next(iter(refreshed(counters).values()))[0] == 11


def test_a_refresh_reads_only_what_is_new(write_capture, monkeypatch):  # noqa: F811 - the fixture
    path = write_capture([[{"duration": 1000}]] * 50)
    counters = Counters(path)
    counters.refresh()
    read = []
    add_part = reader.plausible.check_file
    monkeypatch.setattr(reader.plausible, "check_file", lambda *about: read.append(about) or add_part(*about))
    counters.refresh()
    assert not read
    write_capture([[{"duration": 1000}]], path=path, process=2)
    counters.refresh()
    assert len(read) == 1
    assert sum(tally.count for tally in counters.tallies.values()) == 51


WORKER = """
import os, sys, quantum_pulse as qp
class Job(qp.Operation):
    RUN = qp.op(budget_us=50)
recorder = qp.start(sys.argv[1])
for _ in range(500):
    with Job.RUN:
        pass
recorder.flush()
print("done", flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
recorder.stop()
"""


def test_counters_never_fall_while_workers_are_recycled_and_killed(tmp_path):
    path, seen = tmp_path / "capture", []
    server = None
    with contextlib.ExitStack() as stack:
        for number in range(6):
            how = "killed" if number % 2 else "ends"
            with subprocess.Popen([sys.executable, "-c", WORKER, path, how], stdout=subprocess.PIPE) as worker:
                assert worker.stdout.readline() == b"done\n"
                server = server or stack.enter_context(serving(path))
                while worker.poll() is None:
                    seen.append(counts(server).get("Job.RUN", 0))
            seen.append(counts(server)["Job.RUN"])
            assert seen[-1] == 500 * (number + 1)
        assert seen == sorted(seen)
    assert qp.open(path).stats()["count"].tolist() == [3000]


def test_the_command_serves_until_it_is_terminated():
    with subprocess.Popen(
        [sys.executable, "-m", "quantum_pulse", "serve", ENGINE, "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as program:
        url = program.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{url}metrics", timeout=30) as answer:
            assert DURATION in answer.read().decode()
        program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("feature", ["native-histograms", "exemplar-storage"])
def test_prometheus_reads_it(tmp_path, feature):
    """With native histograms it asks for protocol buffers, without for OpenMetrics."""
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    stats = qp.open(ENGINE).stats(approximate=True).reset_index("category")
    is_native = feature == "native-histograms"
    port = free_port()

    def ask(query):
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            rows = json.load(answer)["data"]["result"]
        return {row["metric"].get("operation", ""): float(row["value"][1]) for row in rows}

    with serving(ENGINE, token="geheim") as server:
        (tmp_path / "prometheus.yml").write_text(
            "scrape_configs: [{job_name: service, scrape_interval: 200ms, scrape_timeout: 200ms, "
            f"authorization: {{credentials: geheim}}, static_configs: [{{targets: ['{server.url[7:-1]}']}}]}}]"
        )
        log = (tmp_path / "log").open("wb")
        program = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
             f"--web.listen-address=127.0.0.1:{port}", f"--enable-feature={feature}"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=log,
            env={**os.environ, "GOMAXPROCS": "1"},
        )  # fmt: skip
        try:
            give_up = time.monotonic() + 60
            errors = {}
            while not errors:
                assert time.monotonic() < give_up, (tmp_path / "log").read_text()
                assert program.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
                with contextlib.suppress(OSError):
                    errors = ask("quantum_pulse_errors_total")
            assert ask("up") == {"": 1.0}
            assert errors == stats["errors"].to_dict()
            counted = f"histogram_count({DURATION})" if is_native else f"{DURATION}_count"
            summed = f"histogram_sum({DURATION})" if is_native else f"{DURATION}_sum"
            assert ask(counted) == stats["count"].to_dict()
            assert ask(summed) == pytest.approx((stats["total_us"] / 1e6).to_dict())
            if is_native:
                medians = ask(f"histogram_quantile(0.5, {DURATION})")
                many = stats.index[stats["count"] > 100]
                assert len(many)
                for name in many:
                    assert medians[name] == pytest.approx(stats.loc[name, "p50_us"] / 1e6, rel=0.1), name
        finally:
            program.terminate()
            program.wait(20)
            log.close()
