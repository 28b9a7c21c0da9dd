"""Compare the conditions under which two sets of recordings were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

#: Conditions, and how they are called.
_NAMED: Final = {
    "cpu": "CPU",
    "cores": "cores",
    "governor": "CPU governor",
    "kernel": "kernel",
    "python": "Python",
}
#: Key of the CPU quota in cores; None without a quota, and missing where it is not known.
_QUOTA: Final = "cpu_quota"
#: Loads a core that differ by less say nothing.
_LOAD_A_CORE: Final = 0.5
#: Shares of the machine that other processes used and that differ by less say nothing.
_OTHERS: Final = 0.2
#: Packages that are named.
_MOST_PACKAGES: Final = 5

#: What `recorder.environment` found, one for each process; and where metrics were recorded `others`, the share of the
#: machine's CPU time that other processes had meanwhile.
Environments = Sequence[Mapping[str, Any]]


def differences(before: Environments, after: Environments) -> list[str]:
    """What differs between the environments of two sides, each in a few words; empty where nothing does, or where one
    side says nothing of itself. Commits are meant to differ and left out."""
    if not before or not after:
        return []
    found = []
    for key, name in _NAMED.items():
        sides = [sorted({str(one[key]) for one in side if one.get(key) is not None}) for side in (before, after)]
        if sides[0] and sides[1] and sides[0] != sides[1]:
            found.append(f"{name}: {' and '.join(sides[0])}, now {' and '.join(sides[1])}")
    quotas = [_quotas(side) for side in (before, after)]
    if quotas[0] and quotas[1] and quotas[0] != quotas[1]:
        found.append(f"CPU quota: {' and '.join(quotas[0])}, now {' and '.join(quotas[1])}")
    loads = [_load(side) for side in (before, after)]
    if None not in loads and abs(loads[0] - loads[1]) > _LOAD_A_CORE:  # type: ignore[operator]
        found.append(f"load a core: {loads[0]:.1f}, now {loads[1]:.1f}")
    busy = [[float(one["others"]) for one in side if one.get("others") is not None] for side in (before, after)]
    if busy[0] and busy[1]:
        means = [sum(side) / len(side) for side in busy]
        # Where the sides overlap, what differs from run to run is in the intervals already.
        apart = max(busy[0]) < min(busy[1]) or max(busy[1]) < min(busy[0])
        if apart and abs(means[0] - means[1]) > _OTHERS:
            found.append(f"other processes used {means[0]:.0%} of the CPU, now {means[1]:.0%}".replace("%", " %"))
    return found + _packages(before, after)


def _quotas(side: Environments) -> list[str]:
    return sorted({quota(one[_QUOTA]) for one in side if isinstance(one.get(_QUOTA, ""), int | float | None)})


def quota(cores: float | None) -> str:
    """A CPU quota in words: "1.5 cores", or "none"."""
    return "none" if cores is None else f"{cores:g} core{'' if cores == 1 else 's'}"


def _load(side: Environments) -> float | None:
    known = [one["load_1m"] / one["cores"] for one in side if one.get("load_1m") is not None and one.get("cores")]
    return sum(known) / len(known) if known else None


def _packages(before: Environments, after: Environments) -> list[str]:
    versions: list[dict[str, set[str]]] = [{}, {}]
    for known, side in zip(versions, (before, after), strict=True):
        for one in side:
            for name, version in (one.get("packages") or {}).items():
                known.setdefault(str(name), set()).add(str(version))
    changed = [
        f"{name} {'/'.join(sorted(own))}, now {'/'.join(sorted(versions[1][name]))}"
        for name, own in sorted(versions[0].items())
        if name in versions[1] and own != versions[1][name]
    ]
    left = len(changed) - _MOST_PACKAGES
    return changed[:_MOST_PACKAGES] + ([f"{left} more packages"] if left > 0 else [])
