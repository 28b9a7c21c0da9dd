"""Write counters for Prometheus: as OpenMetrics, as its classic text, or as protocol buffers with native histograms.

The formats: "OpenMetrics, a cloud-native, highly scalable metrics protocol", version 1.0; Prometheus' text format
0.0.4; its protocol buffers `io.prometheus.client.MetricFamily`, each after its length. A native histogram of schema 3
has 8 buckets an octave. A bucket of ours goes into the native one that its middle is in, so that a call next to a bound
may count on its other side.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from quantum_pulse import histogram
from quantum_pulse.live.counters import Counters, Exemplar, Key, Tally

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Classic buckets of an operation that has a budget: multiples of that.
_OF_BUDGET: Final = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 3 / 2, 2, 4, 8, 16)
#: Those of one that has none: each octave from 1 µs to 17 s.
_OCTAVES: Final = tuple(1 << exponent for exponent in range(10, 35))
#: 2**_SCHEMA buckets of a native histogram are an octave.
_SCHEMA: Final = 3
#: What is shorter is counted as zero, in seconds.
_ZERO_S: Final = 0.5e-9
_DURATION: Final = "quantum_pulse_duration_seconds"
_ERRORS: Final = "quantum_pulse_errors"
_BUDGET: Final = "quantum_pulse_budget_seconds"
_LOST: Final = "quantum_pulse_lost_samples"
_HELP: Final = {
    _DURATION: "How long calls took. Counts are exact at each bound.",
    _ERRORS: "Calls that an exception left.",
    _BUDGET: "How long a call may take, as its operation says.",
    _LOST: "Samples that were lost or cannot be read, as far as they are known.",
}


class Format(NamedTuple):
    """A format of metrics, by the content type that is asked for and answered with."""

    asked: str
    content_type: str


OPENMETRICS: Final = Format(
    "application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"
)
CLASSIC: Final = Format("text/plain", "text/plain; version=0.0.4; charset=utf-8")
PROTOBUF: Final = Format(
    "application/vnd.google.protobuf",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
)


def negotiated(accept: str) -> Format:
    """The format that the header `accept` prefers; the classic one where it names none of them."""
    best, chosen = 0.0, CLASSIC
    for choice in accept.split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        given = dict(part.partition("=")[::2] for part in parameters)
        try:
            quality = float(given.get("q", 1))
        except ValueError:
            continue
        message = given.get("proto"), given.get("encoding")
        is_ours = kind != PROTOBUF.asked or message == ("io.prometheus.client.MetricFamily", "delimited")
        found = {one.asked: one for one in (OPENMETRICS, PROTOBUF, CLASSIC)}.get(kind)
        if found is not None and is_ours and quality > best:
            best, chosen = quality, found
    return chosen


def written(counters: Counters, wanted: Format) -> bytes:
    """The counters as they are, in a format."""
    if wanted is PROTOBUF:
        return b"".join(_families(counters))
    lines = _lines(counters, is_classic=wanted is CLASSIC)
    return "".join(f"{line}\n" for line in lines).encode()


# ---- buckets ---------------------------------------------------------------------------------------------------------


def _bounds(budget_us: float | None) -> list[int]:
    """The last of the buckets of `histogram` below each classic bound, ascending: counts are exact there."""
    if budget_us is None:
        return [histogram.bucket_of(edge) - 1 for edge in _OCTAVES]
    return sorted({histogram.bucket_of(max(round(budget_us * 1000 * share), 1)) for share in _OF_BUDGET})


def _upper_s(bucket: int) -> float:
    """The largest whole number of ns in `bucket`, in seconds: bounds are inclusive."""
    return (histogram.lower_edge(bucket + 1) - 1) / 1e9


@functools.cache
def _native_numbers() -> npt.NDArray[np.int64]:
    """The native bucket of each bucket of `histogram`, by its middle; that of zero has no meaning."""
    import numpy as np

    return np.array(
        [0, *(math.ceil(math.log2(histogram.middle(one) / 1e9) * 2**_SCHEMA) for one in range(1, histogram.BUCKETS))],
        np.int64,
    )


def _sorted(counters: Counters) -> list[tuple[Key, Tally]]:
    return [(key, counters.tallies[key]) for key in sorted(counters.tallies)]


# ---- text ------------------------------------------------------------------------------------------------------------


def _lines(counters: Counters, *, is_classic: bool) -> Iterator[str]:
    suffix = "_total" if is_classic else ""
    yield from _declared(_DURATION, "histogram", "seconds")
    for key, tally in _sorted(counters):
        labels, reached = _labels(**key._asdict()), tally.calls.cumsum()
        examples = {} if is_classic else dict(tally.exemplars)
        below = -1.0
        for bucket in _bounds(counters.budgets_us.get(key.operation)):
            shown = _example(examples, below, _upper_s(bucket))
            yield f'{_DURATION}_bucket{{{labels},le="{_upper_s(bucket)!r}"}} {int(reached[bucket])}{shown}'
            below = _upper_s(bucket)
        yield f'{_DURATION}_bucket{{{labels},le="+Inf"}} {tally.count}{_example(examples, below, math.inf)}'
        yield f"{_DURATION}_count{{{labels}}} {tally.count}"
        yield f"{_DURATION}_sum{{{labels}}} {tally.total_ns / 1e9!r}"
    yield from _declared(_ERRORS, "counter", suffix=suffix)
    yield from (f"{_ERRORS}_total{{{_labels(**key._asdict())}}} {tally.errors}" for key, tally in _sorted(counters))
    yield from _declared(_BUDGET, "gauge", "seconds")
    for name, budget_us in sorted(counters.budgets_us.items()):
        yield f"{_BUDGET}{{{_labels(operation=name)}}} {budget_us / 1e6!r}"
    yield from _declared(_LOST, "counter", suffix=suffix)
    yield f"{_LOST}_total {counters.lost}"
    if not is_classic:
        yield "# EOF"


def _declared(name: str, kind: str, unit: str = "", suffix: str = "") -> list[str]:
    units = [f"# UNIT {name} {unit}"] if unit else []
    return [f"# TYPE {name}{suffix} {kind}", *units, f"# HELP {name}{suffix} {_HELP[name]}"]


def _example(exemplars: dict[int, Exemplar], above_s: float, until_s: float) -> str:
    """The newest exemplar in a bucket, as OpenMetrics has it behind the count."""
    own = [one for one in exemplars.values() if above_s < one.duration_ns / 1e9 <= until_s]
    if not own:
        return ""
    newest = max(own, key=lambda one: one.start_ns)
    labels = _labels(span=str(newest.span), process=str(newest.process))
    return f" # {{{labels}}} {newest.duration_ns / 1e9!r} {newest.start_ns / 1e9:.6f}"


def _labels(**values: str) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


# ---- protocol buffers ------------------------------------------------------------------------------------------------

_COUNTER, _GAUGE, _HISTOGRAM = 0, 1, 4


def _families(counters: Counters) -> Iterator[bytes]:
    histograms = [
        _metric(7, _histogram(tally, _bounds(counters.budgets_us.get(key.operation))), **key._asdict())
        for key, tally in _sorted(counters)
    ]
    errors = [_metric(3, _double(1, tally.errors), **key._asdict()) for key, tally in _sorted(counters)]
    allowed = [
        _metric(2, _double(1, budget_us / 1e6), operation=name)
        for name, budget_us in sorted(counters.budgets_us.items())
    ]
    yield _family(_DURATION, _HISTOGRAM, histograms)
    yield _family(_ERRORS, _COUNTER, errors, "_total")
    yield _family(_BUDGET, _GAUGE, allowed)
    yield _family(_LOST, _COUNTER, [_metric(3, _double(1, counters.lost))], "_total")


def _family(name: str, kind: int, metrics: list[bytes], suffix: str = "") -> bytes:
    """A family after its length; nothing where it has no metrics, which Prometheus refuses."""
    if not metrics:
        return b""
    body = _text(1, name + suffix) + _text(2, _HELP[name]) + _number(3, kind) + b"".join(metrics)
    return _varint(len(body)) + body


def _metric(field: int, value: bytes, **labels: str) -> bytes:
    return _message(4, _label_pairs(**labels) + _message(field, value))


def _label_pairs(**labels: str) -> bytes:
    return b"".join(_message(1, _text(1, name) + _text(2, text)) for name, text in labels.items())


def _histogram(tally: Tally, bounds: list[int]) -> bytes:
    import numpy as np

    reached = tally.calls.cumsum()
    found = _number(1, tally.count) + _double(2, tally.total_ns / 1e9)
    below = -1.0
    for bucket in bounds:
        upper = _upper_s(bucket)
        own = [one for one in tally.exemplars.values() if below < one.duration_ns / 1e9 <= upper]
        example = _message(3, _exemplar(max(own, key=lambda one: one.start_ns))) if own else b""
        found += _message(3, _number(1, int(reached[bucket])) + _double(2, upper) + example)
        below = upper
    found += _number(5, _zigzag(_SCHEMA)) + _double(6, _ZERO_S) + _number(7, int(tally.calls[0]))
    filled = np.flatnonzero(tally.calls[1:]) + 1
    numbers = _native_numbers()[filled]
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1)) if len(numbers) else numbers
    calls = np.add.reduceat(tally.calls[filled], first).tolist() if len(first) else []
    spans, deltas, before, end = b"", b"", 0, None
    present = numbers[first].tolist()
    place = 0
    while place < len(present):
        length = 1
        while place + length < len(present) and present[place + length] == present[place] + length:
            length += 1
        offset = present[place] - (0 if end is None else end)
        spans += _message(12, _number(1, _zigzag(offset)) + _number(2, length))
        end = present[place] + length
        place += length
    for count in calls:
        deltas += _varint(_zigzag(count - before))
        before = count
    return found + spans + _message(13, deltas)


def _exemplar(one: Exemplar) -> bytes:
    seconds, rest = divmod(one.start_ns, 10**9)
    time = _message(3, _number(1, seconds) + _number(2, rest))
    return _label_pairs(span=str(one.span), process=str(one.process)) + _double(2, one.duration_ns / 1e9) + time


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _zigzag(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
