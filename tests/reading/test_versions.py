"""Captures of version 1 stay readable, alone and with parts of version 2 beside them."""

import json
import math
import shutil
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import metrics, schema
from quantum_pulse.agent import parts
from quantum_pulse.errors import FormatVersionError
from tests.reading.conftest import ANCHOR_NS

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"
NEW_METRICS = set(metrics.NAMES[metrics.NAMES.index("gc_pause_us") + 1 :])


@pytest.fixture(params=["engine", "slow_exchange"])
def version_1(request, tmp_path):
    """A copy of a capture that version 1 recorded."""
    path = tmp_path / request.param
    shutil.copytree(SAMPLE_DATA / request.param, path)
    assert json.loads((path / schema.MANIFEST).read_text())["format"] == 1
    return path


def metrics_row(number, **values):
    row = dict.fromkeys(metrics.NAMES, 1)
    return {**row, "time": ANCHOR_NS + number * 10**8, "interval_ns": 10**8, "process": 1, **values}


def rewrite(path, *, drop=(), version=None):
    """Write a part anew without the columns `drop`, as one of `version`."""
    table = pq.read_table(path)
    footer = json.loads(table.schema.metadata[schema.FOOTER_KEY.encode()])
    footer["format"] = version or footer["format"]
    text = json.dumps(footer)
    metadata = {schema.FOOTER_KEY: text, schema.FOOTER_CHECKSUM_KEY: f"{zlib.crc32(text.encode()):08x}"}
    pq.write_table(table.drop_columns(list(drop)).replace_schema_metadata(metadata), path)


def test_missing_metrics_and_events_are_null(version_1):
    capture = qp.open(version_1)
    found = capture.metrics()
    assert list(found.columns) == [column.name for column in schema.METRICS]
    assert found[sorted(NEW_METRICS)].isna().all(axis=None)
    assert found[sorted(set(metrics.NAMES) - NEW_METRICS)].notna().any().all()
    events = capture.events()
    assert list(events.columns) == [column.name for column in schema.EVENTS]
    assert events["value"].isna().all()
    assert events["generation"].notna().all()
    assert capture.losses().empty


def test_every_method_reads_version_1(version_1, tmp_path):
    capture = qp.open(version_1)
    operation = next(iter(capture.operations.Engine))
    samples = capture.samples()
    start = samples["start"].iloc[0]
    third = (samples["start"].iloc[-1] - start) / 3
    assert capture.stats()["count"].sum() == len(samples)
    timeline = capture.timeline("100ms")
    assert timeline[sorted(NEW_METRICS)].isna().all(axis=None)
    assert timeline["cpu_process_percent"].notna().any()
    assert not capture.tree().empty
    assert not capture.heatmap(operation).empty
    assert len(capture.slowest(5))
    assert capture.unfinished().empty
    correlations = capture.correlate()
    assert "run_queue_us" in set(correlations.table["metric"])
    contrast = capture.contrast(start + third, start + 2 * third)
    assert len(contrast.table)
    assert repr(correlations)
    assert repr(contrast)
    assert not capture.budgets().empty
    assert not capture.overhead().empty
    assert not capture.definitions().empty
    assert capture.plot()
    assert capture.explore()
    assert capture._repr_html_()
    assert capture.report(tmp_path / "report.html")
    assert not capture.compare(capture).differences
    for table in ("samples", "metrics", "events", "stats"):
        for suffix in ("parquet", "csv", "arrow"):
            capture.export(tmp_path / f"{table}.{suffix}", table=table)
    capture.export(tmp_path / "trace.json", format="trace")
    written = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    counters = {event["name"] for event in written if event["ph"] == "C"}
    assert counters
    assert not counters & NEW_METRICS
    assert all("value" not in event["args"] for event in written if event.get("cat") == "events")


