"""The result of a comparison: verdicts, what explains them, and what a build should fail on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from quantum_pulse import shown
from quantum_pulse.analysis.decomposition import decompose

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis.explanation import Explanation, Run

COLUMNS: Final = (
    "operation",
    "quantile",
    "baseline_us",
    "current_us",
    "change",
    "ci_low",
    "ci_high",
    "q_value",
    "verdict",
)

#: Columns of `Comparison.warmup`, and their types.
WARMUP: Final = {
    "side": "object",
    "run": "int64",
    "operation": "object",
    "set_aside": "int64",
    "samples": "int64",
    "change": "float64",
}

#: The worst first: the verdict on the whole is the first of these that some row has.
VERDICTS: Final = ("regressed", "improved", "differs", "inconclusive", "too_few", "equivalent", "added", "removed")
#: Of a regression: the operation took over time of the one around it, and together they are not slower.
MOVED: Final = "moved"
#: Of a regression: its calls are fewer and larger than before, and what calls them spends less time in them.
BATCHED: Final = "batched"
#: Different in these two runs: how much runs of the same program differ is unknown, so it may be the runs.
DIFFERS: Final = "differs"
#: Runs per side that make false alarms rare without a history.
ENOUGH_RUNS: Final = 5

#: What `Comparison.failures` may name: verdicts, budgets that the current side misses, and its open calls.
FAIL_ON: Final = ("regressed", "improved", "differs", "inconclusive", "removed", "budget", "killed", "unfinished")
#: What fails a build unless it says otherwise.
USUAL_FAIL_ON: Final = ("regressed", "budget", "killed")
#: States of a call whose process or recording ended before it did; one that is "running" may still end.
ENDED_STATES: Final = ("killed", "stopped")

SIDES: Final = ("baseline", "current")


def directed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with "regressed" or "improved" in place of "differs": what that is to be explained as."""
    differs = table["verdict"] == DIFFERS
    if not differs.any():
        return table
    words = (table["change"] > 0).map({True: "regressed", False: "improved"})
    return table.assign(verdict=table["verdict"].where(~differs, words))


