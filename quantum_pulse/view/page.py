"""Write a document as one self-contained HTML file: style, script and charts are embedded."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib import resources

from quantum_pulse._version import __version__
from quantum_pulse.shown import visible
from quantum_pulse.view import icicle
from quantum_pulse.view.document import (
    Beside,
    Block,
    Cell,
    Document,
    Entries,
    Fold,
    Icicle,
    Name,
    Paragraph,
    Picture,
    Row,
    Section,
    Table,
    Text,
    plain,
)


@cache
def asset(name: str) -> str:
    """Text of a file in `assets`."""
    return resources.files("quantum_pulse.view").joinpath("assets", name).read_text(encoding="utf-8")


def write(document: Document) -> str:
    """The page. Its content security policy allows its own style and script, by their hashes, and nothing else."""
    style = _style()
    script = f'(() => {{\n"use strict";\n{asset("grid.js")}\n{asset("report.js")}}})();\n{asset("icicle.js")}'
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<li><a href="#{one.anchor}">{escape(one.title)}</a></li>' for one in document.sections)
    body = "".join(section(one) for one in document.sections)
    title = escape(plain(document.title))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="quantum_pulse {__version__}">
<title>{title} - quantum_pulse</title>
<style>{style}</style>
</head>
<body class="qp">
<a class="skip" href="#operations">Skip to operations</a>
<header><p class="maker">quantum_pulse report</p><h1>{inline(document.title)}</h1>
<p class="subtitle">{inline(document.subtitle)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav></header>
<main>{body}</main>
<footer><p>Written by quantum_pulse {__version__}. This file is self-contained: it loads nothing.</p></footer>
<script>{script}</script>
</body>
</html>
"""


def _style() -> str:
    return asset("report.css") + asset("icicle.css")


def fragment(content: Sequence[Block]) -> str:
    """Blocks to embed in another page, with their style; without scripts and links."""
    return f'<div class="qp fragment"><style>{_style()}</style>{blocks(content)}</div>'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
    """One block as HTML."""
    match content:
        case Paragraph(text, kind):
            which = f' class="{kind}"' if kind else ""
            return f"<p{which}>{inline(text)}</p>"
        case Picture(svg, label, caption):
            under = f"<figcaption>{inline(caption)}</figcaption>" if caption else ""
            # What is wider than the page scrolls by itself; it takes the focus, so that keys can scroll it.
            return (
                f'<figure><div class="scroll" role="img" tabindex="0" aria-label="{escape(label)}">{svg}</div>{under}'
                "</figure>"
            )
        case Icicle(whole, label, is_differential):
            return icicle.html(whole, label, is_differential=is_differential)
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


def _term(term: str, text: Text) -> str:
    return f"<dt>{escape(term)}</dt><dd>{inline(text)}</dd>"


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
    heads = "".join(
        f'<th scope="col"{"" if column.is_number else _LEFT}{_title(column.title)}>'
        + (
            f"<span>{escape(column.name)}</span>{column.picture}"
            if column.name
            else '<span class="hidden">value</span>'
        )
        + "</th>"
        for column in content.columns
    )
    rows = "".join(_row(content, row) for row in content.rows)
    head = "" if content.kind == "facts" else f"<thead><tr>{heads}</tr></thead>"
    which = f' data-kind="{content.kind}"' if content.kind else ""
    caption = f"<caption>{inline(content.caption)}</caption>"
    label = escape(plain(content.caption))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table{which}>{caption}{head}'
        f"<tbody>{rows}</tbody></table></div>"
    )


_LEFT = ' class="left"'


def _title(text: str) -> str:
    return f' title="{escape(text)}"' if text else ""


def _row(content: Table, row: Row) -> str:
    which = ' class="group"' if row.is_group else ""
    level = f' data-level="{row.level}"' if content.kind == "grid" else ""
    depth = f" d{min(row.level, 12)}" if content.kind == "grid" else ""
    first, *rest = row.cells
    cells = f'<th scope="row" class="left{depth}">{_cell(first)}</th>'
    for column, cell in zip(content.columns[1:], rest, strict=True):
        kinds = " ".join(filter(None, ["" if column.is_number else "left", cell.kind]))
        kind = f' class="{kinds}"' if kinds else ""
        order = "" if cell.order is None or content.kind != "grid" else f' data-order="{cell.order:.6g}"'
        cells += f"<td{kind}{order}>{_cell(cell)}</td>"
    return f"<tr{which}{level}>{cells}</tr>"


def _cell(cell: Cell) -> str:
    return f"{cell.picture}{inline(cell.text)}"


def inline(text: Text) -> str:
    """Running text as HTML: everything escaped, names isolated, whatever direction they are written in."""
    if isinstance(text, str):
        # Text between backquotes is code, in quantum_pulse's own sentences only.
        return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(visible(text)))
    if isinstance(text, Name):
        name = f"<bdi>{escape(visible(text.text))}</bdi>"
        return f'<a href="#{text.link}">{name}</a>' if text.link else name
    return "".join(inline(part) for part in text)
