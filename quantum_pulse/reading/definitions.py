"""Read the definitions of a capture's operations, with earlier versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quantum_pulse.evidence import Priorities
from quantum_pulse.operations import DEFAULT_PRIORITY, LARGEST_BUDGET_US, Category
from quantum_pulse.reading.reader import Source

if TYPE_CHECKING:
    import pandas as pd

#: Fields of a definition that are shown, and of which a change is reported.
FIELDS: Final = ("category", "description", "priority", "budget_us")


def frame(source: Source) -> pd.DataFrame:
    """A row for each operation, sorted by name; see `Capture.definitions`."""
    import pandas as pd

    found: dict[str, list[dict[str, Any]]] = {}
    for definition in source.definitions():
        found.setdefault(str(definition["name"]), []).append(_shown(definition))
    rows = [(*versions[-1].values(), _changed(versions)) for _, versions in sorted(found.items())]
    index = pd.Index(sorted(found), dtype="object", name="operation")
    return pd.DataFrame(rows, columns=[*FIELDS, "changed"], index=index).astype({"budget_us": "float64"})


def categories(source: Source) -> dict[str, Category]:
    """Categories by name, as they were defined last."""
    found = {}
    for definition in source.definitions():
        fields = definition["category"]
        # Only those that this version knows: a later footer may say more.
        known = {name: fields[name] for name in Category._fields if name in fields}
        found[str(fields["name"])] = Category(**known)
    return found


def priorities(source: Source) -> Priorities:
    """Those of everything that is defined in a capture."""
    known = source.definitions()
    return Priorities(
        {str(one["category"]["name"]): int(one["category"].get("priority", DEFAULT_PRIORITY)) for one in known},
        {str(one["name"]): int(one.get("priority", DEFAULT_PRIORITY)) for one in known},
    )


def budget_us(definition: dict[str, Any]) -> float | None:
    """The budget of a definition as a footer holds it; None for none, and for what no time is, such as infinity."""
    found = definition.get("budget_us")
    return float(found) if isinstance(found, int | float) and 0 < found <= LARGEST_BUDGET_US else None


def _shown(definition: dict[str, Any]) -> dict[str, Any]:
    values = {name: definition.get(name) for name in FIELDS}
    if budget_us(definition) is None:
        values["budget_us"] = None
    return {**values, "category": str(definition["category"]["name"])}


def _changed(versions: list[dict[str, Any]]) -> str:
    """What each field was before, where it was something else than it is in the newest version."""
    *before, now = versions
    changes = []
    for name in FIELDS:
        others = dict.fromkeys(str(version[name]) for version in before if version[name] != now[name])
        if others:
            changes.append(f"{name}: {' or '.join(others)}")
    return ", ".join(changes)
