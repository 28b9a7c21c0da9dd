"""Draw charts with matplotlib, without pyplot, which would change the figures of the program. Imported on demand."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from quantum_pulse.operations import Category
from quantum_pulse.view import numbers, statistics
from quantum_pulse.view.chart import Durations

if TYPE_CHECKING:
    import pandas as pd

#: For categories without a colour: distinguishable also by those who see few colours (after Okabe and Ito, 2008).
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#8f6bb0", "#a8730b", "#4f5d75", "#c2568f")
FAINT: Final = "#8a929a"

ROW_INCHES: Final = 0.27


class Chart(Figure):
    """A matplotlib figure that a notebook shows by itself, without pyplot.

    See Also
    --------
    Capture.plot : Draw one.

    Examples
    --------
    >>> chart = qp.sample("engine").plot()
    >>> chart.savefig("latency.png")
    """

    def _repr_png_(self) -> bytes:
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=110)
        return picture.getvalue()


def latency(
    stats: pd.DataFrame,
    categories: Mapping[str, Category] | None = None,
    budgets: pd.DataFrame | None = None,
    priorities: Mapping[str, int] | None = None,
) -> Chart:
    """A row an operation: a thin line from min to max, a thick one from p50 to p99, a dot at p50, a bar at the budget.

    `stats` is that of `Capture.stats()`, in µs; `budgets` that of `Capture.budgets()`.
    """
    limits = {} if budgets is None else budgets["budget_us"].to_dict()
    groups = statistics.groups(stats, categories, priorities=priorities)
    rows = sum(len(group.rows) + 1 for group in groups)
    figure = Chart(figsize=(9.5, max(rows, 3) * ROW_INCHES + 1.1), layout=ConstrainedLayoutEngine(w_pad=0.12))
    axes = figure.subplots()
    place, names, places = 0, [], []
    for number, group in enumerate(groups):
        colour = group.category.colour or COLOURS[number % len(COLOURS)]
        place -= 1
        axes.text(-0.005, place, _escaped(group.category.name), transform=axes.get_yaxis_transform(), ha="right",
                  va="center", color=colour, fontweight="bold", fontsize=9)  # fmt: skip
        for name, values in group.rows:
            place -= 1
            durations = Durations.of(values, limits.get(name))
            # A log scale has no place for a block of 0 ns.
            low, p50, p99, high = (
                max(ns / 1000, 1e-3) for ns in (durations.low, durations.p50, durations.p99, durations.high)
            )
            axes.plot([low, high], [place, place], color=colour, linewidth=1, alpha=0.45, solid_capstyle="butt")
            axes.plot([p50, p99], [place, place], color=colour, linewidth=5, solid_capstyle="butt")
            axes.plot(p50, place, "o", color="white", markeredgecolor=colour, markersize=6, markeredgewidth=1.6)
            if durations.budget is not None:
                axes.plot(durations.budget / 1000, place, "|", color="black", markersize=12, markeredgewidth=1.6)
            for where, key in ((1.1, "count"), (1.19, "p50_us"), (1.28, "p99_us")):
                shown = statistics.value(key, values[key])
                axes.text(where, place, shown, transform=axes.get_yaxis_transform(), ha="right", va="center",
                          fontsize=8)  # fmt: skip
            names.append(_escaped(name))
            places.append(place)
    for where, heading in ((1.1, "calls"), (1.19, "p50"), (1.28, "p99")):
        axes.text(where, 0.1, heading, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8,
                  color=FAINT)  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(place - 0.7, 0.6)
    axes.set_yticks(places, names, fontsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.duration(value * 1000).replace(".0 ", " ")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=8, color=FAINT)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e4e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    handles = [
        Line2D([], [], marker="o", color="none", markerfacecolor="white", markeredgecolor=FAINT, label="p50"),
        Line2D([], [], color=FAINT, linewidth=5, label="p50 to p99"),
        Line2D([], [], color=FAINT, linewidth=1, label="min to max"),
    ]
    if limits:
        handles.append(Line2D([], [], marker="|", color="none", markeredgecolor="black", markersize=10, label="budget"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=8)
    return figure


def _escaped(text: str) -> str:
    # matplotlib takes what is between two dollar signs for mathematics.
    return text.replace("$", r"\$")
