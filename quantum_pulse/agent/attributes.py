"""Values of attributes, as rings have them, become a column of maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arrow, schema
from quantum_pulse.attributes import FLAG, INTEGER, REAL, TEXT, text_of
from quantum_pulse.operations import Definition
from quantum_pulse.rings.batch import VALUES, Batch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_TYPES: Final = (TEXT, INTEGER, REAL, FLAG)


class _Declared:
    """What some operations declare, as tables by operation and place."""

    def __init__(self, operations: Sequence[Definition]) -> None:
        import numpy as np

        self.names: list[str] = []
        self.places = max((len(one.attributes) for one in operations), default=0)
        #: Number of the attribute's name, and of its type; -1 where there is none.
        self.name = np.full((len(operations), self.places), -1, np.int32)
        self.type = np.full((len(operations), self.places), -1, np.int8)
        codes: dict[str, int] = {}
        for number, operation in enumerate(operations):
            for place, attribute in enumerate(operation.attributes):
                self.name[number, place] = codes.setdefault(attribute.name, len(codes))
                self.type[number, place] = _TYPES.index(attribute.type)
        self.names = list(codes)


def renumbered(batch: Batch, operations: Sequence[Definition], codes: npt.NDArray[np.uint32]) -> dict[str, Any]:
    """The columns of values in `batch` with other numbers for texts: `codes` by their own, whose last is of others."""
    import numpy as np

    found = {}
    declared = _Declared(operations)
    for place in range(declared.places):
        values = batch.columns.get(VALUES[place])
        if values is None:
            continue
        is_text = declared.type[batch.columns["operation"], place] == _TYPES.index(TEXT)
        is_text &= values != schema.NO_VALUE
        new = values.copy()
        new[is_text] = codes[np.clip(values[is_text], 0, len(codes) - 1)]
        found[VALUES[place]] = new
    return found


def column(
    columns: dict[str, npt.NDArray[Any]],
    numbers: npt.NDArray[np.intp],
    operations: Sequence[Definition],
    texts: Sequence[str],
) -> tuple[pa.Array[Any], list[dict[str, Any]]]:
    """Attributes of samples, and how many of their values are none of those that were kept apart.

    Parameters
    ----------
    columns
        Columns of a batch.
    numbers
        The operation of each row, as an index into `operations`.
    operations, texts
        What the numbers of operations and texts mean.

    Returns
    -------
    attributes
        One map for each row, null where nothing was set.
    others
        ``{"operation", "attribute", "count"}`` of values that became `schema.OTHER`.
    """
    import numpy as np
    import pyarrow as pa

    kind = arrow.layout("samples").field("attributes").type
    declared = _Declared(operations)
    present = [place for place in range(declared.places) if VALUES[place] in columns]
    rows = len(numbers)
    if not present:
        return pa.nulls(rows, kind), []
    names = np.full((rows, len(present)), -1, np.int32)
    values = np.zeros((rows, len(present)), np.int32)
    known = [*texts, schema.OTHER]
    other = len(texts)
    others: Counter[tuple[int, int]] = Counter()
    for at, place in enumerate(present):
        stored = columns[VALUES[place]]
        types = np.where(stored != schema.NO_VALUE, declared.type[numbers, place], -1)
        names[:, at] = np.where(types >= 0, declared.name[numbers, place], -1)
        for number, type_ in enumerate(_TYPES):
            chosen = np.flatnonzero(types == number)
            if not len(chosen):
                continue
            if type_ == TEXT:
                code = stored[chosen]
                code = np.where((code > 0) & (code < other), code, other)
                beyond = chosen[code == other]
                others.update(zip(numbers[beyond].tolist(), [place] * len(beyond), strict=True))
                values[chosen, at] = code
            else:
                different, code = np.unique(stored[chosen], return_inverse=True)
                values[chosen, at] = code + len(known)
                known += map(_text_of(type_), different)
    is_set = names >= 0
    counted = [
        {"operation": operations[number].name, "attribute": operations[number].attributes[place].name, "count": count}
        for (number, place), count in others.items()
    ]
    return _maps(is_set, names[is_set], values[is_set], declared.names, known, kind), counted


def added_others(counts: Iterable[Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What several footers say of values that were not kept apart, together."""
    total: Counter[tuple[str, str]] = Counter()
    for one in (one for own in counts for one in own):
        total[one["operation"], one["attribute"]] += one["count"]
    return [
        {"operation": operation, "attribute": attribute, "count": count}
        for (operation, attribute), count in total.items()
    ]


def _maps(
    is_set: npt.NDArray[np.bool_],
    names: npt.NDArray[np.int32],
    values: npt.NDArray[np.int32],
    all_names: Sequence[str],
    all_values: Sequence[str],
    kind: Any,
) -> pa.Array[Any]:
    import numpy as np
    import pyarrow as pa

    counts = is_set.sum(axis=1)
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    entries = pa.StructArray.from_arrays(
        [
            arrow.strings(all_names).take(arrow.array(names, pa.int32())),
            arrow.strings(all_values).take(arrow.array(values, pa.int32())),
        ],
        fields=[kind.key_field, kind.item_field],
    )
    valid = pa.py_buffer(np.packbits(counts > 0, bitorder="little").data)
    return pa.Array.from_buffers(kind, len(counts), [valid, pa.py_buffer(offsets.data)], children=[entries])


def _text_of(type_: str) -> Callable[[Any], str]:
    """How values of a type are shown, of the 64 bits that rows have."""
    if type_ == REAL:
        return lambda bits: text_of(float(bits.view("float64")))
    if type_ == FLAG:
        return lambda bits: text_of(bool(bits))
    return lambda bits: text_of(int(bits))
