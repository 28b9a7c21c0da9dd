"""Write a table as Parquet."""

from __future__ import annotations

from typing import Any, Final

from quantum_pulse import schema
from quantum_pulse.export import tabular
from quantum_pulse.export.chosen import Wanted
from quantum_pulse.export.exporter import Exporter
from quantum_pulse.reading.reader import Source

#: Encodings of columns that a capture's parts do not leave to Parquet.
_ENCODINGS: Final = {
    column.name: column.encoding
    for columns in schema.TABLES.values()
    for column in columns
    if column.encoding.isupper()
}


def write(source: Source, wanted: Wanted, out: Any) -> int:
    """Write the rows to `out`; how many they are. Raises OSError."""
    import pyarrow.parquet as pq

    rows = tabular.rows_of(source, wanted)
    # As in a capture, but without BYTE_STREAM_SPLIT, which older readers do not know for integers: a fifth larger.
    encoding = {name: kind for name, kind in _ENCODINGS.items() if name in rows.layout.names}
    delta = {name: kind for name, kind in encoding.items() if kind == "DELTA_BINARY_PACKED"}
    named: Any = [name for name in rows.layout.names if name not in encoding]
    count = 0
    with pq.ParquetWriter(
        out, rows.layout, compression="zstd", use_dictionary=named, column_encoding=delta, write_page_checksum=True
    ) as writer:
        for batch in rows.batches:
            writer.write_table(batch)
            count += batch.num_rows
    return count


EXPORTER: Final = Exporter(
    "parquet", "rows, for DuckDB, Polars, pandas, Spark", write, rank=1, endings=(".parquet",), is_text=False
)
