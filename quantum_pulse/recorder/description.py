"""How a recording describes itself: to the agent when it begins and ends, and to whoever asks for its account."""

from __future__ import annotations

import os
import sys
import time

from quantum_pulse import core as cores
from quantum_pulse.core.contract import CAUSES
from quantum_pulse.operations import Definition, plain_definition, registry
from quantum_pulse.recorder import environment, overhead
from quantum_pulse.rings.lines import line_of

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any, Final

    from quantum_pulse.recorder.options import Options

core = cores.core

#: The account of a recording without samples.
NOTHING: Final = {"started": 0, "written": 0, "pending": 0, "open": 0, "lost": 0}


def first_lines(process: dict[str, Any]) -> bytes:
    """Return the first lines of the journal of the recording that `process` describes."""
    lines = [
        line_of({"process": process}),
        line_of({"clock_anchor_ns": _clock_anchor()}),
        *_operation_lines(registry.all()),
        *([line_of({"rates": rates})] if (rates := registry.rates()) else []),
    ]
    return b"".join(lines)


def beginning(chosen: Options, *, parent: str | None, is_forked: bool, started_ns: int) -> dict[str, Any]:
    """Describe a recording as it begins; `docs/format.md` has the keys."""
    return {
        "pid": os.getpid(),
        "parent": parent,
        "is_forked": is_forked,
        "started_ns": started_ns,
        "core": core.NAME,
        "clock": core.clock(),
        "level": chosen.level,
        "on_full": chosen.on_full,
        "save_last_s": chosen.save_last_s,
        "metrics_interval_s": chosen.metrics_interval_s,
        "keep": chosen.keep,
        "operations": _operation_counts(),
        "overhead": overhead.known(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "argv": sys.argv if hasattr(sys, "argv") else [],
        "host": os.uname().nodename,
        "environment": environment.found(),
    }


def ending(stopped_ns: int) -> dict[str, Any]:
    """Describe a recording that ends at this Unix time."""
    totals: dict[tuple[int, int], list[int]] = {}
    for operation, thread, *numbers in core.account():
        total = totals.setdefault((operation, thread), [0, 0, 0])
        total[:] = map(sum, zip(total, numbers, strict=True))
    return {
        "stopped_ns": stopped_ns,
        "operations": _operation_counts(),
        "packages": environment.packages(),
        "accounts": [
            {
                "operation": registry[operation].name,
                "thread": thread,
                "started": started,
                "ended": ended,
                "open": started - ended - lost,
                "lost": lost,
            }
            for (operation, thread), (started, ended, lost) in sorted(totals.items())
        ],
        "losses": [
            {
                "operation": registry[loss.operation].name,
                "thread": loss.thread,
                "count": loss.samples,
                "first_ns": loss.first_ns,
                "last_ns": loss.last_ns,
                "cause": CAUSES[loss.cause],
            }
            for loss in core.losses()
        ],
    }


def _operation_counts() -> dict[str, int]:
    operations = registry.all()
    return {
        "defined": len(operations),
        "detail": sum(one.detail for one in operations),
        "sampled": sum(one.sample_every > 1 for one in operations),
    }


def account() -> dict[str, int]:
    """Count the samples of the running recording, as `Recorder.account` returns it. Raises RuntimeError without one."""
    # What was written comes first, so that nothing is pending twice.
    written = core.progress().drained
    totals = core.account()
    started = sum(row.started for row in totals)
    committed = sum(row.committed for row in totals)
    lost = sum(row.lost for row in totals)
    written = min(written, committed)
    return {
        "started": started,
        "written": written,
        "pending": committed - written,
        "open": started - committed - lost,
        "lost": lost,
    }


_lines: list[bytes] = []


def _operation_lines(definitions: list[Definition]) -> list[bytes]:
    """A line of the journal for each definition, made once: a forked process needs all of them again."""
    for number in range(len(_lines), len(definitions)):
        _lines.append(line_of({"operation": number, "definition": plain_definition(definitions[number])}))
    return _lines


def _clock_anchor() -> int:
    """The offset from the core's clock to Unix time in ns: the tightest of a few brackets."""
    best: tuple[int, int] | None = None
    for _ in range(5):
        before = core.now()
        unix = time.time_ns()
        after = core.now()
        if best is None or after - before < best[0]:
            best = (after - before, unix - (before + after) // 2)
    assert best is not None
    return best[1]