def test_parts_of_both_versions_in_one_capture(version_1):
    before = qp.open(version_1)
    old = before.metrics()
    end = old["time"].iloc[-1].value
    recording = next((version_1 / schema.PROCESSES).iterdir()).stem
    rows = [metrics_row(0, time=end + number * 10**8, run_queue_us=number * 1000) for number in range(1, 4)]
    footer = {"format": 2, "process": 1}
    parts.write_rows(version_1 / "metrics" / f"{recording}-000090.parquet", "metrics", rows, footer)
    events = [
        {"event": "gc", "start": end, "duration_ns": 5, "thread": 7, "generation": 2, "collected": 9, "value": None},
        {"event": "clock_step", "start": end + 1, "duration_ns": 0, "thread": 0, "value": -3.5}
        | dict.fromkeys(("generation", "collected")),
    ]
    events = [{**event, "process": 1} for event in events]
    parts.write_rows(version_1 / "events" / f"{recording}-000091.parquet", "events", events, footer)

    capture = qp.open(version_1)
    assert capture.losses().empty
    assert len(capture.metrics()) == len(old) + 3
    assert capture.metrics()["run_queue_us"].dropna().tolist() == [1000, 2000, 3000]
    assert capture.metrics()["container_cpu_quota"].isna().sum() == len(old)
    assert len(capture.events()) == len(before.events()) + 2
    step = capture.events().iloc[-1]
    assert (step["event"], step["value"]) == ("clock_step", -3.5)
    assert math.isnan(step["generation"])
    assert math.isnan(step["collected"])


def test_a_trace_has_the_step_of_the_clock(write_capture, tmp_path):
    path = write_capture([[{"duration": 10**6}]])
    step = {"event": "clock_step", "start": ANCHOR_NS + 10, "duration_ns": 0, "thread": 0, "process": 1, "value": 12.5}
    step |= dict.fromkeys(("generation", "collected"))
    parts.write_rows(path / "events" / "1-abcd-000007.parquet", "events", [step], {"format": 2, "process": 1})
    capture = qp.open(path)
    capture.export(tmp_path / "trace.json", format="trace")
    written = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    (found,) = (event for event in written if event.get("cat") == "events")
    assert (found["name"], found["args"]) == ("clock_step", {"value": 12.5, "thread": 0})
    assert capture.slowest(1)[0].events["event"].tolist() == ["clock_step"]


@pytest.mark.parametrize(
    ("table", "missing"), [("metrics", sorted(NEW_METRICS)), ("events", ["value"]), ("samples", ["error"])]
)
def test_a_part_without_columns_that_may_be_null(write_capture, table, missing):
    path = write_capture([[{"duration": 5}, {"duration": 6}]])
    rows = {"metrics": metrics_row(1), "events": dict.fromkeys((column.name for column in schema.EVENTS), 1)}
    if table in rows:
        row = rows[table] | ({"event": "gc", "start": ANCHOR_NS} if table == "events" else {})
        parts.write_rows(path / table / "1-abcd-000005.parquet", table, [row], {"format": 1, "process": 1})
    (file,) = (path / table).iterdir()
    rewrite(file, drop=missing, version=1)
    capture = qp.open(path)
    found = getattr(capture, table)()
    assert found[missing].isna().all(axis=None)
    assert len(found) == (2 if table == "samples" else 1)
    assert capture.stats()["count"].sum() == 2
    assert capture.stats()["errors"].sum() == 0
    assert sum(map(len, capture.iter_samples())) == 2
    assert capture.losses().empty


def test_a_part_without_a_column_that_it_must_have_is_damaged(write_capture):
    path = write_capture([[{"duration": 5}]])
    parts.write_rows(path / "metrics" / "1-abcd-000005.parquet", "metrics", [metrics_row(1)], {"format": 2})
    rewrite(path / "metrics" / "1-abcd-000005.parquet", drop=["rss_bytes"])
    capture = qp.open(path)
    assert capture.metrics().empty
    (loss,) = capture.losses()["cause"]
    assert "rss_bytes" in loss


def test_a_newer_version_is_refused(write_capture):
    path = write_capture([[{"duration": 5}]])
    newer = schema.FORMAT_VERSION + 1
    (path / schema.MANIFEST).write_text(json.dumps({"format": newer}))
    with pytest.raises(FormatVersionError, match=f"is of format {newer}, and this .* reads up to format 2"):
        qp.open(path)


def test_a_newer_part_is_a_loss(write_capture):
    path = write_capture([[{"duration": 5}], [{"duration": 6}]])
    rewrite(sorted((path / "samples").iterdir())[-1], version=schema.FORMAT_VERSION + 1)
    capture = qp.open(path)
    assert len(capture.samples()) == 1
    assert "is of format 3" in capture.losses()["cause"].iloc[0]
