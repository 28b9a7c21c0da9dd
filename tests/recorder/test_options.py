"""Options that a recording cannot have, or hardly: either they work, or they are refused with nothing left behind."""

import errno
import os
import time

import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import session
from quantum_pulse.recorder.recording import INHERITED
from quantum_pulse.rings.places import Place
from tests import agents
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
        {"writer": "process"},
        {"writer": None},
        {"ring_folder": "/nowhere"},
        {"ring_folder": ""},
        {"ring_folder": 5},
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


@pytest.mark.parametrize("where", ["memory", "capture", "folder"])
def test_a_budget_that_no_disk_has(tmp_path, where):
    """What is free is not only ours: others keep half of it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = tmp_path / "capture"
    options = {} if where == "memory" else {"ring_folder": path if where == "capture" else folder}
    path.mkdir()
    with qp.record(path, budget_bytes=2**61, **options):
        work(1000)
        (ring,) = agents.rings(path)
        found = os.statvfs(ring)
        assert ring.stat().st_size <= (found.f_bavail * found.f_frsize + 2**28) * 0.51
        assert ring.stat().st_blocks * 512 < 2**24, "it is taken as it is needed"
    assert len(qp.open(path).samples()) == 1000


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_no_room_for_the_rings(tmp_path, monkeypatch, where):
    memory = tmp_path / "memory"
    memory.mkdir()
    path = tmp_path / "capture"

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(session.core, "start", full)
        with pytest.raises(RecordingError, match=r"cannot record into .*: No space left on device"):
            qp.start(path, **({"ring_folder": memory} if where == "folder" else {}))
    assert session.active() is None
    assert INHERITED not in os.environ
    left = [
        file
        for folder in (path, memory)
        for file in folder.rglob("*")
        if not file.is_dir() and file.name != schema.MANIFEST
    ]
    assert left == [], "what never began is not a recording"
    assert not os.path.exists(Place(str(path)).control)  # noqa: PTH110
    with qp.record(path):
        work()
    assert_is_whole(path)
