"""``quantum-pulse stats``: show the statistics of a capture."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from quantum_pulse.cli.common import (
    Misuse,
    add_captures,
    add_operations,
    add_selection,
    chosen_operations,
    floats,
    is_restricted,
    opened,
    positive,
    show,
)

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands


def add_command(commands: Commands) -> None:
    stats = commands.add_parser(
        "stats", help="show the statistics of a capture", description="Show the statistics of a capture."
    )
    add_captures(stats)
    stats.add_argument(
        "--by",
        metavar="WHAT",
        default="operation",
        help="rows by one or several of: operation category thread process task error capture, or an attribute "
        "(default: operation)",
    )
    add_operations(stats)
    add_selection(stats)
    stats.add_argument("--quantiles", metavar="Q", type=floats, help="quantiles to show, such as 0.5,0.9999")
    stats.add_argument(
        "--sort", metavar="COLUMN", help="sort by a column, such as p99_us, or by priority (default: by category)"
    )
    stats.add_argument("--top", metavar="N", type=positive, help="only the first N rows")
    stats.add_argument("--min-count", metavar="N", type=positive, default=0, help="only rows with at least N calls")
    stats.add_argument("--unit", choices=("auto", "us", "ms", "s"), default="auto", help="of times (default: auto)")
    stats.add_argument("--approximate", action="store_true", help="quantiles to 1 %%, without reading the samples")
    stats.set_defaults(command=_stats)


def _stats(options: argparse.Namespace) -> int:
    capture = opened(options)
    operations = chosen_operations(capture, options)
    try:
        stats = capture.stats(
            options.by.split(","),
            quantiles=options.quantiles,
            operations=operations,
            approximate=options.approximate,
            min_count=options.min_count,
            sort=options.sort,
            top=options.top,
        )
    except ValueError as error:
        raise Misuse(f"stats: {error}") from error
    keep_order = options.sort is not None or options.top is not None
    is_whole = operations is None and not is_restricted(options)
    show(capture, stats, options.unit, keep_order=keep_order, is_whole=is_whole)
    return 0
