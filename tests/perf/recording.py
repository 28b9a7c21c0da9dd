"""What one sample costs the program, beside two clock readings and beside what else there is for it."""

from __future__ import annotations

import asyncio
import functools
import tempfile
import threading
import time
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import quantum_pulse as qp
from tests.perf.race import Contender, difference, race, table

LOOPS = 50_000
SLOW_LOOPS = 3_000  # for contenders of many microseconds
CHART = Path("docs/images/recording-cost.png")


class Bench(qp.Operation):
    BLOCK = qp.op("An empty block")
    ATTRIBUTED = qp.op("An empty block with attributes", attributes={"route": str, "status": int})
    CPU_TIME = qp.op("An empty block with its CPU time", cpu_time=True)


clock = time.perf_counter_ns


def two_clocks(turns: range) -> None:
    for _ in turns:
        clock()
        clock()


def block(turns: range) -> None:
    member = Bench.BLOCK
    for _ in turns:
        with member:
            pass


def block_by_name(turns: range) -> None:
    for _ in turns:
        with Bench.BLOCK:
            pass


def nothing() -> None:
    pass


def by_hand(function):
    durations = []

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        start = clock()
        try:
            return function(*args, **kwargs)
        finally:
            durations.append(clock() - start)

    return wrapper


def attributed(turns: range) -> None:
    member = Bench.ATTRIBUTED
    for _ in turns:
        with member(route="/orders", status=200):
            pass


def with_cpu_time(turns: range) -> None:
    member = Bench.CPU_TIME
    for _ in turns:
        with member:
            pass


def calls(function) -> Contender:
    def contender(turns: range) -> None:
        for _ in turns:
            function()

    return contender


async def _alternating(turns: range, inside: AbstractContextManager[object] | None) -> None:
    async def task() -> None:
        if inside is None:
            for _ in turns:
                await asyncio.sleep(0)
        else:
            for _ in turns:
                with inside:
                    await asyncio.sleep(0)

    await asyncio.gather(task(), task())


