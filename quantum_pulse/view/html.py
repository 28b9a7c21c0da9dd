"""Render blocks as self-contained HTML: no script, no request, every text escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Final

from quantum_pulse.shown import visible
from quantum_pulse.view import boxes, icicle, svg
from quantum_pulse.view.chart import Boxes
from quantum_pulse.view.document import (
    Beside,
    Block,
    Bullets,
    Cell,
    Column,
    Entries,
    Figure,
    Fold,
    Icicle,
    Name,
    Paragraph,
    Row,
    Section,
    Table,
    Text,
    plain,
)

#: Levels that rows can be indented to; deeper ones look the same.
_DEEPEST: Final = 12


@cache
def asset(name: str) -> str:
    """Text of a file in `assets`."""
    return resources.files("quantum_pulse.view").joinpath("assets", name).read_text(encoding="utf-8")


def page_style() -> str:
    """The style of reports."""
    return asset("report.css") + asset("boxes.css")


#: What makes charts and tables respond, in the order that their definitions need.
_SCRIPTS: Final = ("units.js", "tip.js", "boxes.js", "charts.js", "grid.js", "page.js")


def definitions() -> str:
    """The functions that make charts and tables respond, for a script that calls them."""
    return "\n".join(map(asset, _SCRIPTS))


def script(start: str) -> str:
    """A script by itself: the functions, and the file that starts them; nothing of it is visible to other scripts."""
    return f'(() => {{\n"use strict";\n{definitions()}\n{asset(start)}}})();'


def card(content: Sequence[Block]) -> str:
    """Blocks as the output of a cell: in the font and the colours of the page that they are in."""
    return f'<style>{asset("card.css")}</style><div class="qp-card">{blocks(content)}</div>'


def fragment(content: Sequence[Block]) -> str:
    """Blocks to embed in another page, with the style of reports; without scripts and links."""
    return f'<div class="qp fragment"><style>{page_style()}</style>{blocks(content)}</div>'


def section(one: Section) -> str:
    """A section with its heading."""
    return (
        f'<section id="{one.anchor}" aria-labelledby="{one.anchor}-title"><h2 id="{one.anchor}-title">'
        f"{escape(one.title)}</h2>{blocks(one.blocks)}</section>"
    )


def blocks(content: Sequence[Block]) -> str:
    """Blocks, one after the other."""
    return "".join(block(one) for one in content)


def block(content: Block) -> str:
    """One block."""
    match content:
        case Paragraph(text, kind):
            return f"<p{_class(kind)}>{inline(text)}</p>"
        case Bullets(items, title):
            heading = f"<p>{escape(title)}</p>" if title else ""
            return f'{heading}<ul class="bullets">{"".join(f"<li>{inline(item)}</li>" for item in items)}</ul>'
        case Figure():
            return _figure(content)
        case Icicle(whole, label, is_differential):
            chart = icicle.chart(whole, is_differential=is_differential)
            return block(Figure(chart, label)) if chart.boxes else '<p class="missing">No calls were recorded.</p>'
        case Table():
            return table(content)
        case Fold():
            return _fold(content)
        case Beside(inner):
            return f'<div class="beside">{blocks(inner)}</div>'
        case Entries(entries):
            items = "".join(f"<li><dl>{''.join(_term(*pair) for pair in pairs)}</dl></li>" for pairs in entries)
            # Some screen readers ignore a list without bullets, unless it has the role.
            return f'<ul class="entries" role="list">{items}</ul>'


def _figure(one: Figure) -> str:
    chart, caption = one.chart, inline(one.caption)
    if isinstance(chart, Boxes):
        return boxes.html(chart, one.label) + (f'<p class="note">{caption}</p>' if caption else "")
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    # What is wider than the page scrolls by itself; it takes the focus, so that keys can scroll it.
    return (
        f'<figure><div class="scroll" role="img" tabindex="0" aria-label="{escape(one.label)}">{svg.draw(chart)}</div>'
        f"{under}</figure>"
    )


def _class(kinds: str) -> str:
    return f' class="{kinds}"' if kinds else ""


def _term(term: str | Name, text: Text) -> str:
    return f"<dt>{inline(term)}</dt><dd>{inline(text)}</dd>"


def _fold(fold: Fold) -> str:
    aside = f'<span class="aside">{escape(fold.aside)}</span>' if fold.aside else ""
    title = f"<h3>{inline(fold.title)}</h3>" if fold.kind == "operation" else f"<b>{inline(fold.title)}</b>"
    # The anchor is inside: a browser opens what it must to show the target of a link, with scripts or without.
    begin = ""
    if fold.anchor:
        begin = (
            f'<p class="crumbs" id="{fold.anchor}" tabindex="-1"><a href="#{fold.up}">Operations</a> '
            f'<span aria-hidden="true">›</span> {inline(fold.title)}</p>'
        )
    return (
        f'<details class="fold {fold.kind}"><summary>{title}{aside}</summary><div class="inside">{begin}'
        f"{blocks(fold.blocks)}</div></details>"
    )


def table(content: Table) -> str:
    """A table; what is too wide scrolls inside its frame."""
    head = f"<thead><tr>{''.join(map(_heading, content.columns))}</tr></thead>" if content.has_headings else ""
    rows = "".join(_row(content, row) for row in content.rows)
    if not content.rows and content.empty:
        rows = f'<tr><td class="left" colspan="{len(content.columns)}">{escape(content.empty)}</td></tr>'
    which = f' data-kind="{content.kind}"' if content.kind else ""
    caption = f"<caption>{inline(content.caption)}</caption>" if content.caption else ""
    label = escape(plain(content.caption)) or "table"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table{which}>{caption}{head}'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _heading(column: Column) -> str:
    name = f"<span>{escape(column.name)}</span>{_chart(column)}" if column.name else '<span class="hidden">value</span>'
    return f'<th scope="col"{_class("" if column.is_number else "left")}{_title(column.title)}>{name}</th>'


def _title(text: str) -> str:
    return f' title="{escape(text)}"' if text else ""


def _chart(one: Cell | Column) -> str:
    return "" if one.chart is None else svg.draw(one.chart)


def _row(content: Table, row: Row) -> str:
    kind = _class("group" if row.is_group else "")
    level = f' data-level="{row.level}"' if content.kind == "grid" else ""
    first, *rest = row.cells
    is_title = row.is_group and not rest and len(content.columns) > 1
    scope = f'scope="rowgroup" colspan="{len(content.columns)}"' if is_title else 'scope="row"'
    depth = f"left d{min(row.level, _DEEPEST)}" if content.kind == "grid" or row.level > 1 else "left"
    cells = f"<th {scope}{_class(depth)}{_title(first.title)}>{_cell(first)}</th>"
    for column, cell in zip(content.columns[1:], [] if is_title else rest, strict=not is_title):
        kinds = " ".join(filter(None, ["" if column.is_number else "left", cell.kind]))
        order = "" if cell.order is None or content.kind != "grid" else f' data-order="{cell.order:.6g}"'
        cells += f"<td{_class(kinds)}{order}{_title(cell.title)}>{_cell(cell)}</td>"
    return f"<tr{kind}{level}>{cells}</tr>"


def _cell(cell: Cell) -> str:
    return f"{_chart(cell)}{inline(cell.text)}"


def inline(text: Text) -> str:
    """Running text: everything escaped, names isolated, whatever direction they are written in."""
    if isinstance(text, str):
        # Text between backquotes is code, in quantum_pulse's own sentences only.
        return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(visible(text)))
    if isinstance(text, Name):
        name = f"<bdi>{escape(visible(text.text))}</bdi>"
        return f'<a href="#{text.link}">{name}</a>' if text.link else name
    return "".join(inline(part) for part in text)


def lines(text: str) -> str:
    """Lines of text, aligned as they are; nothing for no text."""
    return f'<pre class="qp-lines">{escape(text)}</pre>' if text else ""
