"""Write the brief sections of a document as aligned plain text for a terminal."""

from __future__ import annotations

import textwrap

from quantum_pulse.view import icicle
from quantum_pulse.view.document import Document, Entries, Icicle, Paragraph, Table, plain
from quantum_pulse.view.text import width

#: Columns that running text is broken at; tables are as wide as they are.
_WIDTH = 100


def write(document: Document) -> str:
    """The document as text that ends with a newline."""
    title = plain(document.title)
    parts = [f"{title}\n{'═' * width(title)}\n{plain(document.subtitle)}"]
    for section in document.sections:
        if section.brief:
            parts.append(f"{section.title}\n{'─' * width(section.title)}")
            for block in section.blocks:
                if isinstance(block, Paragraph):
                    parts.append(textwrap.fill(plain(block.text), _WIDTH))
                elif isinstance(block, Icicle):
                    parts.append(icicle.text(block.whole, is_differential=block.is_differential).rstrip())
                elif isinstance(block, Table):
                    parts.append(table(block))
                elif isinstance(block, Entries):
                    parts.append(entries(block))
    return "\n\n".join(parts) + "\n"


def entries(content: Entries) -> str:
    """A list: an item for each entry, a line for each term."""
    lines = []
    for pairs in content.entries:
        for number, (term, text) in enumerate(pairs):
            line = f"{term}: {plain(text)}".replace("\n", " ")
            first = "  " if number else "- "
            lines.append(textwrap.fill(line, _WIDTH, initial_indent=first, subsequent_indent="    "))
    return "\n".join(lines)


def table(content: Table) -> str:
    """A table with its columns aligned: text to the left, numbers to the right."""
    kept = [place for place, column in enumerate(content.columns) if not column.wide]
    heads = [content.columns[place] for place in kept]
    lines = [[head.name for head in heads]]
    for row in content.rows:
        cells = [plain(row.cells[place].text).replace("\n", " ") for place in kept]
        lines.append(["  " * (row.level - 1) + cells[0], *cells[1:]])
    widths = [max(width(line[place]) for line in lines) for place in range(len(heads))]
    shown = []
    for line in lines:
        cells = []
        for cell, space, head in zip(line, widths, heads, strict=True):
            room = " " * (space - width(cell))
            cells.append(room + cell if head.is_number else cell + room)
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)
