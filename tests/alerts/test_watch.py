"""Rules on captures: replayed, and followed while they are written; and who is told."""

import http.server
import json
import subprocess
import sys
import threading
import time

import pytest

import quantum_pulse as qp
from quantum_pulse.alerts import following, rule_file, sinks
from quantum_pulse.alerts.evaluator import Change
from quantum_pulse.reading.selection import Recorded
from tests import commands
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture

RULES = """
[[alert]]
operation = "T.A"
quantile = 0.9
above_us = 5
for_s = 30
severity = "warning"

[[slo]]
category = "one"
within_us = 5
objective = 0.99
name = "all of one"
"""


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    return tmp_path / "rules.toml"


def test_a_file_makes_the_same_rules(rules):
    assert rule_file.read(rules) == [
        qp.Alert(Recorded("T.A"), quantile=0.9, above_us=5, for_s=30, severity="warning"),
        qp.SLO(qp.Category("one"), within_us=5, objective=0.99, name="all of one"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no rules"),
        ("[[alerts]]", "did you mean alert"),
        ("[alert]\n", "two brackets"),
        ("[[alert]]\nerrors_above = 1", "alert 1: say what is watched"),
        ('[[alert]]\noperation = "A"\nerors_above = 1', "no 'erors_above'; did you mean errors_above"),
        ('[[alert]]\noperation = "A"\nerrors_above = 5', "alert 1: errors_above must be a number between 0 and 1"),
        ('[[slo]]\noperation = "A"\n[[slo]]\noperation = "A"', "two rules are called"),
        ("[[alert", "rules.toml: Expected"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, text, why):
    (tmp_path / "rules.toml").write_text(text)
    with pytest.raises(ValueError, match=why):
        rule_file.read(tmp_path / "rules.toml")
    said = commands.run("watch", tmp_path, "--rules", tmp_path / "rules.toml", "--replay")
    assert (said.returncode, "rules.toml" in said.stderr) == (2, True)


def test_a_past_capture_is_replayed(write_capture):  # noqa: F811 - the fixture
    durations = [1_000] * 600 + [9_000] * 600 + [1_000] * 1200
    rows = [{"start": number * 10**8, "duration": duration} for number, duration in enumerate(durations)]
    path = write_capture([rows[:1000], rows[1000:]])
    capture = qp.open(path)
    (name,) = capture.operations
    rule = qp.Alert(Recorded(name), quantile=0.9, above_us=5, for_s=30)
    start_s = write_capture.anchor_ns / 1e9
    changes = list(following.replay(capture._source, [rule]))
    assert [change.is_firing for change in changes] == [True, False]
    assert start_s + 60 < changes[0].at_s <= start_s + 75
    assert start_s + 150 <= changes[1].at_s <= start_s + 185
    counts = following.counted(capture._source, capture._source.sound("samples"), [rule])
    assert sum(calls for by_rule in counts.values() for calls, _ in by_rule.values()) == 2400
    assert sum(bad for by_rule in counts.values() for _, bad in by_rule.values()) == 600
    (path / "rules.toml").write_text(f'[[alert]]\noperation = "{name}"\nquantile = 0.9\nabove_us = 5\nfor_s = 30\n')
    said = commands.run("watch", path, "--rules", path / "rules.toml", "--replay")
    assert said.returncode == 0
    assert [line.split()[3] for line in said.stdout.splitlines()[:2]] == ["firing", "resolved"]
    assert said.stdout.splitlines()[-1] == "1 alert of 1 rule"


def test_a_follower_counts_what_is_new_once(write_capture):  # noqa: F811 - the fixture
    path = write_capture([[{"duration": 9_000}] * 100])
    (name,) = qp.open(path).operations
    follower = following.Follower(path, [qp.Alert(Recorded(name), quantile=0.9, above_us=5)])
    assert follower.poll() == []
    write_capture([[{"duration": 9_000}] * 100], path=path, process=2)
    (change,) = follower.poll()
    assert change.is_firing
    assert "of 100 calls" in change.summary
    assert follower.poll() == []


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.received.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(500 if len(self.server.received) == 1 else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with http.server.HTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


FIRING = Change("A fails", "critical", True, 1_800_000_000.25, 1_800_000_000.25, "all of it")


def test_a_webhook_is_tried_again(receiver):
    sink = sinks.webhook(f"http://127.0.0.1:{receiver.server_address[1]}/api/v2/alerts", {"capture": "c"})
    sink._pause_s = 0.01
    sink.put(FIRING)
    sink.put(FIRING._replace(is_firing=False, at_s=1_800_000_060.0))
    sink.close(30)
    (path, body), *_ = receiver.received
    assert path == "/api/v2/alerts"
    assert body == [
        {
            "labels": {"capture": "c", "alertname": "A fails", "severity": "critical"},
            "annotations": {"summary": "all of it"},
            "startsAt": "2027-01-15T08:00:00.250Z",
        }
    ]
    assert len(receiver.received) == 3
    assert receiver.received[2][1][0]["endsAt"] == "2027-01-15T08:01:00.000Z"


def test_a_command_gets_json(tmp_path):
    sink = sinks.command(["sh", "-c", f"cat > {tmp_path}/got"])
    sink.put(FIRING)
    sink.close(30)
    assert json.loads((tmp_path / "got").read_text())["title"] == "A fails"


def test_a_sink_that_hangs_or_fails_holds_nobody_up():
    hangs, gate = [], threading.Event()
    slow = sinks.Sink("slow", lambda change: (hangs.append(change), gate.wait(30)))
    begun = time.monotonic()
    for _ in range(1000):
        slow.put(FIRING)
    assert time.monotonic() - begun < 2
    assert slow.dropped >= 890
    gate.set()
    slow.close(30)

    tries = []

    def fail(change):
        tries.append(change)
        raise OSError("no route to host")

    failing = sinks.Sink("failing", fail, pause_s=0.001)
    failing.put(FIRING)
    failing.close(30)
    assert (len(tries), failing.dropped) == (5, 1)


PROGRAM = """
import sys, time, quantum_pulse as qp
class Api(qp.Operation):
    REQUEST = qp.op()
recorder = qp.start(sys.argv[1])
print("started", flush=True)
while True:
    try:
        with Api.REQUEST:
            raise ValueError
    except ValueError:
        time.sleep(0.005)
"""


def test_the_command_watches_a_running_service(tmp_path, receiver):
    (tmp_path / "rules.toml").write_text('[[slo]]\noperation = "Api.REQUEST"\n')
    with subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path / "c"], stdout=subprocess.PIPE) as service:
        try:
            assert service.stdout.readline()
            command = [
                sys.executable,
                "-m",
                "quantum_pulse",
                "watch",
                tmp_path / "c",
                "--rules",
                tmp_path / "rules.toml",
            ]
            command += ["--webhook", f"http://127.0.0.1:{receiver.server_address[1]}/"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
                assert watch.stdout.readline().startswith("1 rule on ")
                said = watch.stdout.readline()
                watch.terminate()
                assert watch.wait(30) == 0
        finally:
            service.kill()
    assert "firing" in said
    assert "Api.REQUEST: 99.9% succeed" in said
    assert receiver.received[-1][1][0]["labels"]["capture"] == "c"
