"""What a recording says of itself: who it was, how it recorded, and in the end what became of its samples."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from quantum_pulse import core as cores
from quantum_pulse import rings, schema
from quantum_pulse.operations import registry
from quantum_pulse.recorder import environment, folder, options, overhead
from quantum_pulse.recorder.writer import Writer

core = cores.core


class ProcessFile:
    """The file of the recording `name` in the folder `processes` of a capture; `docs/format.md` says what is in it."""

    def __init__(
        self, capture: Path, name: str, started_ns: int, anchor_ns: int, chosen: options.Options, rings_in: Path
    ) -> None:
        """The cost of a sample is measured here, with a ring in the folder `rings_in`. Raises OSError."""
        self.path = capture / schema.PROCESSES / f"{name}.json"
        self._started_ns = started_ns
        self._anchor_ns = anchor_ns
        self._options = chosen
        self._overhead = overhead.measured(rings_in)
        self._environment = environment.found()

    def content(self, state: str) -> dict[str, Any]:
        """What there is to say in that state, as `docs/format.md` has it."""
        operations = registry.all()
        return {
            "pid": os.getpid(),
            "state": state,
            "started_ns": self._started_ns,
            "stopped_ns": None if state in ("starting", "recording") else time.time_ns(),
            "clock_anchor_ns": self._anchor_ns,
            "core": core.NAME,
            "clock": core.clock(),
            "level": self._options.level,
            "on_full": self._options.on_full,
            "operations": {
                "defined": len(operations),
                "detail": sum(one.detail for one in operations),
                "sampled": sum(one.sample_every > 1 for one in operations),
            },
            "overhead": self._overhead and self._overhead._asdict(),
            "python": platform.python_version(),
            "argv": sys.argv,
            "host": platform.node(),
            # The program may have imported more meanwhile; the load is that before it began.
            "environment": {**self._environment, "packages": environment.packages()},
            "account": None,
            "rows": None,
            "losses": [],
        }

    def save(self, state: str) -> None:
        """Raises OSError."""
        folder.write_json(self.path, self.content(state))

    def save_end(self, writer: Writer, account: dict[str, int], ring: Path) -> None:
        """With the account of what `writer` has done, and what is still open in `ring`. Raises OSError."""
        unfinished = []
        if account["open"]:
            with contextlib.suppress(OSError, ValueError):  # the ring is gone
                unfinished = rings.read_open(ring)
        content = {
            **self.content("failed" if writer.failure else "finished"),
            "account": account,
            "accounts": writer.accounts(),
            "rows": writer.rows,
            "losses": writer.all_losses,
            "unfinished": unfinished,
        }
        folder.write_json(self.path, content)

    def is_alone(self) -> bool:
        """Whether no other process has recorded into the capture."""
        return list(self.path.parent.glob("*.json")) == [self.path]
