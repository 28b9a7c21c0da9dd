"""Render blocks as aligned plain text, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from quantum_pulse.shown import clean, visible
from quantum_pulse.view import boxes as drawn
from quantum_pulse.view import icicle, sparks
from quantum_pulse.view.chart import Boxes
from quantum_pulse.view.document import (
    Block,
    Bullets,
    Cell,
    Document,
    Entries,
    Figure,
    Fold,
    Icicle,
    Name,
    Paragraph,
    Row,
    Table,
    Text,
)
from quantum_pulse.view.widths import width

#: Columns that the running text of a document is broken at; tables are as wide as they are.
_WIDTH: Final = 100
#: Wider than any text: nothing is broken.
_UNBROKEN: Final = 1 << 30


def write(document: Document) -> str:
    """The brief sections of a document, as text that ends with a newline."""
    title = inline(document.title)
    parts = [f"{title}\n{'═' * width(title)}\n{inline(document.subtitle)}"]
    for section in document.sections:
        if section.brief:
            parts += [f"{section.title}\n{'─' * width(section.title)}", *_parts(section.blocks, _WIDTH)]
    return "\n\n".join(parts) + "\n"


def blocks(content: Sequence[Block]) -> str:
    """Blocks with an empty line between them, in lines as long as they are, without a newline at the end."""
    return "\n\n".join(_parts(content, _UNBROKEN))


def _parts(content: Sequence[Block], room: int) -> list[str]:
    return [part for one in content if (part := _block(one, room))]


def _block(content: Block, room: int) -> str:
    """One block in lines of `room` columns; empty for what text has no form for."""
    match content:
        case Paragraph(text):
            return textwrap.fill(inline(text), room)
        case Bullets(items, title):
            return listing(title, [inline(item) for item in items])
        case Icicle(whole, _, is_differential):
            return icicle.text(whole, is_differential=is_differential).rstrip()
        case Figure(Boxes() as chart, label):
            return f"{visible(label)}\n{drawn.text(chart)}"
        case Table():
            return table(content)
        case Fold(title, inner, brief=True):
            return "\n".join([inline(title), *_parts(inner, room)])
        case Entries():
            return entries(content, room)
        case _:
            return ""


def listing(title: str, lines: Sequence[str]) -> str:
    """Lines, indented below a title; nothing for no lines."""
    return "\n".join([*([title] if title else []), *(f"  {line}" for line in lines)]) if lines else ""


def entries(content: Entries, room: int = _WIDTH) -> str:
    """A list: an item for each entry, a line for each term."""
    lines = []
    for pairs in content.entries:
        for number, (term, text) in enumerate(pairs):
            line = f"{inline(term)}: {inline(text)}".replace("\n", " ")
            first = "  " if number else "- "
            lines.append(textwrap.fill(line, room, initial_indent=first, subsequent_indent="    "))
    return "\n".join(lines)


def table(content: Table) -> str:
    """A table with its columns aligned, text to the left and numbers to the right; no newline at the end."""
    if not content.rows:
        return content.empty
    kept = [place for place, column in enumerate(content.columns) if not column.wide]
    heads = [content.columns[place] for place in kept]
    # A title across the table is as long as it is, and says nothing of how wide a column must be.
    rows: list[list[str] | str] = [_cells(row, kept) for row in content.rows]
    if content.has_headings:
        rows.insert(0, [head.name for head in heads])
    aligned = [row for row in rows if not isinstance(row, str)]
    widths = [max((width(row[place]) for row in aligned), default=0) for place in range(len(heads))]
    shown = []
    for row in rows:
        if isinstance(row, str):
            shown.append(row)
            continue
        cells = []
        for cell, space, head in zip(row, widths, heads, strict=True):
            room = " " * (space - width(cell))
            cells.append(room + cell if head.is_number else cell + room)
        shown.append("  ".join(cells).rstrip())
    if content.has_headings:
        shown.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(shown)


def _cells(row: Row, kept: Sequence[int]) -> list[str] | str:
    first = "  " * (row.level - 1) + _cell(row.cells[0])
    if row.is_group and len(row.cells) == 1:
        return first
    return [first, *(_cell(row.cells[place]) for place in kept[1:])]


def _cell(cell: Cell) -> str:
    return inline(cell.text).replace("\n", " ") or sparks.write(cell.chart)


def inline(text: Text) -> str:
    """Running text. Names are on one line and steer no terminal, and what is not shown is as wide as it was."""
    if isinstance(text, str):
        return visible(text)
    if isinstance(text, Name):
        return clean(text.text)
    return "".join(inline(part) for part in text)
