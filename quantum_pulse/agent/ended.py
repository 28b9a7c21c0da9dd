"""Process files of recordings of which nothing is left, added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from quantum_pulse import records

if TYPE_CHECKING:
    from quantum_pulse.rings.contents import Contents

#: What an account counts, in samples.
ACCOUNT: Final = ("started", "written", "open", "lost", "pending")
#: States of a recording that has ended.
STATES: Final = ("finished", "failed", "recovered", "snapshot")
#: Different losses that are listed; further ones become one.
_MOST_LOSSES: Final = 100

Loss = Mapping[str, Any]


def accounted(found: Contents, written: int) -> dict[str, int]:
    """The account of a recording that has ended: of the blocks in its ring, `written` are in parts."""
    lost = found.lost + found.damaged_rows
    left_open = max(found.entered - written - lost, 0)
    return {"started": found.entered, "written": written, "open": left_open, "lost": lost, "pending": 0}


class Ended(NamedTuple):
    """So many recordings, from when to when (Unix ns), their accounts, rows by table, losses by cause, and operations
    that did not run in some of them."""

    recordings: int = 0
    started_ns: int | None = None
    stopped_ns: int | None = None
    account: Mapping[str, int] = {}
    rows: Mapping[str, int] = {}
    losses: tuple[Loss, ...] = ()
    unused: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of_process(cls, process: Mapping[str, Any], expired: Mapping[str, int]) -> Self:
        """What a process file says, of whose recording so many rows of each table have expired."""
        account = {key: int((process.get("account") or {}).get(key) or 0) for key in ACCOUNT}
        rows = {table: int(count or 0) for table, count in (process.get("rows") or {}).items()}
        return cls(
            1,
            process.get("started_ns"),
            process.get("stopped_ns"),
            account,
            rows,
            _losses(_process_file(process, account, rows, expired)),
            tuple(process.get("unused") or ()),
        )

    def plus(self, other: Ended) -> Ended:
        """Both together."""
        return Ended(
            self.recordings + other.recordings,
            _least(self.started_ns, other.started_ns),
            _most(self.stopped_ns, other.stopped_ns),
            _sum(self.account, other.account),
            _sum(self.rows, other.rows),
            _losses([*self.losses, *other.losses]),
            tuple(records.newest([*self.unused, *other.unused])),
        )

    def plain(self) -> dict[str, Any]:
        """As JSON can have it."""
        return {**self._asdict(), "losses": list(self.losses), "unused": list(self.unused)}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The reverse of `plain`."""
        known = {key: plain[key] for key in cls._fields if key in plain}
        return cls(**{**known, "losses": tuple(known.get("losses") or ()), "unused": tuple(known.get("unused") or ())})


def _process_file(
    process: Mapping[str, Any], account: Mapping[str, int], rows: Mapping[str, int], expired: Mapping[str, int]
) -> list[Loss]:
    """The losses that a reader of the capture has reported of a recording."""
    found: list[Loss] = list(process.get("losses") or ())
    times = {"start": process.get("started_ns"), "end": process.get("stopped_ns")}
    unlisted = account["lost"] - sum(loss.get("count") or 0 for loss in found)
    if unlisted > 0:
        found.append({**times, "count": unlisted, "cause": "processes that have ended could not write them"})
    if process.get("damage"):
        found.append({**times, "count": None, "cause": "rings of processes that have ended were damaged"})
    missing = rows.get("samples", 0) - expired.get("samples", 0)
    if missing > 0:
        cause = "rows of samples that processes wrote which have ended are in no part"
        found.append({**times, "count": missing, "cause": cause})
    return found


def _losses(several: Iterable[Loss]) -> tuple[Loss, ...]:
    """Added up by operation and cause."""
    found: dict[tuple[Any, Any], Loss] = {}
    for loss in several:
        key = (loss.get("operation"), loss.get("cause"))
        if key not in found and len(found) >= _MOST_LOSSES:
            key = (None, "other causes")
        before = found.get(key)
        counts = [one.get("count") for one in (before, loss) if one is not None]
        found[key] = {
            "operation": key[0],
            "cause": key[1],
            "count": None if None in counts else sum(count or 0 for count in counts),
            "start": _least(loss.get("start"), None if before is None else before["start"]),
            "end": _most(loss.get("end"), None if before is None else before["end"]),
        }
    return tuple(found.values())


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in dict.fromkeys((*one, *other))}


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _most(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
