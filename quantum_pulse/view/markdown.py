"""Render blocks as GitHub Flavored Markdown, for pull requests and chat."""

from __future__ import annotations

from collections.abc import Sequence

from quantum_pulse import shown
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


def write(document: Document) -> str:
    """The brief sections of a document, as text that ends with a newline."""
    parts = [f"# {inline(document.title)}", inline(document.subtitle)]
    for section in document.sections:
        if section.brief:
            parts += [f"## {inline(section.title)}", *_parts(section.blocks)]
    return "\n\n".join(parts) + "\n"


def blocks(content: Sequence[Block]) -> str:
    """Blocks with an empty line between them, without a newline at the end."""
    return "\n\n".join(_parts(content))


def _parts(content: Sequence[Block]) -> list[str]:
    return [part for one in content if (part := block(one))]


def block(content: Block) -> str:
    """One block; empty for what Markdown has no form for."""
    match content:
        case Paragraph(text, "warning"):
            return f"**{inline(text)}**"
        case Paragraph(text):
            return inline(text)
        case Bullets(items, title):
            heading = f"#### {inline(title)}\n\n" if title else ""
            return heading + "\n".join(f"- {inline(item)}" for item in items)
        case Icicle(whole, _, is_differential):
            return code(icicle.text(whole, is_differential=is_differential))
        case Figure(Boxes() as chart, label):
            return f"{inline(label)}\n\n{code(drawn.text(chart))}"
        case Table():
            return table(content)
        case Fold():
            return f"<details><summary>{inline(content.title)}</summary>\n\n{blocks(content.blocks)}\n\n</details>"
        case Entries():
            return entries(content)
        case _:
            return ""


def code(text: str) -> str:
    """Lines of text as a block of code, which nothing in them ends."""
    return f"```text\n{text.rstrip().replace('```', '` ` `')}\n```"


def table(content: Table) -> str:
    """A table with a line of its own for each row."""
    if not content.rows and content.empty:
        return inline(content.empty)
    kept = [place for place, column in enumerate(content.columns) if not column.wide]
    heads = [content.columns[place] for place in kept]
    lines = [
        _line([head.name for head in heads]),
        _line(["--:" if head.is_number else "---" for head in heads]),
    ]
    return "\n".join([*lines, *(_line(_cells(row, kept)) for row in content.rows)])


def _cells(row: Row, kept: Sequence[int]) -> list[str]:
    cells = [_cell(row.cells[place]) if place < len(row.cells) else "" for place in kept]
    cells[0] = f"**{cells[0]}**" if row.is_group else "&emsp;" * (row.level - 1) + cells[0]
    return cells


def _cell(cell: Cell) -> str:
    return inline(cell.text) or sparks.write(cell.chart)


def entries(content: Entries) -> str:
    """A list: an item for each entry, its first term in bold, the others in a list below it."""
    lines = []
    for (term, text), *others in content.entries:
        lines.append(f"- **{inline(term)}: {inline(text)}**")
        lines += [f"  - {inline(term)}: {inline(text)}" for term, text in others]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def inline(text: Text) -> str:
    """Running text; names are escaped or in code marks, so that they are neither markup, nor HTML, nor a mention."""
    if isinstance(text, str):
        return shown.visible(text).replace("|", "\\|").replace("<", "&lt;")
    if isinstance(text, Name):
        return in_code(text.text) if text.is_code else shown.markdown(text.text)
    return "".join(inline(part) for part in text)


def in_code(name: str) -> str:
    """A name in code marks, whatever characters it has."""
    # A bar ends a cell of a table even there.
    return f"`{shown.clean(name).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
