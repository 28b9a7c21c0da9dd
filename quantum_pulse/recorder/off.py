"""What `start` returns where recording is switched off."""

from __future__ import annotations

import os

from quantum_pulse.recorder import options
from quantum_pulse.recorder import sampling as samplings
from quantum_pulse.recorder.description import NOTHING
from quantum_pulse.recorder.recording import Recorder

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any


class Off(Recorder):
    """What `start` returns when recording is switched off: it does nothing, and nothing is written."""

    _is_off = True

    def __init__(self, target: str, chosen: options.Options) -> None:
        self._target = target
        self.is_recording = False
        self._is_inherited = False
        self._options = chosen
        self._final = dict(NOTHING)

    def set_level(self, level: options.Level) -> None:
        """Check the level; nothing is recorded at any."""
        options.check_level(level)

    def set_sampling(self, sampling: Mapping[Any, int]) -> None:
        """Check the sampling; nothing is recorded anyway."""
        samplings.checked(sampling)

    def snapshot(self, path: str | os.PathLike[str], *, last_s: float | None = None) -> Path:  # noqa: ARG002 - as above
        """Nothing is recorded, so nothing is saved."""
        from pathlib import Path

        return Path(path).absolute()
