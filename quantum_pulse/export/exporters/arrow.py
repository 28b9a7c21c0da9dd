"""Write a table as an Arrow IPC file."""

from __future__ import annotations

from typing import Any, Final

from quantum_pulse.export import tabular
from quantum_pulse.export.chosen import Wanted
from quantum_pulse.export.exporter import Exporter
from quantum_pulse.reading.reader import Source


def write(source: Source, wanted: Wanted, out: Any) -> int:
    """Write the rows to `out`; how many they are. Raises OSError."""
    import pyarrow as pa

    rows = tabular.rows_of(source, wanted)
    # A file has one dictionary a column, and it comes first. Not compressed: so it can be mapped, and any reader
    # knows it.
    whole = {name: pa.array(values, pa.string()) for name, values in rows.names().items()}
    count = 0
    with pa.ipc.new_file(out, rows.layout) as writer:
        for batch in rows.batches:
            for name, values in whole.items():
                place = rows.layout.get_field_index(name)
                batch = batch.set_column(place, rows.layout.field(name), _recoded(batch[name], values))
            writer.write_table(batch)
            count += batch.num_rows
    return count


def _recoded(column: Any, names: Any) -> Any:
    """A column of names with the dictionary `names`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = [
        pa.DictionaryArray.from_arrays(pc.index_in(chunk.dictionary, names).take(chunk.indices), names)
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, column.type)


EXPORTER: Final = Exporter(
    "arrow", "rows, as an Arrow IPC file (Feather)", write, rank=3, endings=(".arrow", ".feather"), is_text=False
)
