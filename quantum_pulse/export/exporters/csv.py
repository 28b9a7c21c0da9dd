"""Write a table as CSV."""

from __future__ import annotations

from typing import Any, Final

from quantum_pulse import shown
from quantum_pulse.export import tabular
from quantum_pulse.export.chosen import Wanted
from quantum_pulse.export.exporter import Exporter
from quantum_pulse.reading.reader import Source


def write(source: Source, wanted: Wanted, out: Any) -> int:
    """Write the rows to `out`; how many they are. Raises OSError."""
    import pyarrow as pa
    from pyarrow import csv

    rows = tabular.rows_of(source, wanted)
    # Names are quoted, so that one that is empty differs from none.
    fields = [pa.field(field.name, _plain(field.type)) for field in rows.layout]
    layout, count = pa.schema(fields), 0
    with csv.CSVWriter(out, layout) as writer:
        for batch in rows.batches:
            writer.write_table(_for_spreadsheets(batch.cast(layout)))
            count += batch.num_rows
    return count


def _for_spreadsheets(batch: Any) -> Any:
    """`batch` with texts that no spreadsheet takes for formulas."""
    import pyarrow as pa

    for place, field in enumerate(batch.schema):
        if pa.types.is_string(field.type):
            # Names are few, and each comes often.
            coded = batch[field.name].combine_chunks().dictionary_encode()
            names = pa.array([shown.cell(name) for name in coded.dictionary.to_pylist()], pa.string())
            batch = batch.set_column(place, field, names.take(coded.indices))
    return batch


def _plain(kind: Any) -> Any:
    import pyarrow as pa

    return pa.string() if pa.types.is_dictionary(kind) else kind


EXPORTER: Final = Exporter("csv", "rows, for spreadsheets and other tools", write, rank=2, endings=(".csv",))
