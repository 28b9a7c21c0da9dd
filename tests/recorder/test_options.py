"""Options that a recording cannot have, or hardly: either they work, or they are refused with nothing left behind."""

import time

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import session
from tests.recorder.work import assert_is_whole, work

SMALLEST = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES


@pytest.mark.parametrize(
    "options",
    [
        {"if_exists": "overwrite"},
        {"if_exists": None},
        {"metrics_interval_s": 0},
        {"metrics_interval_s": -1},
        {"metrics_interval_s": float("nan")},
        {"budget_bytes": 0},
        {"budget_bytes": SMALLEST - 1},
        {"budget_bytes": -SMALLEST},
    ],
    ids=str,
)
def test_options_that_make_no_sense(tmp_path, options):
    (name,) = options
    with pytest.raises(RecordingError, match=name):
        qp.start(tmp_path / "capture", **options)
    assert session.active() is None
    assert not (tmp_path / "capture").exists()


@pytest.mark.parametrize(
    "options",
    [{"budget_bytes": "a lot"}, {"budget_bytes": 1e9}, {"metrics_interval_s": "fast"}, {"no_such_option": 1}],
    ids=str,
)
def test_options_of_another_kind(tmp_path, options):
    """Either it works or it is refused with nothing left behind."""
    try:
        qp.start(tmp_path / "capture", **options).stop()
    except (TypeError, RecordingError):
        assert not list((tmp_path / "capture").rglob("*.*"))


@pytest.mark.parametrize("interval", [float("inf"), 1e10, 1e-9])
def test_metrics_at_odd_intervals_say_nothing(tmp_path, caplog, interval):
    try:
        with qp.record(tmp_path / "capture", metrics_interval_s=interval):
            work()
            time.sleep(0.02)
    except RecordingError:
        return
    assert caplog.messages == []
    assert not qp.open(tmp_path / "capture").metrics().empty


def test_a_budget_that_no_disk_has(tmp_path):
    with pytest.raises(RecordingError, match="cannot record into"):
        qp.start(tmp_path / "capture", budget_bytes=2**61)
    assert session.active() is None
    left = [file for file in (tmp_path / "capture").rglob("*") if file.is_file() and file.name != schema.MANIFEST]
    assert left == [], "what never began is not a recording"
    with qp.record(tmp_path / "capture"):
        work()
    assert_is_whole(tmp_path / "capture")
