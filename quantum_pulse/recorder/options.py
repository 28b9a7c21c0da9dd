"""How a recording is made: what `start` was asked for, checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from quantum_pulse import schema, variables
from quantum_pulse.arguments import real
from quantum_pulse.core import contract
from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import Operation
from quantum_pulse.operations import checked as checked_operation

DEFAULT_BUDGET_BYTES: Final = 256 * 2**20
DEFAULT_METRICS_INTERVAL_S: Final = 0.1

#: Environment variable: the level where a program does not name one.
LEVEL: Final = "QUANTUM_PULSE_LEVEL"

#: Environment variable: where the rings stand where a program does not say.
RING_FOLDER: Final = "QUANTUM_PULSE_RINGS"

Level = Literal["full", "production", "off"]
OnFull = Literal["drop", "overwrite", "wait"]

#: What makes a sample worth saving: more than so many microseconds, an error, or either of the two.
Trigger = float | Literal["error"] | tuple[float, Literal["error"]]

ON_FULL: Final[dict[str, int]] = {"drop": contract.DROP, "overwrite": contract.OVERWRITE, "wait": contract.WAIT}


class Watch(NamedTuple):
    """Samples of a probe that are longer than `limit_ns` (0: of any length) or, with `on_error`, carry an error."""

    probe_id: int
    limit_ns: int
    on_error: bool


class Options(NamedTuple):
    """Arguments of `session.start`."""

    budget_bytes: int = DEFAULT_BUDGET_BYTES
    metrics_interval_s: float = DEFAULT_METRICS_INTERVAL_S
    level: str = "full"
    on_full: str = "drop"
    watches: tuple[Watch, ...] = ()
    ring_folder: Path | None = None

    @property
    def keeps(self) -> bool:
        """Whether samples stay in the rings until somebody wants them written."""
        return self.on_full == "overwrite"


def checked(
    budget_bytes: int,
    metrics_interval_s: float,
    level: str | None,
    on_full: str,
    save_on: Mapping[Any, Any] | None,
    ring_folder: str | os.PathLike[str] | None,
) -> Options:
    """The options that these arguments make. Raises RecordingError, and TypeError for what is no operation."""
    if not real(metrics_interval_s) > 0:
        raise RecordingError(f"metrics_interval_s must be a number of seconds above 0, not {metrics_interval_s!r}")
    least = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES
    if not isinstance(budget_bytes, int) or budget_bytes < least:
        raise RecordingError(f"budget_bytes must be an integer of at least {least}, not {budget_bytes!r}")
    levels = get_args(Level)
    if level is None:
        level = variables.chosen(LEVEL, levels) or "full"
    if not isinstance(level, str) or level not in levels:
        raise RecordingError(f"level must be 'full', 'production' or 'off', not {level!r}")
    if not isinstance(on_full, str) or on_full not in ON_FULL:
        raise RecordingError(f"on_full must be 'drop', 'overwrite' or 'wait', not {on_full!r}")
    if save_on is not None and on_full != "overwrite":
        raise RecordingError(f"save_on needs on_full='overwrite': with {on_full!r} everything is written anyway")
    watches = tuple(_watches(save_on or {}))
    return Options(budget_bytes, metrics_interval_s, level, on_full, watches, _folder(ring_folder))


def _folder(ring_folder: str | os.PathLike[str] | None) -> Path | None:
    must = "must be a folder that exists and can be written to, as /dev/shm"
    if ring_folder is None:
        named = os.environ.get(RING_FOLDER)
        if not named:
            return None
        if not _takes_rings(named):
            variables.refuse(RING_FOLDER, named, must)
            return None
        return Path(named).absolute()
    if not isinstance(ring_folder, str | os.PathLike) or not _takes_rings(ring_folder):
        raise RecordingError(f"ring_folder {must}, not {ring_folder!r}")
    return Path(ring_folder).absolute()


def _takes_rings(folder: str | os.PathLike[str]) -> bool:
    try:
        return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)  # noqa: PTH112 - "" is no folder
    except ValueError:  # a null character
        return False


def _watches(save_on: Mapping[Any, Any]) -> Iterator[Watch]:
    if not isinstance(save_on, Mapping):
        raise RecordingError(f"save_on must map operations to limits, as in {{Trading.SUBMIT: 500}}, not {save_on!r}")
    for key, trigger in save_on.items():
        limit_ns, on_error = _trigger(trigger)
        members = list(key) if isinstance(key, type) and issubclass(key, Operation) else [checked_operation(key)]
        for member in members:
            yield Watch(member.probe_id, limit_ns, on_error)


def _trigger(trigger: object) -> tuple[int, bool]:
    conditions = trigger if isinstance(trigger, tuple) else (trigger,)
    limits = [one for one in conditions if isinstance(one, int | float) and not isinstance(one, bool) and one > 0]
    errors = [one for one in conditions if one == "error"]
    if not conditions or len(limits) > 1 or len(limits) + len(errors) != len(conditions):
        raise RecordingError(
            f"save_on: a number of microseconds, 'error', or both in a tuple says when to save, not {trigger!r}"
        )
    return (max(int(limits[0] * 1000), 1) if limits else 0), bool(errors)
