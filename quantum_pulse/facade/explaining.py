"""Why the slow calls of an operation are slow: its circumstances through `analysis.causes`."""

from __future__ import annotations

from typing import Final

from quantum_pulse import arguments
from quantum_pulse.analysis import causes
from quantum_pulse.analysis.causes import Causes
from quantum_pulse.diagnosis import circumstances
from quantum_pulse.operations import Operation
from quantum_pulse.reading import selection
from quantum_pulse.reading.reader import Source
from quantum_pulse.reading.selection import Moment, Recorded, Where

#: Slow calls that are kept of each cause.
_EXAMPLES: Final = 100


def why(
    source: Source,
    operation: Operation | Recorded,
    *,
    quantile: float = 0.99,
    start: Moment = None,
    end: Moment = None,
    where: Where = None,
    alpha: float = 0.05,
) -> Causes:
    """What makes the calls above a quantile slow; see `Capture.why`."""
    alpha = arguments.between(alpha, "alpha", 0, 1)
    quantile = arguments.between(quantile, "quantile", 0, 1)
    one = selection.member(source, operation)
    chosen = selection.select(source, one, start, end, where)
    source.check_readable()
    known = circumstances.read(source, chosen, quantile)
    if not len(known.duration_ns):
        raise ValueError(f"no call of {chosen.names[0] if chosen.names else operation} is among those selected")
    found, calls = causes.explain(known, quantile, alpha)
    samples = {name: circumstances.samples_of(source, chosen, known, shown, _EXAMPLES) for name, shown in calls.items()}
    return causes.with_samples(found, samples)