def warmup_frame(rows: Sequence[tuple[str, int, str, int, int, float]] = ()) -> pd.DataFrame:
    """Rows of `Comparison.warmup`."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(WARMUP)).astype(WARMUP)


class OpenCalls(NamedTuple):
    """Unfinished calls of an operation in one place.

    Attributes
    ----------
    operation : str
        Name of the operation.
    state : str
        "killed", "stopped" or "running", as in `Capture.unfinished`.
    elapsed_ns : float
        How long the first of them has taken, in nanoseconds; NaN if it had only just started.
    calls : int
        How many calls they are.

    Examples
    --------
    >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
    >>> [call.operation for call in found.unfinished.calls]
    []
    """

    operation: str
    state: str
    elapsed_ns: float
    calls: int = 1


@dataclass(frozen=True)
class StillOpen:
    """Unfinished calls of the current side of a comparison.

    They have no samples, so the table leaves them out.

    Attributes
    ----------
    calls : tuple of OpenCalls
        The calls, the longest first. Of a process that is still recorded, only calls that take
        longer than any call that has ended.
    still_recorded : bool
        Whether some process is still being recorded, so that the run is incomplete.
    processes : int
        How many processes were recorded.

    Examples
    --------
    >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
    >>> found.unfinished.still_recorded
    False
    """

    calls: tuple[OpenCalls, ...] = ()
    still_recorded: bool = False
    processes: int = 1

    def of_state(self, *states: str) -> list[OpenCalls]:
        """Select the calls in certain states.

        Parameters
        ----------
        *states : str
            The states: "killed", "stopped" or "running".

        Returns
        -------
        list of OpenCalls
            The calls, the longest first.

        Examples
        --------
        >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
        >>> found.unfinished.of_state("killed", "stopped")
        []
        """
        return [call for call in self.calls if call.state in states]


class Evidence(Protocol):
    """What a comparison can ask its captures. Each question reads the samples again."""

    def calls(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return calls, errors and time per run by category and operation, averaged over the runs of each side."""

    def nested(self) -> tuple[Sequence[Run], Sequence[Run]]:
        """Return, for each run of each side, the calls of each operation and what encloses them."""

    def requests(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return, for each side, the calls that nothing encloses, one row per operation."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare_samples`, `Capture.compare` and `History.check`, which shows itself.

    `groups`, `shifts`, `decomposition` and what else needs the samples again is computed when it is
    first used.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per operation and quantile, sorted by operation. The columns are ``operation``,
        ``quantile``, ``baseline_us``, ``current_us``, ``change`` (current over baseline, minus 1),
        ``ci_low`` and ``ci_high`` (of the change, corrected like the verdict), ``q_value``
        and ``verdict``.
    min_effect : float
        The smallest relative change that matters.
    alpha : float
        The false discovery rate that is accepted.
    baseline_runs, current_runs : int
        How many runs each side has.
    differences : tuple of str
        What differs between the environments of the two sides.
    warmup : pandas.DataFrame
        What was set aside because it was still settling, one row per side ("baseline" or
        "current"), run (counted from 0) and operation: ``set_aside``, ``samples``, and ``change``,
        the median of what was set aside over that of the rest, minus 1.
    budgets : pandas.DataFrame or None
        `Capture.budgets` of the current side; None if they were not requested.
    unfinished : StillOpen
        Unfinished calls of the current side, of all operations.
    evidence : Evidence or None
        The captures; None if only samples, or the figures of past runs, were compared.
    history_runs : int
        How many earlier runs say how much runs vary; 0 without a history.
    same_recording : bool
        Whether both sides are the same recordings, so that there is nothing to compare.

    See Also
    --------
    Capture.compare : Compare captures.
    History.check : Compare a capture with earlier runs.

    Examples
    --------
    >>> import numpy as np
    >>> from quantum_pulse import analysis
    >>> rng = np.random.default_rng(1)
    >>> before, after = ({"Shop.PARSE": rng.lognormal(10, 0.3, 2000)} for _ in range(2))
    >>> found = analysis.compare_samples(before, after, min_effect=0.2)
    >>> found.verdict, found.failures()
    ('equivalent', [])
    >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
    >>> found.groups[["lead", "with", "reason"]].values.tolist()[1]
    ['Engine.ACK_DECODE', ('Engine.ENCODE',), 'same time']
    """

    table: pd.DataFrame
    min_effect: float
    alpha: float
    baseline_runs: int
    current_runs: int
    differences: tuple[str, ...] = ()
    warmup: pd.DataFrame = field(default_factory=warmup_frame)
    budgets: pd.DataFrame | None = None
    unfinished: StillOpen = StillOpen()
    evidence: Evidence | None = None
    history_runs: int = 0
    same_recording: bool = False

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
    def explanation(self) -> Explanation:
        """The causes of regressions, as an `analysis.Explanation`.

        If something regressed or is new, the samples of both sides are read again for it. If the calls
        are not known, as against a history, each operation explains itself.
        """
        from quantum_pulse.analysis import explanation

        wanted = self.evidence is not None and directed(self.table)["verdict"].isin(["regressed", "added"]).any()
        return explanation.explain(
            self, *(self.evidence.nested() if wanted and self.evidence is not None else ([], []))
        )

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
        from quantum_pulse.analysis import explanation

        wanted = self.evidence is not None and directed(self.table)["verdict"].isin(["improved", "removed"]).any()
        sides = self.evidence.nested() if wanted and self.evidence is not None else ([], [])
        return explanation.improved_groups(self, *sides)

    @property
    def judged(self) -> pd.DataFrame:
        """The rows of `table`, with "moved" for regressions that are `shifts` and "batched" for `batches`."""
        regressed = directed(self.table)["verdict"] == "regressed"
        # Only captures tell where a cost has moved.
        if self.evidence is None or not regressed.any():
            return self.table
        words = self.table["verdict"]
        for excused, word in ((self.shifts, MOVED), (self.batches, BATCHED)):
            words = words.where(~(regressed & self.table["operation"].isin(excused["operation"])), word)
        return self.table.assign(verdict=words)

    @property
    def decomposition(self) -> pd.DataFrame:
        """How much of the change of each category is due to calls, mix and durations, in microseconds per run.

        See `analysis.decompose` for the columns. Raises ValueError if the calls are not known, as
        against a history.
        """
        return decompose(*self._sides)

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
        verdicts = (*VERDICTS, MOVED, BATCHED)
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
        Requests, before and after
        <BLANKLINE>
        ...
        Engine.ORDER: 1.6 ms → 2.0 ms (+28 %; ≠ differs)
        ...
        """
        from quantum_pulse.view import comparisons

        sides = self._sides
        requests = self.evidence.requests() if self.evidence is not None else (sides[0].head(0), sides[1].head(0))
        return shown.visible(comparisons.improvements(self, *sides, *requests))

    @cached_property
    def _sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        if self.evidence is None:
            raise ValueError("only a comparison of captures has the calls: Capture.compare(baseline)")
        return self.evidence.calls()

    @property
    def regressions(self) -> pd.DataFrame:
        """The rows of `table` that got slower, the largest change first."""
        return self._having("regressed", ascending=False)

    @property
    def improvements(self) -> pd.DataFrame:
        """The rows of `table` that got faster, the largest change first."""
        return self._having("improved", ascending=True)

    @property
    def verdict(self) -> str:
        """The verdict on the whole, as one word.

        It is the first of "regressed", "improved", "differs", "inconclusive", "too_few", "equivalent",
        "added" and "removed" that some row has, and "too_few" for an empty table. Of a recording and
        itself, it is "same_recording".
        """
        if self.same_recording:
            return "same_recording"
        present = set(self.judged["verdict"])
        return next((verdict for verdict in VERDICTS if verdict in present), "too_few")

    def failures(self, fail_on: Sequence[str] = USUAL_FAIL_ON) -> list[str]:
        """List the reasons for which a build should fail.

        Parameters
        ----------
        fail_on : sequence of str, default ("regressed", "budget", "killed")
            What counts as a failure:

            - "regressed", "improved", "differs", "inconclusive" and "removed": operations with this
              verdict;
            - "budget": budgets that the current side is shown to miss, if `budgets` are known;
            - "killed": calls that were open when a process of the current side was killed;
            - "unfinished": these, and calls that were open when its recording stopped. A thread that
              waits for work has one.

        Returns
        -------
        list of str
            One line per reason, such as "regressed: Shop.PARSE"; empty if the build may pass.

        Raises
        ------
        ValueError
            If `fail_on` has another word.

        Examples
        --------
        >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
        >>> found.failures()
        []
        >>> found.failures(["differs"])
        ['differs: Engine.ACK_DECODE', 'differs: Engine.ENCODE', ...]
        """
        for word in fail_on:
            if word not in FAIL_ON:
                raise ValueError(f"fail_on must contain only {', '.join(map(repr, FAIL_ON))}, not {word!r}")
        judged = self.judged
        found = [
            f"{word}: {name}"
            for word in fail_on
            for name in dict.fromkeys(map(str, judged.loc[judged["verdict"] == word, "operation"]))
        ]
        if "budget" in fail_on and self.budgets is not None:
            found += [f"missed budget: {name}" for name in self.budgets.index[self.budgets["verdict"] == "missed"]]
        for word, states in (("killed", ("killed",)), ("unfinished", ENDED_STATES)):
            if word in fail_on:
                names = (call.operation for call in self.unfinished.of_state(*states))
                found += [f"{word}: {name}" for name in dict.fromkeys(names)]
        return found

    @property
    def between_runs(self) -> bool:
        """Whether variation from run to run is accounted for, by several runs of a side or by a history."""
        return max(self.baseline_runs, self.current_runs) > 1 or self.history_runs > 0

    @property
    def summary(self) -> str:
        """The verdict in a sentence or two, with its limits."""
        return self.summarised(shown.visible)

    def summarised(self, quoted: Callable[[str], str]) -> str:
        """Return the summary, with names from outside made safe to show by `quoted`."""
        if self.same_recording:
            return "Both sides are the same recording, so there is nothing to compare."
        operations = self.judged.groupby("operation", sort=False)["verdict"].agg(set)
        order = (*VERDICTS, MOVED, BATCHED)
        # Each operation counts once, for what matters most of it.
        worst = [next(verdict for verdict in order if verdict in found) for found in operations]
        counts = [f"{worst.count(verdict)} {verdict.replace('_', ' ')}" for verdict in order if verdict in worst]
        text = f"Of {len(operations)} operations: {', '.join(counts)}." if counts else "Nothing to compare."
        if set(self.table["verdict"]) <= {"added", "removed"}:
            text += " No operation has calls on both sides, so nothing was compared."
        if not self.between_runs:
            text += (
                " There is one run per side, so variation between runs is unknown and may explain the differences: "
                f"record {ENOUGH_RUNS} runs per side, each at another time, or keep a history."
            )
        if len(self.warmup):
            text += (
                f" Excluded as warm-up: the first {int(self.warmup['set_aside'].sum()):,} of "
                f"{int(self.warmup['samples'].sum()):,} samples of {self._named(self.warmup['operation'], quoted)}."
            )
        if self.differences:
            text += f" The recording conditions differ: {'; '.join(map(quoted, self.differences))}."
        return text

    @staticmethod
    def _named(operations: pd.Series[Any], quoted: Callable[[str], str]) -> str:
        """Up to three of the operations by name."""
        names = list(dict.fromkeys(map(str, operations)))
        return ", ".join(map(quoted, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    def _having(self, verdict: str, *, ascending: bool) -> pd.DataFrame:
        judged = self.judged
        rows = judged[judged["verdict"] == verdict]
        return rows.sort_values("change", ascending=ascending, kind="stable")

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
        ### ≠ Latency: differs in these two runs
        <BLANKLINE>
        Of 17 operations: 15 differs, 2 inconclusive. ...
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
        Of 17 operations: 15 differs, 2 inconclusive. ...
        """
        from quantum_pulse.view import comparisons

        return shown.visible(comparisons.as_text(self, everything=everything))

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        from quantum_pulse.view import comparisons

        return comparisons.as_html(self)
