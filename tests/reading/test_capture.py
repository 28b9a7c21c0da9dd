"""Reading captures: what is found, what is refused, and that statistics are those of pandas."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import schema, statistics
from quantum_pulse.errors import CaptureError, EmptyCaptureError, FormatVersionError, NotACaptureError


class Work(qp.Operation):
    READ = qp.op("Read", category="Input", priority=1)
    COUNT = qp.op("Count", category="Logic")


@pytest.fixture
def path(tmp_path, small_parts):
    target = tmp_path / "capture"
    with qp.record(target, metrics_interval_s=0.01) as recorder:
        for number in range(300):
            with Work.READ:
                pass
            if number % 3 == 0:
                with pytest.raises(KeyError), Work.COUNT:
                    raise KeyError
            if number == 150:
                recorder.flush()
    return target


def test_stats_are_those_of_pandas(path):
    capture = qp.open(path)
    table, samples = capture.stats(), capture.samples()
    assert list(table.columns) == list(statistics.COLUMNS)
    assert table.index.names == ["category", "operation"]
    # The module stands before the name where another class of that name was there first.
    counts = {(category, name.rpartition(".")[2]): count for (category, name), count in table["count"].items()}
    assert counts == {("Input", "READ"): 300, ("Logic", "COUNT"): 100}
    assert table["errors"].tolist() == [0, 100]
    for by, rows in (("operation", table), ("category", capture.stats(by="category"))):
        grouped = samples.groupby(by, observed=True)["duration_ns"]
        for name, q in statistics.QUANTILES.items():
            np.testing.assert_allclose(rows[name] * 1000, grouped.quantile(q), rtol=0, atol=1e-3)
        np.testing.assert_allclose(rows["std_us"] * 1000, grouped.std())
        np.testing.assert_array_equal(rows["total_us"], grouped.sum() / 1000)
        np.testing.assert_array_equal(rows["max_us"], grouped.max() / 1000)
    assert capture.losses().empty


def test_samples_can_be_chosen(path):
    capture = qp.open(path)
    everything = capture.samples()
    assert list(everything.columns) == [column.name for column in schema.SAMPLES]
    assert everything["start"].is_monotonic_increasing
    assert str(everything["start"].dtype) == "datetime64[ns, UTC]"
    assert len(capture.samples(Work.READ)) == 300
    assert len(capture.samples([Work.READ, Work.COUNT])) == len(capture.samples(Work)) == 400
    middle = everything["start"].iloc[200]
    assert len(capture.samples(end=middle)) + len(capture.samples(start=middle)) == 400
    assert len(capture.samples(start=middle.isoformat())) == len(capture.samples(start=middle))
    assert len(capture.samples(start=0)) == 400
    assert capture.samples(start=3600).empty
    assert list(capture.samples(columns=["duration_ns", "thread"]).columns) == ["duration_ns", "thread"]
    with pytest.raises(TypeError, match=r"did you mean Work\.READ"):
        capture.samples("Work.REED")
    with pytest.raises(TypeError, match=r"Work\.READ"):
        capture.samples(["Work.READ"])
    with pytest.raises(ValueError, match="no column 'duration'"):
        capture.samples(columns=["duration"])


def test_metrics_and_events_have_their_columns(path):
    capture = qp.open(path)
    assert list(capture.metrics().columns) == [column.name for column in schema.METRICS]
    assert list(capture.events().columns) == [column.name for column in schema.EVENTS]


def test_what_is_no_capture_is_refused(path, tmp_path):
    with pytest.raises(NotACaptureError, match="does not exist"):
        qp.open(tmp_path / "nothing")
    with pytest.raises(NotACaptureError, match=r"no capture\.json; captures in it: .*capture"):
        qp.open(tmp_path)
    with pytest.raises(NotACaptureError, match="did you mean"):
        qp.open(next(path.glob("samples/*.parquet")))
    (path / schema.MANIFEST).write_text(json.dumps({"format": 99}))
    with pytest.raises(FormatVersionError, match=r"format 99.*upgrade"):
        qp.open(path)


def test_what_cannot_be_a_path_is_refused(tmp_path):
    for wrong in ("", ["", tmp_path], "a\0b"):
        with pytest.raises(NotACaptureError, match=r"the path of a capture (is empty|must be a path)"):
            qp.open(wrong)
    for wrong in (None, 5, b"capture", [5]):
        with pytest.raises(TypeError, match=r"the path of a capture must be|expected the path of a capture"):
            qp.open(wrong)
    with pytest.raises(CaptureError, match="cannot be read: File name too long"):
        qp.open("a" * 300)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (float("nan"), "is not a valid time"),
        (np.float64("nan"), "is not a valid time"),
        (pd.NaT, "is not a valid time"),
        (np.timedelta64("NaT"), "is not a valid time"),
        ("", "is not a valid time"),
        ("nan", "is not a valid time"),
        ("yesterdayish", "is not a valid time"),
        (float("inf"), "is too far away"),
        (1e30, "is too far away"),
        (-1e30, "is too far away"),
        (10**400, "is too far away"),
        (9e9, "is too far away"),
        ("9999-01-01", "is too far away"),
        (dt.datetime(1600, 1, 1), "is too far away"),
        (dt.timedelta.max, "is too far away"),
    ],
)
def test_moments_that_are_none(path, moment, said):
    capture = qp.open(path)
    for name in ("start", "end"):
        with pytest.raises(ValueError, match=rf"^{name}=.* {said}"):
            capture.samples(**{name: moment})


def test_an_interval_that_ends_before_it_starts(path, tmp_path):
    capture = qp.open(path)
    swapped = {"start": 5, "end": 1.5}
    for ask in (
        capture.samples,
        capture.iter_samples,
        capture.stats,
        capture.timeline,
        capture.tree,
        capture.slowest,
        capture.validate,
        capture.overhead,
        capture.contrast,
        lambda **interval: capture.heatmap(Work.READ, **interval),
        lambda **interval: capture.export(tmp_path / "none.csv", **interval),
    ):
        with pytest.raises(ValueError, match=r"end=1\.5 is before start=5; the time interval must"):
            ask(**swapped)
    assert not (tmp_path / "none.csv").exists()
    assert capture.samples(start=1, end=1).empty


def test_one_sample_at_a_time(path):
    slowest = qp.open(path).slowest(3)
    assert slowest[-1].sample["duration_ns"] == slowest.table["duration_ns"].iloc[2]
    for wrong in (3, -4, 10**400):
        with pytest.raises(IndexError, match="there are 3 samples, counted from 0"):
            slowest[wrong]
    for wrong in (0.5, "x", None, slice(0, 2)):
        with pytest.raises(TypeError, match="the position of a sample in the table"):
            slowest[wrong]


def test_an_empty_capture_is_refused(tmp_path):
    with qp.record(tmp_path / "capture"):
        pass
    with pytest.raises(EmptyCaptureError, match="no operation ran"):
        qp.open(tmp_path / "capture")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "pages"])
def test_a_bad_part_is_left_out_and_reported(path, damage):
    first = sorted(path.glob("samples/*.parquet"))[0]
    content = bytearray(first.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "garbage":
        content[:] = b"no parquet at all"
    else:
        content[4:400] = bytes(396)
    first.write_bytes(content)
    capture = qp.open(path)
    assert 0 < capture.stats()["count"].sum() < 400
    losses = capture.losses()
    assert len(losses) == 1
    assert first.name in losses["cause"].iloc[0]
    assert "cannot be read" in losses["cause"].iloc[0]


def test_losses_are_told_once(path):
    file = next(path.glob("processes/*.json"))
    process = json.loads(file.read_text())
    loss = {
        "operation": "Work.READ",
        "thread": 1,
        "count": 7,
        "start": 10**18,
        "end": 10**18 + 5,
        "cause": "rings full",
    }
    process["losses"] = [loss, dict(loss)]
    process["account"]["lost"] = 7
    file.write_text(json.dumps(process))
    losses = qp.open(path).losses()
    assert list(losses.columns) == ["operation", "thread", "start", "end", "count", "cause"]
    assert losses["count"].tolist() == [7]
    assert losses["start"].iloc[0] == pd.Timestamp(10**18, tz="UTC")


def test_a_capture_shows_itself(path):
    capture = qp.open(path)
    assert "400 samples" in repr(capture)
    assert "Work.READ" in capture._repr_html_()
