"""Write the brief sections of a document as GitHub Flavored Markdown, for pull requests and chat."""

from __future__ import annotations

from quantum_pulse import shown
from quantum_pulse.view import icicle
from quantum_pulse.view.document import Document, Entries, Icicle, Name, Paragraph, Table, Text


def write(document: Document) -> str:
    """The document as text that ends with a newline."""
    parts = [f"# {inline(document.title)}", inline(document.subtitle)]
    for section in document.sections:
        if section.brief:
            parts.append(f"## {inline(section.title)}")
            for block in section.blocks:
                if isinstance(block, Paragraph):
                    parts.append(inline(block.text))
                elif isinstance(block, Icicle):
                    parts.append(icicle.markdown(block.whole, is_differential=block.is_differential).rstrip())
                elif isinstance(block, Table):
                    parts.append(table(block))
                elif isinstance(block, Entries):
                    parts.append(entries(block))
    return "\n\n".join(parts) + "\n"


def table(content: Table) -> str:
    """A table with a line of its own for each row."""
    kept = [place for place, column in enumerate(content.columns) if not column.wide]
    heads = [content.columns[place] for place in kept]
    lines = [
        _line([head.name for head in heads]),
        _line(["--:" if head.is_number else "---" for head in heads]),
    ]
    for row in content.rows:
        cells = [inline(row.cells[place].text) for place in kept]
        cells[0] = f"**{cells[0]}**" if row.is_group else "&emsp;" * (row.level - 1) + cells[0]
        lines.append(_line(cells))
    return "\n".join(lines)


def entries(content: Entries) -> str:
    """A list: an item for each entry, its first term in bold, the others in a list below it."""
    lines = []
    for (term, text), *others in content.entries:
        lines.append(f"- **{term}: {inline(text)}**")
        lines += [f"  - {term}: {inline(text)}" for term, text in others]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def inline(text: Text) -> str:
    """Running text; names are escaped, so that they are neither markup, nor HTML, nor a mention."""
    if isinstance(text, str):
        return shown.visible(text).replace("|", "\\|").replace("<", "&lt;")
    if isinstance(text, Name):
        return shown.markdown(text.text)
    return "".join(inline(part) for part in text)
