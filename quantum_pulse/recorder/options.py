"""How a recording is made: what `start` was asked for, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping

from quantum_pulse import mounts, schema, variables
from quantum_pulse.arguments import real
from quantum_pulse.core import contract
from quantum_pulse.errors import RecordingError
from quantum_pulse.operations import Operation
from quantum_pulse.operations import checked as checked_operation
from quantum_pulse.recorder.configuration import Settings, from_environment
from quantum_pulse.recorder.sampling import checked as checked_sampling

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final, Literal, NamedTuple

    Level = Literal["full", "production", "off"]
    OnFull = Literal["drop", "overwrite", "wait"]
    Writer = Literal["agent", "thread"]
    #: What makes a sample worth saving: more than so many microseconds, an error, or either of the two.
    Trigger = float | Literal["error"] | tuple[float, Literal["error"]]
else:
    from quantum_pulse.tuples import NamedTuple

DEFAULT_BUDGET_BYTES: Final = 256 * 2**20
DEFAULT_METRICS_INTERVAL_S: Final = 0.1
#: More different values of an attribute than anybody looks at, and than rings have room for.
MOST_ATTRIBUTE_VALUES: Final = 1_000_000

#: Environment variable: the level where a program does not name one.
LEVEL: Final = "QUANTUM_PULSE_LEVEL"

#: Environment variable: where the rings are where a program does not say.
RING_FOLDER: Final = "QUANTUM_PULSE_RINGS"

LEVELS: Final = ("full", "production", "off")
WRITERS: Final = ("agent", "thread")
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
    ring_folder: str | None = None
    writer: str = "agent"
    keep: str | None = None
    save_last_s: float | None = None
    cpu_time: bool = False
    attribute_values: int = contract.MOST_VALUES
    sampling: Mapping[str, int] = {}

    @property
    def keeps(self) -> bool:
        """Whether samples stay in the rings until somebody wants them written."""
        return self.on_full == "overwrite"


def checked(
    budget_bytes: int,
    metrics_interval_s: float,
    level: str | None,
    on_full: str | None,
    save_on: Mapping[Any, Any] | None,
    ring_folder: str | os.PathLike[str] | None,
    writer: str,
    keep: str | None,
    save_last_s: float | None,
    cpu_time: bool,
    attribute_values: int,
    sampling: Mapping[Any, Any] | None,
) -> Options:
    """The options that these arguments make. Raises RecordingError, and TypeError for what is not an operation."""
    if not real(metrics_interval_s) > 0:
        raise RecordingError(f"metrics_interval_s must be a number of seconds above 0, not {metrics_interval_s!r}")
    least = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES
    if not isinstance(budget_bytes, int) or budget_bytes < least:
        raise RecordingError(f"budget_bytes must be an integer of at least {least}, not {budget_bytes!r}")
    own = Settings(level, on_full, keep, None if sampling is None else checked_sampling(sampling))
    level, on_full, keep, chosen_sampling = own.over(_from_outside())
    level, on_full = level or "full", on_full or "drop"
    check_level(level)
    check_on_full(on_full)
    if save_on is not None and on_full != "overwrite":
        raise RecordingError(f"save_on needs on_full='overwrite': with {on_full!r} everything is written anyway")
    if not isinstance(writer, str) or writer not in WRITERS:
        raise RecordingError(f"writer must be 'agent' or 'thread', not {writer!r}")
    if keep is not None:
        check_keep(keep)
    if not isinstance(cpu_time, bool):
        raise RecordingError(f"cpu_time must be True or False, not {cpu_time!r}")
    if isinstance(attribute_values, bool) or not isinstance(attribute_values, int):
        raise RecordingError(f"attribute_values must be an integer, not {attribute_values!r}")
    if not 1 <= attribute_values <= MOST_ATTRIBUTE_VALUES:
        raise RecordingError(f"attribute_values must be from 1 to {MOST_ATTRIBUTE_VALUES:,}, not {attribute_values:,}")
    watches = tuple(_watches(save_on or {}))
    if save_last_s is not None:
        if not 0 < real(save_last_s) < float("inf"):
            raise RecordingError(f"save_last_s must be a number of seconds above 0, not {save_last_s!r}")
        if not watches:
            raise RecordingError("save_last_s needs save_on, which says what to save the last seconds for")
        save_last_s = float(save_last_s)
    folder = _folder(ring_folder)
    return Options(
        budget_bytes,
        float(metrics_interval_s),
        level,
        on_full,
        watches,
        folder,
        writer,
        keep,
        save_last_s,
        cpu_time,
        attribute_values,
        chosen_sampling or {},
    )


def check_level(level: object) -> None:
    """Raises RecordingError."""
    if not isinstance(level, str) or level not in LEVELS:
        raise RecordingError(f"level must be 'full', 'production' or 'off', not {level!r}")


def check_on_full(on_full: object) -> None:
    """Raises RecordingError."""
    if not isinstance(on_full, str) or on_full not in ON_FULL:
        raise RecordingError(f"on_full must be 'drop', 'overwrite' or 'wait', not {on_full!r}")


def check_keep(keep: str) -> None:
    """Raises RecordingError."""
    from quantum_pulse.keep import parse

    parse(keep)


def _from_outside() -> Settings:
    """What the environment says for programs that do not."""
    return Settings(level=variables.chosen(LEVEL, LEVELS)).over(from_environment())


def _folder(ring_folder: str | os.PathLike[str] | None) -> str | None:
    if ring_folder is None:
        named = os.environ.get(RING_FOLDER)
        if not named:
            return None
        must = _refused(named)
        if must is not None:
            variables.refuse(RING_FOLDER, named, must)
            return None
        return os.path.abspath(named)
    must = _refused(ring_folder)
    if must is not None:
        raise RecordingError(f"ring_folder {must}, not {ring_folder!r}")
    return os.path.abspath(ring_folder)


def _refused(folder: str | os.PathLike[str]) -> str | None:
    """What a folder of rings must be and this one is not."""
    try:
        is_one = os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)  # "" is no folder
    except (TypeError, ValueError):  # a null character
        is_one = False
    if not is_one or isinstance(folder, int):
        return "must be a folder that exists and can be written to, as /dev/shm"
    kind = mounts.kind_of(os.fsdecode(folder))
    if kind in mounts.COPY_ON_WRITE:
        return f"must not be on {kind}, where a full disk would end the program"
    return None


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
