"""``python -m tests.perf [NAME ...]`` runs the benchmarks, all or those named. Nothing else should run meanwhile."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {
    "stalls": "what recording does to the tail of a program",
    "recording": "what one sample costs the program, beside others",
    "web": "what the ASGI integration costs a request, beside OpenTelemetry's",
    "parallel": "threads that record at the same time, without the interpreter lock",
    "clock": "a minute of the clock beside CLOCK_MONOTONIC",
    "footprint": "import, start, stop and memory of a recording",
    "workers": "thousands of recycled workers",
    "sustained": "a program that does nothing but record: written, lost, memory",
    "metrics": "what a row of system metrics costs the agent",
    "statistics": "large captures, beside DuckDB, Polars and pandas",
    "keeping": "a week and a year into a capture that is bounded: files, bytes, memory",
    "importing": "ten million events of a Chrome trace: time and memory",
    "plan": "the constants of `quantum-pulse plan`",
    "alerts": "simulated service-years: false pages, and how soon an outage is paged",
    "exploring": "how long the explorer makes one wait",
    "calibration": "how often the analysis is wrong, and how often it finds what is there",
    "why": "whether the causes of slow calls are found that are planted in real programs",
    "real_runs": "how often runs of the demo seem to differ though nothing has changed",
}


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    for name in wanted:
        if name not in BENCHMARKS:
            known = "\n".join(f"  {known}: {about}" for known, about in BENCHMARKS.items())
            print(f"no benchmark {name!r}; there are\n{known}", file=sys.stderr)
            return 2
    for name in wanted:
        print(f"\n## {name}: {BENCHMARKS[name]}", flush=True)
        importlib.import_module(f"tests.perf.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
