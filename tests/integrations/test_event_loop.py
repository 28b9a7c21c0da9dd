"""The delay of an event loop."""

import asyncio
import time

import pytest
import uvloop

import quantum_pulse as qp
from quantum_pulse.integrations import event_loop


class Step(qp.Operation):
    AROUND = qp.op()


async def blocked(interval_s, block_s, times):
    with Step.AROUND, event_loop.instrument(interval_s):
        for _ in range(times):
            time.sleep(block_s)
            await asyncio.sleep(interval_s * 1.5)
    await asyncio.sleep(interval_s * 3)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_blocked_loop_is_late(tmp_path, new_loop):
    with qp.record(tmp_path / "capture"), asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(blocked(0.02, 0.1, 5))
    samples = qp.open(tmp_path / "capture").samples()
    delays = samples[samples["operation"] == "EventLoop.DELAY"]
    assert len(delays[delays["duration_ns"] > 75e6]) == 5
    assert len(delays) <= 5 * (0.1 + 0.03) / 0.02 + 5, "none after it was stopped"
    assert delays["duration_ns"].max() < 2e9
    assert (delays["parent"] == 0).all()
    assert (delays["start"] >= samples["start"][samples["operation"] == "Step.AROUND"].iloc[0]).all()


def test_a_loop_that_is_idle_is_on_time(tmp_path):
    with qp.record(tmp_path / "capture"):
        asyncio.run(blocked(0.01, 0, 10))
    stats = qp.open(tmp_path / "capture").stats().droplevel("category")
    assert stats.loc["EventLoop.DELAY", "count"] >= 5
    assert stats.loc["EventLoop.DELAY", "p50_us"] < 5_000


@pytest.mark.parametrize("interval_s", [0, -1, "soon", None, 1e9, True])
def test_the_interval_is_checked(interval_s):
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(ValueError, match="interval_s"):
            event_loop.instrument(interval_s, loop=loop)
    finally:
        loop.close()


def test_there_is_a_loop():
    with pytest.raises(RuntimeError):
        event_loop.instrument()
