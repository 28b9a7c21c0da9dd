"""Render tables as self-contained HTML: no script, no request, every text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Final

from quantum_pulse.operations import Category
from quantum_pulse.view import table

if TYPE_CHECKING:
    import pandas as pd

# Colours come from the text colour around the table, so that it fits a light page as well as a dark one.
STYLE: Final = """<style>
.qp-table{border-collapse:collapse;font-variant-numeric:tabular-nums;color:inherit;background:transparent}
.qp-table caption{text-align:left;font-weight:600;padding:.3em 0;color:inherit}
.qp-table th,.qp-table td{padding:.2em .7em;text-align:right;white-space:nowrap;color:inherit;background:transparent}
.qp-table thead th{border-bottom:1px solid currentColor}
.qp-table th[scope=row],.qp-table th[scope=rowgroup],.qp-table thead th:first-child{text-align:left}
.qp-table th[scope=row]{font-weight:400;padding-left:1.6em}
.qp-table th[scope=rowgroup]{padding-top:.6em}
.qp-table tbody tr:hover{background:rgba(128,128,128,.15)}
</style>"""


def stats_table(
    stats: pd.DataFrame,
    categories: Mapping[str, Category] | None = None,
    caption: str | None = None,
    *,
    unit: str = "auto",
    keep_order: bool = False,
    priorities: Mapping[str, int] | None = None,
) -> str:
    """The statistics by category and operation as an HTML table with its style; order and `unit` as in `text`."""
    is_grouped = table.is_grouped(stats, keep_order=keep_order)
    head = [table.row_heading(stats), *table.headings(stats).values()]
    columns = len(head)
    parts = [STYLE, '<table class="qp-table">']
    if caption is not None:
        parts.append(f"<caption>{escape(caption)}</caption>")
    parts.append("<thead><tr>" + "".join(f'<th scope="col">{escape(name)}</th>' for name in head) + "</tr></thead>")
    for group in table.groups(stats, categories, unit, keep_order=keep_order, priorities=priorities):
        parts.append("<tbody>")
        if is_grouped:
            title = f' title="{escape(group.category.description)}"' if group.category.description else ""
            name = escape(group.category.name)
            parts.append(f'<tr><th scope="rowgroup" colspan="{columns}"{title}>{name}</th></tr>')
        for name, cells in group.rows:
            values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            parts.append(f'<tr><th scope="row">{escape(name)}</th>{values}</tr>')
        parts.append("</tbody>")
    if stats.empty:
        parts.append(f'<tbody><tr><td colspan="{columns}">no samples</td></tr></tbody>')
    parts.append("</table>")
    return "\n".join(parts)


def lines(text: str) -> str:
    """Lines of text, aligned as they are; nothing for no text."""
    return f'<pre class="qp-lines">{escape(text)}</pre>' if text else ""