def in_tasks(inside: AbstractContextManager[object] | None) -> Contender:
    """Two tasks that switch inside the block each time. Half the turns each, so that a turn is one block."""
    return lambda turns: asyncio.run(_alternating(range(len(turns) // 2), inside))


def in_task(turns: range) -> None:
    async def task() -> None:
        block(turns)

    asyncio.run(task())


def lock(turns: range) -> None:
    held = threading.Lock()
    for _ in turns:
        with held:
            pass


class PlainTimer:
    """What one writes oneself."""

    def __init__(self) -> None:
        self.durations: list[int] = []

    def __enter__(self) -> None:
        self.start = clock()

    def __exit__(self, *_: object) -> None:
        self.durations.append(clock() - self.start)


def plain(turns: range) -> None:
    timer = PlainTimer()
    for _ in turns:
        with timer:
            pass


def _nvtx() -> Contender:
    import nvtx

    annotation = nvtx.annotate("block")

    def contender(turns: range) -> None:
        for _ in turns:
            with annotation:
                pass

    return contender


def _viztracer() -> Contender:
    from viztracer import VizTracer

    def contender(turns: range) -> None:
        tracer = VizTracer(verbose=0, max_stack_depth=0)
        tracer.start()
        for _ in turns:
            with tracer.log_event("block"):
                pass
        tracer.stop()
        tracer.clear()

    return contender


def _opentelemetry(attributes: dict[str, str | int] | None = None) -> Contender:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans):  # noqa: ARG002 - their interface
            return SpanExportResult.SUCCESS

    def contender(turns: range) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        tracer = provider.get_tracer("bench")
        for _ in turns:
            with tracer.start_as_current_span("block", attributes=attributes):
                pass
        provider.shutdown()

    return contender


def _prometheus() -> Contender:
    from prometheus_client import CollectorRegistry, Histogram

    histogram = Histogram("block", "An empty block", registry=CollectorRegistry())

    def contender(turns: range) -> None:
        for _ in turns:
            with histogram.time():
                pass

    return contender


def _codetiming() -> Contender:
    from codetiming import Timer

    timer = Timer(logger=None)

    def contender(turns: range) -> None:
        for _ in turns:
            with timer:
                pass

    return contender


PEERS = {
    "codetiming": _codetiming,
    "nvtx (no tool attached)": _nvtx,
    "prometheus_client": _prometheus,
    "VizTracer log_event": _viztracer,
    "OpenTelemetry (batch)": _opentelemetry,
    "OpenTelemetry (batch), two attributes": lambda: _opentelemetry({"route": "/orders", "status": 200}),
}


def main() -> None:
    off = race({"lock": lock, "member, not recording": block}, LOOPS)
    off_switching = difference(in_tasks(None), in_tasks(Bench.BLOCK), LOOPS // 5)
    function, timed = nothing, Bench.BLOCK(nothing)
    with tempfile.TemporaryDirectory() as folder, qp.record(Path(folder) / "capture"):
        on = race(
            {
                "two clock readings": two_clocks,
                "with member": block,
                "with Bench.BLOCK": block_by_name,
                "plain call": calls(function),
                "decorated": calls(timed),
                "decorated by hand": calls(by_hand(function)),
                "two attributes": attributed,
                "CPU time": with_cpu_time,
                "plain Python timer": plain,
                "with member, in a task": in_task,
            },
            LOOPS,
        )
        in_switching = difference(in_tasks(None), in_tasks(Bench.BLOCK), LOOPS // 5)
        plain_switching = difference(in_tasks(None), in_tasks(PlainTimer()), LOOPS // 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their own affairs
            peers = {name: race({name: make()}, SLOW_LOOPS, 5)[name] for name, make in PEERS.items()}
    clocks, member = on["two clock readings"], on["with member"]

    print("\nRecording, one thread, native core; an empty loop taken off\n")
    rows = [
        (name, f"{spent:.0f}", f"{spent / clocks:.2f}", f"{spent / member:.2f}")
        for name, spent in {
            "two clock readings": clocks,
            "with member": member,
            "with Bench.BLOCK (attribute included)": on["with Bench.BLOCK"],
            "with member, in a task": on["with member, in a task"],
            "with member(route=, status=): two attributes": on["two attributes"],
            "with member of cpu_time=True": on["CPU time"],
            "with member around an await that switches": in_switching,
            "plain Python timer": on["plain Python timer"],
            "plain Python timer around the same await": plain_switching,
            "decorator": on["decorated"] - on["plain call"],
            "decorator by hand, two clock readings": on["decorated by hand"] - on["plain call"],
            "not recording: with member": off["member, not recording"],
            "not recording: with member around the same await": off_switching,
            "not recording: with threading.Lock()": off["lock"],
        }.items()
    ]
    print(table(("what", "ns", "of two clock readings", "of with member"), rows))

    print("\nBeside others, the same empty block\n")
    others = {"plain Python timer": on["plain Python timer"], **peers}
    others["quantum_pulse, two attributes"] = on["two attributes"]
    sides = {"quantum_pulse": member, **dict(sorted(others.items(), key=lambda item: item[1]))}
    print(
        table(
            ("", "ns a block", "times quantum_pulse"),
            [(name, f"{ns:,.0f}", f"{ns / member:.1f}") for name, ns in sides.items()],
        )
    )
    _chart(sides)


def _chart(sides: dict[str, float]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    names, values = list(sides)[::-1], list(sides.values())[::-1]
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    colours = ["#0b6e99" if name.startswith("quantum_pulse") else "#b8bfc6" for name in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [f"{value / sides['quantum_pulse']:.0f}×" for value in values], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(50, max(values) * 2.5)
    axes.set_xlabel("ns for one timed block, log scale (less is better)")
    axes.set_title("Cost of timing an empty block", loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    CHART.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(CHART, dpi=150)
    plt.close(figure)
    print(f"\nchart: {CHART}")
