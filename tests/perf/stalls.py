"""What recording does to a program's tail: a loop with and without it, the agent on another core and on the same.

``python -m tests.perf stalls``; SECONDS=30 in the environment is the length of each run, ROUNDS=2 how often each is
run. Runs with and without recording alternate, because the machine has stalls of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

import quantum_pulse as qp
from tests.perf.race import table

SECONDS = float(os.environ.get("SECONDS", "30"))
ROUNDS = int(os.environ.get("ROUNDS", "2"))
STALL_NS = 1_000_000
CHART = Path("docs/images/stalls.png")

#: Loop -> turns of `spin` in a block. Without any, it is a block and what measures it.
LOOPS = {"50 µs": 4000, "3 µs": 250, "as fast as it can": 0}


class Loop(qp.Operation):
    TURN = qp.op("One turn of the loop")


def spin(times: range) -> None:
    for _ in times:
        pass


def child(work: int, seconds: float, recorded: bool, same_core: bool, chart: str) -> None:
    """Run the loop, and print what each turn took as JSON."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture"
        agent = 0
        if recorded:
            qp.start(capture)
            agent = agent_of(capture)
            os.sched_setaffinity(agent, cores[:1] if same_core else cores[1:] or cores)
            time.sleep(1.0)  # until it has loaded what it needs: a service runs for longer
        before = _cpu_s(agent)
        durations = array("q", bytes(8 * int(seconds * 4e6)))
        turns = _turn(durations, range(work), seconds)
        used = _cpu_s(agent) - before
        if recorded:
            qp.stop()
            lost = int(qp.open(capture).losses()["count"].sum())
        else:
            lost = 0
    found = sorted(durations[:turns])
    print(
        json.dumps(
            {
                "turns": turns,
                "p50": found[turns // 2],
                "p99": found[int(turns * 0.99)],
                "p9999": found[int(turns * 0.9999)],
                "max": found[-1],
                "stalls": sum(one > STALL_NS for one in found[-100_000:]),
                "cpu": used / seconds,
                "lost": lost,
                "curve": [found[min(int(turns * (1 - 10**-place)), turns - 1)] for place in _PLACES] if chart else [],
            }
        )
    )


_PLACES = [number / 8 for number in range(1, 49)]


def _turn(durations: array[int], work: range, seconds: float) -> int:
    member, clock, number = Loop.TURN, time.perf_counter_ns, 0
    end = clock() + int(seconds * 1e9)
    before = clock()
    while before < end and number < len(durations):
        with member:
            spin(work)
        after = clock()
        durations[number] = after - before
        number += 1
        before = after
    return number


def agent_of(capture: Path) -> int:
    from quantum_pulse.rings.places import Place

    place, give_up = Place(str(capture)), time.monotonic() + 10
    while time.monotonic() < give_up:
        pid = place.agent_pid()
        if pid is not None:
            return pid
        time.sleep(0.01)
    raise RuntimeError("no agent")


def _cpu_s(pid: int) -> float:
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(work: int, *, recorded: bool, same_core: bool = False, chart: bool = False) -> dict[str, float]:
    call = f"child({work}, {SECONDS}, {recorded}, {same_core}, {'chart' if chart else ''!r})"
    code = f"from tests.perf.stalls import child; {call}"
    output = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout
    result: dict[str, float] = json.loads(output)
    return result


def main() -> None:
    rows, curves = [], {}
    for loop, work in LOOPS.items():
        for way, same_core in (("agent on a core of its own", False), ("agent on the same core", True)):
            plain, recorded = [], []
            for _ in range(ROUNDS):
                plain.append(run(work, recorded=False, chart=True))
                recorded.append(run(work, recorded=True, same_core=same_core, chart=True))
            rows.append((f"{loop}, {way}", *_shown(plain, recorded)))
            curves[loop, same_core] = _median_curve(plain), _median_curve(recorded)
            print(f"  {loop}, {way}: done", file=sys.stderr, flush=True)
    head = (
        "loop",
        "turns/s",
        "stalls >1 ms plain",
        "recorded",
        "p99 plain",
        "recorded",
        "p99.99 plain",
        "recorded",
        "ratio",
        "longest plain",
        "recorded",
        "agent's share of a core",
        "lost",
    )
    print(table(head, rows))
    if os.environ.get("DRAW"):
        _draw(curves)


def _shown(plain: list[dict[str, float]], recorded: list[dict[str, float]]) -> tuple[object, ...]:
    def median(runs: list[dict[str, float]], key: str) -> float:
        return sorted(one[key] for one in runs)[len(runs) // 2]

    def us(ns: float) -> str:
        return f"{ns / 1000:,.1f} µs"

    return (
        f"{sum(one['turns'] for one in recorded) / len(recorded) / SECONDS:,.0f}",
        " ".join(f"{one['stalls']:.0f}" for one in plain),
        " ".join(f"{one['stalls']:.0f}" for one in recorded),
        us(median(plain, "p99")),
        us(median(recorded, "p99")),
        us(median(plain, "p9999")),
        us(median(recorded, "p9999")),
        f"{median(recorded, 'p9999') / median(plain, 'p9999'):.2f}",
        us(max(one["max"] for one in plain)),
        us(max(one["max"] for one in recorded)),
        f"{median(recorded, 'cpu'):.1%}",
        f"{sum(one['lost'] for one in recorded):,.0f}",
    )


def _median_curve(runs: list[dict[str, object]]) -> list[float]:
    curves = [one["curve"] for one in runs]
    return [sorted(values)[len(values) // 2] for values in zip(*curves, strict=True)]


def _draw(curves: dict[tuple[str, bool], tuple[list[float], list[float]]]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), sharey=True, layout="constrained")
    for axis, loop in zip(axes, LOOPS, strict=True):
        plain, recorded = curves[loop, False]
        axis.plot(_PLACES, [ns / 1000 for ns in plain], color="#888888", linewidth=2.5, label="not recorded")
        axis.plot(_PLACES, [ns / 1000 for ns in recorded], color="#c2410c", linewidth=1.5, label="recorded")
        axis.set_yscale("log")
        axis.set_xticks(range(1, 7), ["p90", "p99", "p99.9", "p99.99", "p99.999", "p99.9999"], fontsize=8, rotation=25)
        axis.set_title(f"a loop of {loop}" if loop[0].isdigit() else "a loop that only records", fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("a turn of the loop, µs")
    axes[0].legend(frameon=False)
    figure.savefig(CHART, dpi=150)
    print(f"drawn into {CHART}")


if __name__ == "__main__":
    main()
