"""Attributes of samples: which a capture has, and rows by their values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from quantum_pulse import schema
from quantum_pulse.arguments import nearest
from quantum_pulse.attributes import text_of
from quantum_pulse.reading.criteria import Conditions
from quantum_pulse.reading.reader import Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

#: The column of samples.
COLUMN: Final = "attributes"
#: The columns that a Parquet file has for it.
STORED: Final = (f"{COLUMN}.key_value.key", f"{COLUMN}.key_value.value")
#: What samples can be chosen by beside attributes.
OTHERS: Final = ("error",)

#: Names mapped to a value, to several, or to None: samples without one.
Where: TypeAlias = Mapping[str, object] | None


def names(source: Source) -> list[str]:
    """The attributes that operations of a capture declare, sorted."""
    return sorted({one["name"] for plain in source.definitions() for one in plain.get("attributes") or ()})


def conditions(source: Source, where: Where) -> Conditions:
    """What `where` asks for. Raises TypeError and ValueError that say what was wrong."""
    if where is None:
        return ()
    if not isinstance(where, Mapping):
        raise TypeError(f"where must map names to values, as in {{'tenant': 'acme'}}, not {where!r}")
    known = [*names(source), *OTHERS]
    found = []
    for name, given in where.items():
        if name not in known:
            near = nearest(str(name), known)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(map(repr, known))}"
            raise ValueError(f"the samples have no attribute {name!r}; {hint}")
        is_one = isinstance(given, str | Mapping) or not isinstance(given, Iterable)
        values: list[Any] = [given] if is_one else list(given)  # type: ignore[call-overload]
        if not values:
            raise ValueError(f"where: {name!r} has no values, so that no sample could have one")
        found.append((str(name), frozenset(_text(name, value) for value in values)))
    return tuple(found)


def _text(name: str, value: object) -> str | None:
    try:
        return None if value is None else text_of(value)
    except TypeError as error:
        raise TypeError(f"where: {name!r}: {error}") from None


def columns_of(conditions: Conditions) -> list[str]:
    """Columns of samples that `chosen` needs."""
    return list(dict.fromkeys(name if name in OTHERS else COLUMN for name, _ in conditions))


def chosen(rows: Any, conditions: Conditions) -> npt.NDArray[np.bool_]:
    """Which rows of a pyarrow.RecordBatch or Table meet all conditions."""
    import numpy as np

    mask = np.ones(rows.num_rows, np.bool_)
    for name, wanted in conditions:
        codes, values = coded_error(rows["error"]) if name in OTHERS else coded(rows[COLUMN], name)
        mask &= np.array([value in wanted for value in values], np.bool_)[codes]
    return mask


def coded(column: Any, name: str) -> tuple[npt.NDArray[np.int32], Sequence[str | None]]:
    """The attribute `name` of each row as a position in a list of values, the last of which is None.

    `column` is one of maps, from text to text or from dictionaries of text to such.
    """
    import numpy as np
    import pyarrow as pa

    whole: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_null(whole.type) or not len(whole):
        return np.zeros(len(whole), np.int32), [None]
    keys, items = _encoded(whole.keys), _encoded(whole.items)
    values: list[str | None] = [*items.dictionary.to_pylist(), None]
    found = np.full(len(whole), len(values) - 1, np.int32)
    offsets = np.asarray(whole.offsets)
    first, end = int(offsets[0]), int(offsets[-1])
    all_keys = keys.dictionary.to_pylist()
    if name in all_keys:
        is_it = np.asarray(keys.indices)[first:end] == all_keys.index(name)
        rows = np.repeat(np.arange(len(whole), dtype=np.int32), np.diff(offsets))
        found[rows[is_it]] = np.asarray(items.indices)[first:end][is_it]
    return found, values


def _encoded(texts: Any) -> Any:
    import pyarrow as pa

    return texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()


def coded_error(column: Any) -> tuple[npt.NDArray[np.int32], Sequence[str | None]]:
    """The error of each row as a position in a list of names, the last of which is None."""
    import numpy as np
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    whole = _encoded(whole)
    values = [*whole.dictionary.to_pylist(), None]
    indices = whole.indices
    filled = indices.fill_null(len(values) - 1) if indices.null_count else indices
    return np.asarray(filled).astype(np.int32), values


def others(source: Source) -> list[dict[str, Any]]:
    """How many values of each operation and attribute were recorded as schema.OTHER."""
    from quantum_pulse.agent.attributes import added_others

    return added_others(part.footer.get("others") or () for part in source.sound("samples"))


def frame(source: Source) -> pd.DataFrame:
    """What operations declare and what was recorded of it; see `Capture.attributes`."""
    import pandas as pd

    counts = {(one["operation"], one["attribute"]): one["count"] for one in others(source)}
    declared: dict[tuple[str, str], dict[str, Any]] = {}
    for plain in source.definitions():
        for one in plain.get("attributes") or ():
            choices = None if one.get("choices") is None else ", ".join(one["choices"])
            declared[plain["name"], one["name"]] = {"type": one["type"], "choices": choices}
    rows = [{**own, schema.OTHER: counts.get(key, 0)} for key, own in declared.items()]
    index = pd.MultiIndex.from_tuples(list(declared), names=["operation", "attribute"])
    if not declared:
        index = pd.MultiIndex.from_arrays([[], []], names=["operation", "attribute"])
    return pd.DataFrame(rows, index=index, columns=["type", "choices", schema.OTHER]).sort_index()
