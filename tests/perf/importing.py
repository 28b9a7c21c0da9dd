"""Import ten million events of a Chrome trace, as PyTorch's profiler writes them: time, memory and what is lost.

``python -m tests.perf importing`` takes two minutes and 3 GB of disk; ``IMPORTING_EVENTS=1000000`` a tenth. The import
runs in a process of its own. Readers of JSON are compared on the same text: how long each takes for an event, and
whether times with more digits than a float holds survive.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVENTS = int(os.environ.get("IMPORTING_EVENTS", 10_000_000))
# What is imported first, and what starts, takes as long for few events.
MOST_S = max(60 * EVENTS / 10_000_000, 10)
MOST_BYTES = 500_000_000
COMPARED_BYTES = 20_000_000

_IMPORT = """
import resource, sys, time
import quantum_pulse as qp
begin = time.perf_counter()
made = qp.import_trace(sys.argv[1], sys.argv[2])
took = time.perf_counter() - begin
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(took, memory, made.events, made.samples, sum(made.lost.values()))
"""


def write(path: Path, events: int) -> None:
    """Calls in calls on eight threads; times are absolute, with three decimals."""
    calls = ((0, 40_000), (1_000, 18_000), (2_000, 7_000), (21_000, 12_345))
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"schemaVersion": 1, "deviceProperties": [], "traceEvents": [\n')
        now = 1_795_469_677 * 10**9
        lines = []
        for number in range(events):
            offset, length = calls[number % 4]
            now += 5_200 * (number % 4 == 0)
            start = now + offset
            lines.append(
                f'{{"ph": "X", "cat": "cpu_op", "name": "aten::op_{number * 7 % 60}", "pid": 77, '
                f'"tid": {100 + number // 4 % 8}, "ts": {start // 1000}.{start % 1000:03d}, '
                f'"dur": {length // 1000}.{length % 1000:03d}, "args": {{"External id": {number // 4}, '
                f'"Ev Idx": {number}}}}}'
            )
            if len(lines) == 10_000:
                file.write(",\n".join(lines) + (",\n" if number + 1 < events else ""))
                lines.clear()
        file.write(",\n".join(lines) + "\n]}\n")


def readers() -> dict[str, Callable[[bytes], Any]]:
    """What decodes a list of events; libraries that are not installed are left out."""
    found: dict[str, Callable[[bytes], Any]] = {"json, fractions as text": json.JSONDecoder(parse_float=str).decode}
    found = {name: (lambda text, decode=decode: decode(text.decode())) for name, decode in found.items()}
    for name, use in (
        ("orjson", lambda module: module.loads),
        ("msgspec", lambda module: module.json.Decoder(float_hook=str).decode),
        ("ijson", lambda module: lambda text: list(module.items(io.BytesIO(text), "item"))),
    ):
        try:
            found[name] = use(importlib.import_module(name))
        except ImportError:
            print(f"{name} is not installed")
    return found


def compare_readers(path: Path) -> None:
    with open(path, "rb") as file:
        text = file.read(COMPARED_BYTES)
    text = b"[" + text[text.index(b"[", text.index(b"traceEvents")) + 1 : text.rindex(b"},") + 1] + b"]"
    expected = json.JSONDecoder(parse_float=str).decode(text.decode())[-1]["ts"]
    for name, decode in readers().items():
        begin = time.perf_counter()
        events = decode(text)
        took = time.perf_counter() - begin
        exact = "exact" if str(events[-1]["ts"]) == expected else f"{events[-1]['ts']} for {expected}"
        print(f"{name:<26} {took / len(events) * 1e6:5.2f} µs an event; {exact}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        write(trace, EVENTS)
        compare_readers(trace)
        command = [sys.executable, "-c", _IMPORT, str(trace), str(Path(folder) / "capture")]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        took, memory, events, samples, lost = map(float, output.split())
        print(f"{EVENTS:,} events, {trace.stat().st_size / 1e9:.2f} GB: {took:.1f} s, {memory / 1e6:.0f} MB")
        assert events == samples == EVENTS, output
        assert lost == 0, output
        assert took <= MOST_S, f"{took:.1f} s; at most {MOST_S:.0f}"
        assert memory <= MOST_BYTES, f"{memory / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f}"


if __name__ == "__main__":
    main()
