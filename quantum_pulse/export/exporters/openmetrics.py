"""Write histograms of durations as OpenMetrics text, or in Prometheus' classic text format.

From the parts' footers: samples are read only where a footer does not suffice, as when a time interval cuts through
its part. The formats: "OpenMetrics, a cloud-native, highly scalable metrics protocol", version 1.0; "Exposition
formats" of Prometheus, text format 0.0.4. The classic one declares a counter by the name of its samples, the other one
without their `_total`: a reader of either takes the counters of the other for untyped.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import histogram
from quantum_pulse.export.chosen import Wanted
from quantum_pulse.export.exporter import Exporter
from quantum_pulse.reading import budgets, scan, totals
from quantum_pulse.reading.calls import Calls
from quantum_pulse.reading.groups import Groups
from quantum_pulse.reading.reader import Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Buckets in an octave: those of the footers taken together, or there would be a thousand for each operation.
BUCKETS_AN_OCTAVE: Final = 4
#: Series beyond which a warning says so: what one target should expose at most.
MOST_SERIES: Final = 100_000
_TOGETHER: Final = histogram.LINEAR // BUCKETS_AN_OCTAVE

_DURATION: Final = "quantum_pulse_duration_seconds"
_HELP: Final = {
    _DURATION: "How long calls took. Counts are exact at each bound; there are "
    f"{BUCKETS_AN_OCTAVE} buckets an octave, so that a bucket is at most {1 / BUCKETS_AN_OCTAVE:.0%} wide.",
    "quantum_pulse_errors": "Calls that an exception left.",
    "quantum_pulse_budget_seconds": "How long a call may take, as its operation says.",
    "quantum_pulse_lost_samples": "Samples that were lost or cannot be read, as far as they are known.",
}


def write(source: Source, wanted: Wanted, out: Any, *, is_classic: bool = False) -> int:
    """Write it to `out`, in the classic format or the current one; the number of operations in it. Raises OSError."""

    def counter(name: str) -> list[str]:
        return _family(name, "counter", suffix="_total" if is_classic else "")

    several = ["capture"] if source.captures else []
    groups = Groups((*several, "category", "operation"), source.categories_of())
    found = scan.whole(lambda: totals.gather(source, Calls(groups, None), wanted.selection))
    own = sorted(found.filled().tolist(), key=lambda number: groups.keys[number])
    labels = {number: _labels(dict(zip(groups.levels, groups.keys[number], strict=True))) for number in own}
    lines = [*_histograms(found, labels)]
    if len(lines) > MOST_SERIES:
        warnings.warn(
            f"{len(lines):,} series of {len(own):,} operations are more than Prometheus handles well; "
            "select some with operations=",
            stacklevel=2,
        )
    lines += counter("quantum_pulse_errors")
    lines += [f"quantum_pulse_errors_total{{{labels[number]}}} {found.errors[number]}" for number in own]
    allowed = budgets.defined(source, wanted.selection)
    if allowed:
        lines += _family("quantum_pulse_budget_seconds", "gauge", "seconds")
        names = {groups.keys[number][-1] for number in own}
        lines += [
            f"quantum_pulse_budget_seconds{{{_labels({'operation': name})}}} {budget.limit_us / 1e6!r}"
            for name, budget in sorted(allowed.items())
            if name in names
        ]
    lost = sum(loss["count"] or 0 for loss in source.losses())
    lines += counter("quantum_pulse_lost_samples")
    lines += [f"quantum_pulse_lost_samples_total {lost}", *([] if is_classic else ["# EOF"])]
    out.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return len(own)


def _family(name: str, kind: str, unit: str = "", suffix: str = "") -> list[str]:
    units = [f"# UNIT {name} {unit}"] if unit else []
    return [f"# TYPE {name}{suffix} {kind}", *units, f"# HELP {name}{suffix} {_HELP[name]}"]


def _histograms(found: totals.Totals, labels: dict[int, str]) -> Iterator[str]:
    yield from _family(_DURATION, "histogram", "seconds")
    cells, calls = found.histogram()
    group, row = cells // histogram.BUCKETS, cells % histogram.BUCKETS // _TOGETHER
    bounds = _bounds(row)
    first = int(row.min()) if len(row) else 0
    for number, own in labels.items():
        mine = slice(*_range(group, number))
        counts = _counts(row[mine] - first, calls[mine], len(bounds))
        for bound, reached in zip(bounds, counts.cumsum().tolist(), strict=True):
            yield f'{_DURATION}_bucket{{{own},le="{bound}"}} {reached}'
        yield f'{_DURATION}_bucket{{{own},le="+Inf"}} {found.count[number]}'
        yield f"{_DURATION}_count{{{own}}} {found.count[number]}"
        yield f"{_DURATION}_sum{{{own}}} {int(found.total[number]) / 1e9!r}"


def _bounds(rows: npt.NDArray[np.int64]) -> list[str]:
    """Upper bounds from the shortest call to the longest: the same for all operations, so that they can be added."""
    if not len(rows):
        return []
    # The largest whole number of ns in it: bounds are inclusive.
    return [
        repr((histogram.lower_edge((row + 1) * _TOGETHER) - 1) / 1e9)
        for row in range(int(rows.min()), int(rows.max()) + 1)
    ]


def _range(group: npt.NDArray[np.int64], number: int) -> tuple[int, int]:
    import numpy as np

    first, end = np.searchsorted(group, [number, number + 1]).tolist()
    return first, end


def _counts(rows: npt.NDArray[np.int64], calls: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    import numpy as np

    found = np.zeros(size, np.int64)
    np.add.at(found, rows, calls)
    return found


def _labels(values: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


EXPORTER: Final = Exporter(
    "openmetrics",
    "histograms of durations, for Prometheus and other readers of OpenMetrics",
    write,
    rank=6,
    endings=(".prom",),
    rows="operations",
)
