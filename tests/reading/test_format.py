"""The document of the format is generated; this says when it is old."""

from pathlib import Path

from quantum_pulse import schema
from quantum_pulse.reading import format as capture_format


def test_the_document_is_current():
    document = Path(__file__).parents[2] / "docs" / "format.md"
    assert document.read_text(encoding="utf-8") == capture_format.document(), "run: make docs"


def test_every_column_is_in_it():
    text = capture_format.document()
    for columns in schema.TABLES.values():
        assert all(f"| `{column.name}` |" in text for column in columns)
