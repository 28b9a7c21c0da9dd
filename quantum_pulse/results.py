"""What analyses of captures return: the results of `analysis` with the renderings of `view`, for a notebook to show."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from quantum_pulse import analysis
from quantum_pulse.analysis import recommendations

if TYPE_CHECKING:
    import pandas as pd


class Comparison(analysis.Comparison):
    """An `analysis.Comparison` that shows itself."""

    @classmethod
    def of(cls, found: analysis.Comparison) -> Self:
        """The same result, with renderings."""
        return cls(**{field.name: getattr(found, field.name) for field in fields(found)})

    def to_markdown(self, *, everything: bool = False) -> str:
        """For a pull request: the verdict, what changed, and the rest behind a fold (or all of it)."""
        from quantum_pulse.view import comparisons

        return comparisons.as_markdown(self, everything=everything)

    def to_text(self, *, everything: bool = False) -> str:
        """For a terminal: the verdict and what changed, or all rows."""
        from quantum_pulse.view import comparisons

        return comparisons.as_text(self, everything=everything)

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from quantum_pulse.view import comparisons

        return comparisons.as_html(self)


@dataclass(frozen=True, eq=False)
class Correlations:
    """Which metrics move with the latency of which operations."""

    #: A row per operation and metric, the surest first: operation, and the columns of `analysis.correlate`.
    table: pd.DataFrame
    #: What could be done, the best founded first.
    recommendations: list[recommendations.Recommendation]
    #: Length of the windows that latency and metrics were compared in, in seconds.
    window_s: float
    #: Share of false findings accepted.
    alpha: float

    @property
    def found(self) -> pd.DataFrame:
        """Rows of `table` with a q-value of at most `alpha`."""
        return self.table[self.table["q_value"] <= self.alpha]

    def _summary(self) -> str:
        tested = int(self.table["p_value"].notna().sum())
        if not tested:
            return "Too little to compare: no operation and metric have 20 windows in common; record for longer."
        return (
            f"{len(self.found)} of {tested} pairs of an operation and a metric move together "
            f"(windows of {self.window_s:g} s, at most {self.alpha:.0%} false)."
        )

    def __repr__(self) -> str:
        rows = self.found.head(20).to_string(index=False, float_format=lambda value: f"{value:.3g}")
        advice = "\n".join(f"- {one}" for one in self.recommendations)
        return "\n".join([self._summary(), *([rows] if len(self.found) else []), advice]).rstrip()

    def _repr_html_(self) -> str:
        from html import escape

        table: Any = self.found.head(20)
        rows = table.to_html(index=False, float_format=lambda value: f"{value:.3g}", border=0) if len(table) else ""
        advice = "".join(f"<li>{escape(str(one))}</li>" for one in self.recommendations)
        return f"<div><strong>{escape(self._summary())}</strong></div>{rows}<ul>{advice}</ul>"
