"""What analyses of captures return: the results of `analysis` with the renderings of `view`, for a notebook to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self

from quantum_pulse import analysis
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis.explanation import Run


class Evidence(Protocol):
    """What the captures behind a comparison can be asked, each time by reading their samples again."""

    def calls(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Calls, errors and time of a run by category and operation, on average over each side's runs."""

    def nested(self) -> tuple[Sequence[Run], Sequence[Run]]:
        """For each run of each side the calls of each operation, and what encloses them."""


@dataclass(frozen=True, eq=False)
class Comparison(analysis.Comparison):
    """An `analysis.Comparison` that shows itself."""

    #: The captures; None where only figures of past runs were compared.
    evidence: Evidence | None = None

    @classmethod
    def of(cls, found: analysis.Comparison, evidence: Evidence | None = None) -> Self:
        """The same result, with renderings."""
        return cls(**{field.name: getattr(found, field.name) for field in fields(found)}, evidence=evidence)

    @property
    def before(self) -> pd.DataFrame | None:
        """Calls, errors and time of a run of the baseline by category and operation; None against a history."""
        return None if self.evidence is None else self._sides[0]

    @property
    def after(self) -> pd.DataFrame | None:
        """The same of what was judged."""
        return None if self.evidence is None else self._sides[1]

    @cached_property
    def explanation(self) -> analysis.Explanation:
        """Why operations regressed; see `analysis.Explanation`. Where the calls are not known, each explains itself.

        Where something regressed or is new, the samples of both sides are read once more for it.
        """
        wanted = self.evidence is not None and self.table["verdict"].isin(["regressed", "added"]).any()
        return analysis.explain(self, *(self.evidence.nested() if wanted and self.evidence is not None else ([], [])))

    @property
    def shifts(self) -> pd.DataFrame:
        """Costs that have moved from an operation to one inside of it, which is no regression.

        Columns: operation, from, gained_us and given_us (in a call of `from`), verdict (in `table`).
        """
        return self.explanation.shifts

    @property
    def groups(self) -> pd.DataFrame:
        """What got slower, a row per cause, the largest change first.

        Columns: lead (the operation that explains the others), with (a tuple of those), change and quantile (of the
        lead, where it is largest), reason ("nested", "same time").
        """
        return self.explanation.groups

    @cached_property
    def improvement_groups(self) -> pd.DataFrame:
        """What got faster, as `groups` has what got slower; an operation that merely gave its time to the one around
        it is in none. Where something improved, the samples of both sides are read once more for it."""
        wanted = self.evidence is not None and self.table["verdict"].isin(["improved", "removed"]).any()
        sides = self.evidence.nested() if wanted and self.evidence is not None else ([], [])
        return analysis.explanation.improved_groups(
            analysis.Comparison(self.table, self.min_effect, self.alpha, self.baseline_runs, self.current_runs), *sides
        )

    @property
    def judged(self) -> pd.DataFrame:
        """`table`, with the verdict "moved" for regressions that are `shifts`."""
        regressed = self.table["verdict"] == "regressed"
        if not regressed.any():
            return self.table
        moved = regressed & self.table["operation"].isin(self.shifts["operation"])
        return self.table.assign(verdict=self.table["verdict"].where(~moved, analysis.comparison.MOVED))

    @property
    def decomposition(self) -> pd.DataFrame:
        """How much of each category's change is due to calls, to the mix of operations, to durations; in µs of a run.

        See `analysis.decompose`. Raises ValueError where the calls are not known, as against a history.
        """
        return analysis.decompose(*self._sides)

    def slowest_operations(self, n: int = 10, min_mean_us: float = 0.0) -> pd.DataFrame:
        """The `n` operations that take longest a call now, of those with a mean of at least `min_mean_us`.

        Index: category, operation. Columns: count, mean_us, baseline_mean_us, change (a share), p99_us, verdict (of the
        worst quantile). Raises ValueError where the calls are not known.
        """
        import pandas as pd

        before, after = self._sides
        chosen = after[after["mean_us"] >= min_mean_us].sort_values("mean_us", ascending=False).head(n)
        verdicts = (*analysis.comparison.VERDICTS, analysis.comparison.MOVED)
        order = {verdict: place for place, verdict in enumerate(verdicts)}
        worst = {
            str(name): min(rows["verdict"], key=lambda verdict: order[verdict])
            for name, rows in self.judged.groupby("operation", sort=False)
        }
        last = self.table.loc[self.table["quantile"] == 0.99].set_index("operation")["current_us"]
        names = chosen.index.get_level_values("operation")
        usual = before["mean_us"].reindex(chosen.index)
        return pd.DataFrame(
            {
                "count": chosen["count"],
                "mean_us": chosen["mean_us"],
                "baseline_mean_us": usual,
                "change": chosen["mean_us"] / usual - 1,
                "p99_us": last.reindex(names).to_numpy(),
                "verdict": [worst.get(str(name), "too_few") for name in names],
            },
            index=chosen.index,
        )

    def improvement_report(self) -> str:
        """What became of each operation's mean, what took most time first, then of all time and of errors, as text.

        An improvement is only called so where the comparison shows it. Raises ValueError where the calls are not known.
        """
        from quantum_pulse.view import comparisons

        return visible(comparisons.improvements(self, *self._sides))

    @cached_property
    def _sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        if self.evidence is None:
            raise ValueError("only a comparison of captures has the calls: Capture.compare(baseline)")
        return self.evidence.calls()

    def to_markdown(self, *, everything: bool = False) -> str:
        """For a pull request: the verdict, what changed, and the rest behind a fold (or all of it)."""
        from quantum_pulse.view import comparisons

        return comparisons.as_markdown(self, everything=everything)

    def to_text(self, *, everything: bool = False) -> str:
        """For a terminal: the verdict and what changed, or all rows."""
        from quantum_pulse.view import comparisons

        return visible(comparisons.as_text(self, everything=everything))

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from quantum_pulse.view import comparisons

        return comparisons.as_html(self)


@dataclass(frozen=True, eq=False, repr=False)
class Correlations(analysis.Correlations):
    """An `analysis.Correlations` that shows itself."""

    @property
    def summary(self) -> str:
        """A sentence: how much moves together, of how much that was tested."""
        from quantum_pulse.view import correlations

        return correlations.summary(self)

    def __repr__(self) -> str:
        from quantum_pulse.view import correlations

        return visible(correlations.as_text(self))

    def _repr_html_(self) -> str:
        from quantum_pulse.view import correlations

        return correlations.as_html(self)


@dataclass(frozen=True, eq=False, repr=False)
class Contrast(analysis.Contrast):
    """An `analysis.Contrast` that shows itself."""

    @property
    def summary(self) -> str:
        """A sentence or two: what was compared, and how much of it differs."""
        from quantum_pulse.view import contrasts

        return contrasts.summary(self)

    def __repr__(self) -> str:
        from quantum_pulse.view import contrasts

        return visible(contrasts.as_text(self))

    def _repr_html_(self) -> str:
        from quantum_pulse.view import contrasts

        return contrasts.as_html(self)
