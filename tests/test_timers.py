"""PausableTimer: one sample, the active time in it and the pauses not."""

import asyncio
import time

import pandas as pd
import pytest

import quantum_pulse as qp


class Paused(qp.Operation):
    WORK = qp.op("In pieces")
    INNER = qp.op("Inside a piece")
    OUTER = qp.op("Around")
    WHOLE = qp.op("The pieces and the pauses")
    PARSE = qp.op("With attributes", attributes={"feed": str, "bytes": int}, cpu_time=True)
    BOTH = qp.op("Shares one of them", attributes={"feed": str})


@pytest.fixture
def recorder(tmp_path):
    with qp.record(tmp_path / "capture") as recorder:
        yield recorder


def rows(recorder):
    recorder.flush()
    return qp.open(recorder.path).samples().set_index("operation")


def test_pieces(recorder):
    before = time.perf_counter_ns()
    timer = Paused.WORK.timer()
    assert (timer.active_ns, timer.elapsed_ns) == (0, 0)
    for _ in range(3):
        timer.resume()
        time.sleep(0.005)
        timer.pause()
        time.sleep(0.02)
    timer.finish()
    after = time.perf_counter_ns()
    row = rows(recorder).loc["Paused.WORK"]
    assert row["duration_ns"] == timer.active_ns
    assert 15e6 <= timer.active_ns < 40e6
    assert timer.active_ns + 40e6 <= timer.elapsed_ns <= after - before
    assert (row["weight"], row["error"] != row["error"]) == (1, True)


def test_as_a_context_manager_with_a_parent_and_children(recorder):
    with Paused.OUTER, Paused.WORK.timer() as timer:
        with Paused.INNER:
            pass
        timer.pause()
    found = rows(recorder)
    assert found.loc["Paused.WORK", "parent"] == found.loc["Paused.OUTER", "span"]
    # A timer is not open as a block is, so what runs meanwhile is its sibling.
    assert found.loc["Paused.INNER", "parent"] == found.loc["Paused.OUTER", "span"]


def test_elapsed_time_is_a_sample_of_another_operation(recorder):
    timer = Paused.WORK.timer(elapsed=Paused.WHOLE)
    timer.resume()
    timer.pause()
    time.sleep(0.01)
    with pytest.raises(KeyError), timer:
        raise KeyError
    found = rows(recorder)
    work, whole = found.loc["Paused.WORK"], found.loc["Paused.WHOLE"]
    assert work["duration_ns"] == timer.active_ns
    assert whole["duration_ns"] == timer.elapsed_ns >= timer.active_ns + 10_000_000
    assert (whole["start"], whole["parent"], whole["error"]) == (work["start"], work["parent"], "KeyError")


def test_elapsed_takes_another_operation():
    with pytest.raises(ValueError, match=r"needs an operation of its own"):
        Paused.WORK.timer(elapsed=Paused.WORK)
    with pytest.raises(TypeError, match=r"Paused\.WHOLE"):
        Paused.WORK.timer(elapsed="Paused.WHOL")


def test_an_error(recorder):
    with pytest.raises(KeyError), Paused.WORK.timer():
        raise KeyError
    assert rows(recorder).loc["Paused.WORK", "error"] == "KeyError"


def test_calls_that_change_nothing(recorder):
    timer = Paused.WORK.timer()
    timer.pause()
    timer.resume()
    timer.resume()
    timer.pause()
    timer.pause()
    timer.finish()
    active = timer.active_ns
    timer.finish()
    timer.resume()
    assert timer.active_ns == active
    Paused.INNER.timer().finish()  # never resumed: there is nothing to record
    assert rows(recorder).index.tolist() == ["Paused.WORK"]
    assert recorder.account()["started"] == 1


def test_in_tasks(recorder):
    async def work():
        timer = Paused.WORK.timer()
        timer.resume()
        timer.pause()
        await asyncio.sleep(0.01)
        timer.resume()
        timer.finish()

    async def main():
        await asyncio.gather(work(), work())

    asyncio.run(main())
    found = rows(recorder)
    assert found["task"].nunique() == 2
    assert (found["duration_ns"] < 5e6).all()


def test_without_a_recording():
    timer = Paused.WORK.timer()
    with timer:
        pass
    assert timer.active_ns > 0
    assert "finished" in repr(timer)


def test_attributes_and_declared_errors(recorder):
    timer = Paused.PARSE.timer(feed="a", elapsed=Paused.BOTH)
    with timer:
        timer.annotate(bytes=3)
        timer.annotate(bytes=4, error="cut off")
    with Paused.PARSE.timer():
        pass
    timer = Paused.WORK.timer()
    timer.annotate(error=ValueError())
    with pytest.raises(KeyError), timer:
        raise KeyError
    found = rows(recorder)
    first, second = found.loc["Paused.PARSE"].itertuples()
    assert (first.attributes, first.error) == ({"feed": "a", "bytes": "4"}, "cut off")
    assert second.attributes is None
    assert (found.loc["Paused.BOTH", "attributes"], found.loc["Paused.BOTH", "error"]) == ({"feed": "a"}, "cut off")
    assert found.loc["Paused.WORK", "error"] == "ValueError"


def test_mistakes_in_attributes():
    timer = Paused.PARSE.timer(elapsed=Paused.WHOLE)
    for wrong in ({"fed": "a"}, {"bytes": "3"}, {"error": ""}, {"error": 502}):
        with pytest.raises(TypeError):
            timer.annotate(**wrong)
    with pytest.raises(TypeError, match="did you mean 'feed'"):
        Paused.PARSE.timer(fed="a")


def test_cpu_time_of_the_pieces(recorder):
    def spin():
        end = time.thread_time_ns() + 2_000_000
        while time.thread_time_ns() < end:
            pass

    timer = Paused.PARSE.timer()
    for _ in range(2):
        timer.resume()
        spin()
        timer.pause()
        spin()
    timer.finish()

    async def main():
        with Paused.PARSE.timer():
            spin()

    asyncio.run(main())
    with Paused.WORK.timer():
        pass
    found = rows(recorder)
    alone, among_tasks = found.loc["Paused.PARSE", "cpu_ns"]
    assert 4_000_000 <= alone < 6_000_000
    assert among_tasks is pd.NA, "another task might have used the thread"
    assert found.loc["Paused.WORK", "cpu_ns"] is pd.NA
