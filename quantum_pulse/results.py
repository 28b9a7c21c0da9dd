"""Results of the analyses of a capture, which show themselves in notebooks and terminals."""

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
    """What a comparison can ask its captures. Each question reads the samples again."""

    def calls(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return calls, errors and time per run by category and operation, averaged over the runs of each side."""

    def nested(self) -> tuple[Sequence[Run], Sequence[Run]]:
        """Return, for each run of each side, the calls of each operation and what encloses them."""

    def requests(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return, for each side, the calls that nothing encloses, one row per operation."""


@dataclass(frozen=True, eq=False)
class Comparison(analysis.Comparison):
    """The result of `Capture.compare` and `History.check`, which shows itself.

    `groups`, `shifts`, `decomposition` and what else needs the samples again is computed when it is
    first used.

    Attributes
    ----------
    evidence : Evidence or None
        The captures; None if only the figures of past runs were compared.

    See Also
    --------
    Capture.compare : Compare captures.
    History.check : Compare a capture with earlier runs.

    Examples
    --------
    >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
    >>> found.verdict
    'regressed'
    >>> found.groups[["lead", "with", "reason"]].values.tolist()[1]
    ['Engine.ACK_DECODE', ('Engine.ENCODE',), 'same time']
    """

    evidence: Evidence | None = None

    @classmethod
    def of(cls, found: analysis.Comparison, evidence: Evidence | None = None) -> Self:
        """Return the same result with renderings."""
        return cls(**{field.name: getattr(found, field.name) for field in fields(found)}, evidence=evidence)

    @property
    def before(self) -> pd.DataFrame | None:
        """Calls, errors and time per run of the baseline, by category and operation.

        None if a capture was compared with a history.
        """
        return None if self.evidence is None else self._sides[0]

    @property
    def after(self) -> pd.DataFrame | None:
        """Calls, errors and time per run of the current side, by category and operation.

        None if a capture was compared with a history.
        """
        return None if self.evidence is None else self._sides[1]

    @cached_property
    def explanation(self) -> analysis.Explanation:
        """The causes of regressions, as an `analysis.Explanation`.

        If something regressed or is new, the samples of both sides are read again for it. If the calls
        are not known, as against a history, each operation explains itself.
        """
        wanted = self.evidence is not None and self._directed["verdict"].isin(["regressed", "added"]).any()
        return analysis.explain(self, *(self.evidence.nested() if wanted and self.evidence is not None else ([], [])))

    @property
    def shifts(self) -> pd.DataFrame:
        """Costs that moved from an operation to one inside it, which are not regressions.

        The columns are ``operation``, ``from``, ``gained_us`` and ``given_us`` (in microseconds per call
        of ``from``), and ``verdict``, as in `table`.
        """
        return self.explanation.shifts

    @property
    def batches(self) -> pd.DataFrame:
        """Operations whose calls became fewer and larger, which are not regressions.

        The columns are ``operation``, ``around``, ``baseline_calls``, ``current_calls``, ``baseline_us`` and
        ``current_us`` (number of calls and time per call of ``around``), and ``verdict``, as in `table`.
        """
        return self.explanation.batches

    @property
    def groups(self) -> pd.DataFrame:
        """What got slower, one row per cause, the largest change first.

        The columns are ``lead`` (the operation that explains the others), ``with`` (a tuple of those),
        ``change`` and ``quantile`` (of the lead, where it changed most), and ``reason`` ("nested", "same
        time", both, or "").
        """
        return self.explanation.groups

    @cached_property
    def improvement_groups(self) -> pd.DataFrame:
        """What got faster, one row per cause, with the columns of `groups`.

        An operation that only gave its time to the one around it is in no group. If something improved,
        the samples of both sides are read again for it.
        """
        wanted = self.evidence is not None and self._directed["verdict"].isin(["improved", "removed"]).any()
        sides = self.evidence.nested() if wanted and self.evidence is not None else ([], [])
        return analysis.explanation.improved_groups(
            analysis.Comparison(self.table, self.min_effect, self.alpha, self.baseline_runs, self.current_runs), *sides
        )

    @property
    def judged(self) -> pd.DataFrame:
        """The rows of `table`, with "moved" for regressions that are `shifts` and "batched" for `batches`."""
        regressed = self._directed["verdict"] == "regressed"
        if not regressed.any():
            return self.table
        words = self.table["verdict"]
        for excused, word in (
            (self.shifts, analysis.comparison.MOVED),
            (self.batches, analysis.comparison.BATCHED),
        ):
            words = words.where(~(regressed & self.table["operation"].isin(excused["operation"])), word)
        return self.table.assign(verdict=words)

    @property
    def decomposition(self) -> pd.DataFrame:
        """How much of the change of each category is due to calls, mix and durations, in microseconds per run.

        See `analysis.decompose` for the columns. Raises ValueError if the calls are not known, as
        against a history.
        """
        return analysis.decompose(*self._sides)

    def slowest_operations(self, n: int = 10, min_mean_us: float = 0.0) -> pd.DataFrame:
        """Return the operations with the longest mean duration on the current side.

        Parameters
        ----------
        n : int, default 10
            How many operations.
        min_mean_us : float, default 0.0
            Leave out operations with a smaller mean, in microseconds.

        Returns
        -------
        pandas.DataFrame
            One row per operation, the slowest first, index ``(category, operation)``: ``count``,
            ``mean_us``, ``baseline_mean_us``, ``change`` (a share), ``p99_us``, and ``verdict``, that of
            the worst quantile.

        Raises
        ------
        ValueError
            If the calls are not known, as against a history.

        Examples
        --------
        >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
        >>> found.slowest_operations(2).index.get_level_values("operation").tolist()
        ['Engine.FEED_PACKET', 'Engine.ORDER']
        """
        import pandas as pd

        before, after = self._sides
        chosen = after[after["mean_us"] >= min_mean_us].sort_values("mean_us", ascending=False).head(n)
        verdicts = (*analysis.comparison.VERDICTS, analysis.comparison.MOVED, analysis.comparison.BATCHED)
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
        """Report how requests and each operation changed, as text.

        Requests are the calls that nothing encloses: their mean, p50, p99 and share of errors come first.

        An improvement is only called so if the comparison shows it.

        Returns
        -------
        str
            One line per operation, those that took most time first.

        Raises
        ------
        ValueError
            If the calls are not known, as against a history.

        Examples
        --------
        >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
        >>> print(found.improvement_report())
        Operations, before and after
        <BLANKLINE>
        Engine.ORDER: 1.6 ms → 2.0 ms (+28 %; ▲ regressed)
        ...
        """
        from quantum_pulse.view import comparisons

        sides = self._sides
        requests = self.evidence.requests() if self.evidence is not None else (sides[0].head(0), sides[1].head(0))
        return visible(comparisons.improvements(self, *sides, *requests))

    @property
    def _directed(self) -> pd.DataFrame:
        return analysis.comparison.directed(self.table)

    @cached_property
    def _sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        if self.evidence is None:
            raise ValueError("only a comparison of captures has the calls: Capture.compare(baseline)")
        return self.evidence.calls()

    def to_markdown(self, *, everything: bool = False) -> str:
        """Return the verdict and what changed as Markdown, for a pull request.

        Parameters
        ----------
        everything : bool, default False
            Whether to show all rows, instead of folding those that did not change.

        Returns
        -------
        str
            Markdown, with HTML for the fold.

        Examples
        --------
        >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
        >>> print(found.to_markdown())
        ### ▲ Latency: slower
        <BLANKLINE>
        Of 17 operations: 15 regressed, 2 inconclusive. ...
        """
        from quantum_pulse.view import comparisons

        return comparisons.as_markdown(self, everything=everything)

    def to_text(self, *, everything: bool = False) -> str:
        """Return the verdict and what changed as text, for a terminal.

        Parameters
        ----------
        everything : bool, default False
            Whether to show all rows.

        Returns
        -------
        str
            Lines of text.

        Examples
        --------
        >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
        >>> print(found.to_text())
        Of 17 operations: 15 regressed, 2 inconclusive. ...
        """
        from quantum_pulse.view import comparisons

        return visible(comparisons.as_text(self, everything=everything))

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from quantum_pulse.view import comparisons

        return comparisons.as_html(self)


@dataclass(frozen=True, eq=False, repr=False)
class Correlations(analysis.Correlations):
    """The result of `Capture.correlate`, which shows itself.

    See Also
    --------
    Capture.correlate : Make one.

    Examples
    --------
    >>> found = qp.sample("slow_exchange").correlate("50ms")
    >>> print(found.summary)
    2 of 383 pairs of an operation and a metric are correlated ...
    """

    @property
    def summary(self) -> str:
        """A sentence on how much moves together, out of how much was tested."""
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
    """The result of `Capture.contrast`, which shows itself.

    See Also
    --------
    Capture.contrast : Make one.

    Examples
    --------
    >>> capture = qp.sample("slow_exchange")
    >>> found = capture.contrast(1.05, 1.85, chosen_by=capture.operations.Engine.SUBMIT)
    >>> print(found.summary)
    800 ms from 18:03:24.770 UTC, compared with the 1.1 s before and the 371 ms after: ...
    """

    @property
    def summary(self) -> str:
        """A sentence or two on what was compared, and how much of it differs."""
        from quantum_pulse.view import contrasts

        return contrasts.summary(self)

    def __repr__(self) -> str:
        from quantum_pulse.view import contrasts

        return visible(contrasts.as_text(self))

    def _repr_html_(self) -> str:
        from quantum_pulse.view import contrasts

        return contrasts.as_html(self)
