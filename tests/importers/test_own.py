"""What quantum_pulse exports comes back as it was: exported again, it is the same file."""

import asyncio

import pytest

import quantum_pulse as qp
from tests.reading.conftest import write_capture  # noqa: F401 - a fixture


class Work(qp.Operation):
    OUTER = qp.op(sample_every=1)
    INNER = qp.op()
    PAUSED = qp.op()


def again(capture, folder):
    """Export, import, export; the imported capture, after both files have been compared."""
    capture.export(folder / "first.trace.json")
    made = qp.import_trace(folder / "first.trace.json", folder / "imported")
    made.capture.export(folder / "second.trace.json")
    assert (folder / "second.trace.json").read_bytes() == (folder / "first.trace.json").read_bytes()
    assert made.lost == {}
    assert made.events == made.samples + sum(made.refused.values())
    return made.capture


@pytest.mark.parametrize("name", ["slow_exchange", "engine"])
def test_the_sample_data(name, tmp_path):
    capture = qp.sample(name)
    imported = again(capture, tmp_path)
    for table in ("samples", "events", "metrics"):
        before, after = getattr(capture, table)(), getattr(imported, table)()
        assert before.astype(str).equals(after[before.columns].astype(str)), table
    assert imported.tree().equals(capture.tree())


def test_a_recording_with_tasks_errors_and_timers(tmp_path):
    async def task():
        for _ in range(5):
            with Work.OUTER, Work.INNER:
                await asyncio.sleep(0)

    async def several():
        await asyncio.gather(*(task() for _ in range(4)))

    with qp.record(tmp_path / "c"):
        asyncio.run(several())
        timer = Work.PAUSED.timer()
        timer.resume()
        with pytest.raises(KeyError), Work.INNER:
            raise KeyError
        timer.pause()
        timer.finish()
    imported = again(qp.open(tmp_path / "c"), tmp_path)
    assert imported.stats()["errors"].sum() == 1


def test_captures_of_hosts_with_the_same_numbers(write_capture, tmp_path):  # noqa: F811 - the fixture
    rows = [{"duration": 10, "thread": 5, "start": place * 100, "weight": 3} for place in range(5)]
    paths = [write_capture([rows], path=tmp_path / name, process=5) for name in "ab"]
    imported = again(qp.open(paths), tmp_path)
    assert len(imported.samples()) == 10
    assert set(imported.samples()["weight"]) == {3}
