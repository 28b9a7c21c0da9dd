"""Render tables in groups of rows, each under a title, as text and as self-contained HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from quantum_pulse.shown import clean
from quantum_pulse.view import text


class Group(NamedTuple):
    """Rows under a title; their first cell is a name. Cells are neither cleaned nor escaped."""

    title: str
    rows: Sequence[Sequence[str]]


def as_text(headings: Sequence[str], groups: Sequence[Group]) -> str:
    """For a terminal, aligned: names to the left, all else to the right. No newline at the end."""
    lines = [("", list(headings))]
    for group in groups:
        lines.append((clean(group.title), []))
        lines += [("", ["  " + clean(row[0]), *map(clean, row[1:])]) for row in group.rows]
    widths = [max(text.width(cells[column]) for _, cells in lines if cells) for column in range(len(headings))]
    shown = []
    for title, cells in lines:
        if not cells:
            shown.append(title)
            continue
        spaces = [" " * (width - text.width(cell)) for cell, width in zip(cells, widths, strict=True)]
        shown.append("  ".join([cells[0] + spaces[0], *map("".join, zip(spaces[1:], cells[1:], strict=True))]).rstrip())
    return "\n".join([shown[0], "─" * (sum(widths) + 2 * (len(widths) - 1)), *shown[1:]])


def as_html(headings: Sequence[str], groups: Sequence[Group]) -> str:
    """The same as a table of the class that `html.STYLE` styles."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headings)
    parts = [f'<table class="qp-table"><thead><tr>{head}</tr></thead>']
    for group in groups:
        title = f'<tr><th scope="rowgroup" colspan="{len(headings)}"><bdi>{escape(group.title)}</bdi></th></tr>'
        rows = (
            f'<tr><th scope="row"><bdi>{escape(row[0])}</bdi></th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in group.rows
        )
        parts.append("<tbody>" + title + "".join(rows) + "</tbody>")
    return "".join([*parts, "</table>"])
