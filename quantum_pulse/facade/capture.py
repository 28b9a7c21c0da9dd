"""`Capture`: what a capture can be asked. Each method is documented here and implemented elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

from quantum_pulse import arguments
from quantum_pulse.facade import opening
from quantum_pulse.operations import Category, Operation
from quantum_pulse.reading import reader, selection
from quantum_pulse.reading.selection import Moment, Operations, Recorded, Where
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd

    from quantum_pulse.analysis import Causes, Comparison, Contrast, Correlations
    from quantum_pulse.explorer.widget import Explorer
    from quantum_pulse.export.exporting import Exported
    from quantum_pulse.facade.comparing import RunHistory
    from quantum_pulse.facade.operations import RecordedOperations
    from quantum_pulse.reading.slowest import Slowest
    from quantum_pulse.view.figures import Chart
    from quantum_pulse.view.flame import Flame
    from quantum_pulse.view.formats import Report

    #: A capture, opened or by its path.
    CaptureOrPath: TypeAlias = "Capture | str | os.PathLike[str]"
    Captures: TypeAlias = CaptureOrPath | Sequence[CaptureOrPath]


class Capture:
    """One capture directory, or several read as one, as `open` found it.

    A capture does not change when samples are written to its directory; open it again to see them.

    Attributes
    ----------
    path : pathlib.Path
        The directory; with several captures, the one that contains all of them. Of a URL the folder
        of this machine that holds what was read of it.

    See Also
    --------
    open : Open a capture.
    last : Open the capture that was recorded last.
    sample : Open a capture that comes with the package.

    Examples
    --------
    >>> capture = qp.sample("slow_exchange")
    >>> capture
    <Capture ...slow_exchange: ... samples>
    """

    def __init__(self, source: reader.Source) -> None:
        self._opened = source
        #: The directory; of several captures the one that all of them are in.
        self.path: Path = source.path

    @property
    def _source(self) -> reader.Source:
        return self._opened

    def between(self, start: Moment = None, end: Moment = None) -> Capture:
        """Restrict the capture to an interval of time, which is a capture itself.

        Everything that a capture can be asked is then answered for the interval, also in comparisons: two
        hours of one capture are compared like two captures.

        Parameters
        ----------
        start, end : moment, optional
            Calls that started in ``[start, end)``, as in `samples`.

        Returns
        -------
        Capture
            The same capture in that time. Offsets such as "1.5s" count from its `start` on.

        Raises
        ------
        ValueError
            If a moment is invalid or ambiguous, or `end` is before `start`.

        See Also
        --------
        Capture.where : Restrict the capture by attributes.

        Notes
        -----
        What a recording says of itself, such as its environment, its overhead and what has expired, is of the
        whole recording. `slowest` and `tree` show the calls around and inside those of the interval, also where
        these started before it.

        Examples
        --------
        >>> capture = qp.sample("slow_exchange")
        >>> early, late = capture.between(end="1s"), capture.between("1s")
        >>> late.compare(early).verdict
        'differs'
        """
        return Capture(self._restricted(start, end))

    def where(self, conditions: Where) -> Capture:
        """Restrict the capture to calls with some attributes, which is a capture itself.

        Parameters
        ----------
        conditions : mapping
            Names of attributes mapped to a value, several, or None, as in `samples`.

        Returns
        -------
        Capture
            The same capture with these calls only. `tree` and `slowest` also show what ran inside and around
            them.

        Raises
        ------
        ValueError
            If no operation has such an attribute.
        TypeError
            If `conditions` is not a mapping.

        See Also
        --------
        Capture.between : Restrict the capture to an interval of time.

        Examples
        --------
        >>> class Shop(qp.Operation):
        ...     ORDER = qp.op("Take an order", attributes={"tenant": str})
        >>> with qp.record("captures/shop"):
        ...     for tenant in ("acme", "beta", "acme"):
        ...         with Shop.ORDER(tenant=tenant):
        ...             pass
        >>> qp.last().where({"tenant": "acme"}).stats()["count"].tolist()
        [2]
        """
        return Capture(self._restricted(where=conditions))

    def _restricted(self, start: Moment = None, end: Moment = None, where: Where = None) -> reader.Source:
        """What is read of the capture for such arguments of a method."""
        return selection.restricted(self._source, start, end, where)

    def stats(
        self,
        by: str | Iterable[str] = "operation",
        *,
        quantiles: float | Sequence[float] | None = None,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
        approximate: bool = False,
        expected_interval_us: float | Mapping[Operation, float] | Mapping[Recorded, float] | None = None,
        include_empty: bool = False,
        min_count: int = 0,
        sort: str | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """Compute exact statistics of durations, one row per operation by default.

        Parameters
        ----------
        by : str or iterable of str, default "operation"
            What a row is: "operation", "category", "thread", "process", "task", "error", "capture" or
            an attribute, or several of them, such as ``["operation", "route"]``.
        quantiles : float or sequence of float, optional
            Other quantiles, such as ``[0.5, 0.9999]`` for the columns ``p50_us`` and ``p9999_us``. By
            default p50, p90, p95, p99 and p99.9.
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Select by attributes, as in `samples`.
        approximate : bool, default False
            Whether to compute quantiles within 1 %, mostly without reading samples. The other columns
            stay exact. Expired calls count too, in rows by operation, category or capture; `start`
            and `end` then select whole minutes of the expired time, or whole hours or days once
            rollups have that length.
        expected_interval_us : float or mapping of operation to float, optional
            Correct for coordinated omission: the interval, in microseconds, at which one caller meant
            to make calls. A slow call delays those that should have followed; they are added, as
            HdrHistogram does.
        include_empty : bool, default False
            Whether to include operations that did not run, of those that were selected or are known to
            the capture.
        min_count : int, default 0
            Leave out rows with fewer calls.
        sort : str, optional
            A column (the largest first), a level of the index, or "priority".
        top : int, optional
            The most rows to return, those with the largest ``total_us`` if `sort` is not given.

        Returns
        -------
        pandas.DataFrame
            Index ``(category, operation)``, or the levels of `by`. The columns are ``count``,
            ``errors``, ``total_us``, ``mean_us``, ``std_us``, ``min_us``, one per quantile (``p50_us``,
            ``p90_us``, ``p95_us``, ``p99_us``, ``p999_us``), and ``max_us``; times are in microseconds. A
            sample of weight w counts as w calls. ``std_us`` is the sample standard deviation, NaN for a
            single call.

        Raises
        ------
        ValueError
            If a parameter has an invalid value. The message lists the choices.
        TypeError
            If `operations` contains a string.

        See Also
        --------
        Capture.timeline : The same over time.
        Recorder.stats : The same of a running recording.

        Notes
        -----
        Quantiles interpolate linearly, as numpy's do (Hyndman & Fan 1996, type 7). Memory grows with the
        number of rows, not of samples.

        References
        ----------
        - R. J. Hyndman & Y. Fan (1996). Sample quantiles in statistical packages. The American
          Statistician 50.

        Examples
        --------
        >>> capture = qp.sample("engine")
        >>> capture.stats(top=3)[["count", "p50_us", "p99_us"]].round(1)
                                        count   p50_us   p99_us
        category    operation
        Execution   Engine.ORDER         1939   1772.9   5883.3
                    Engine.SUBMIT        1939   1732.0   5848.8
        Market data Engine.FEED_PACKET     80  22069.9  40109.8
        >>> capture.stats("thread", quantiles=0.9999).columns.tolist()
        ['count', 'errors', 'total_us', 'mean_us', 'std_us', 'min_us', 'p9999_us', 'max_us']
        """
        from quantum_pulse.reading import statistics

        return statistics.table(
            self._source,
            by,
            quantiles=quantiles,
            operations=operations,
            start=start,
            end=end,
            where=where,
            approximate=approximate,
            expected_interval_us=expected_interval_us,
            include_empty=include_empty,
            min_count=min_count,
            sort=sort,
            top=top,
            with_expired=approximate,
        ).frame()

    def timeline(
        self,
        window: str | timedelta | float = "1s",
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        *,
        by: str | Iterable[str] = "operation",
        where: Where = None,
        quantiles: float | Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Compute statistics per operation and window of time, with the system metrics beside them.

        Parameters
        ----------
        window : str, timedelta or float, default "1s"
            Length of the windows: text such as "100ms", or seconds. Windows begin at whole multiples
            of it.
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        by : str or iterable of str, default "operation"
            What a row is in each window, as in `stats`.
        where : mapping, optional
            Select by attributes, as in `samples`.
        quantiles : float or sequence of float, optional
            Other quantiles, as in `stats`.

        Returns
        -------
        pandas.DataFrame
            Index ``(time, category, operation)``, one row for each window in which the operation ran;
            ``time`` is the start of the window, UTC. The columns are those of `stats`, in microseconds,
            then those of `metrics`: growth in the window for counts (faults, switches, bytes, pauses),
            the mean for levels, added up over processes except for metrics of the container and the
            machine. NaN where nothing was measured.

        Raises
        ------
        ValueError
            If `window` is invalid, or cuts what is kept by the hour or the day; the message names
            windows that do not.

        See Also
        --------
        Capture.heatmap : Calls over time and duration.
        Capture.correlate : The metrics that move with latency.

        Notes
        -----
        Windows of whole minutes include the time before `expired_until`: there quantiles are within
        1 %, the other columns are exact, and metrics are NaN. Other windows include only samples that
        have not expired.

        Examples
        --------
        >>> capture = qp.sample("slow_exchange")
        >>> submit = capture.operations.Engine.SUBMIT
        >>> timeline = capture.timeline("500ms", submit)
        >>> timeline["p99_us"].unstack(["category", "operation"]).shape
        (5, 1)
        """
        from quantum_pulse.reading import timeline

        return timeline.timeline(
            self._source, window, operations, start, end, by=by, where=where, quantiles=quantiles, with_expired=True
        )

    def heatmap(
        self,
        operation: Operation | Recorded,
        *,
        start: Moment = None,
        end: Moment = None,
        columns: int = 120,
        where: Where = None,
    ) -> pd.DataFrame:
        """Count the calls of an operation over time and duration.

        Parameters
        ----------
        operation : operation
            The operation.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        columns : int, default 120
            The most columns, which have equal lengths of time.
        where : mapping, optional
            Select by attributes, as in `samples`.

        Returns
        -------
        pandas.DataFrame
            Number of calls. Index ``duration_us``: the lower edge of each row in microseconds,
            ascending, eight rows per octave, without gaps from the shortest to the longest duration.
            Columns ``time``: the start of each, UTC, from `start` or the first sample to `end` or the
            last.

        Raises
        ------
        TypeError
            If `operation` is not an operation.
        ValueError
            If a moment or `columns` is invalid.

        See Also
        --------
        Capture.timeline : Statistics per window of time.

        Examples
        --------
        >>> capture = qp.sample("engine")
        >>> calls = capture.heatmap(capture.operations.Engine.ORDER, columns=60)
        >>> int(calls.to_numpy().sum())
        1939
        """
        from quantum_pulse.reading import timeline

        return timeline.heatmap(self._source, operation, start, end, columns, where)

    def tree(
        self, operations: Operations = None, start: Moment = None, end: Moment = None, *, where: Where = None
    ) -> pd.DataFrame:
        """Nest calls as they ran, one row per path of operations.

        Parameters
        ----------
        operations : operation, enum, or iterable of operations, optional
            Begin paths at these operations.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Begin paths at calls with these attributes, as in `samples`. What ran inside them is counted too.

        Returns
        -------
        pandas.DataFrame
            Depth first, the largest total first. Index ``path``: the operations from the outermost in,
            such as "Trading.ORDER > Trading.SUBMIT". The columns are

            - ``category``, ``operation``: of the last operation in the path;
            - ``depth``: 0 for the outermost;
            - ``count``, ``total_us``, ``mean_us``, ``max_us``: calls and their durations, in microseconds;
            - ``self_us``: time without the children, never negative; children that ran at once count once.
              NaN if more than 1 % of ``total_us`` is of calls during which samples were lost or
              overwritten, because these may have been their children;
            - ``concurrent``: share of ``total_us`` in which a sibling ran too, as tasks do;
            - ``detached``: share of ``total_us`` outside the parent, as of a task that outlives the block
              that started it.

        Raises
        ------
        TypeError
            If `operations` contains a string.
        ValueError
            If a moment is invalid.

        See Also
        --------
        Capture.slowest : Single slow calls with their children.

        Notes
        -----
        A sample whose enclosing sample is not in the capture (still open, lost, or not recorded) counts
        as outermost.

        Examples
        --------
        >>> tree = qp.sample("engine").tree()
        >>> tree[["count", "total_us", "self_us"]].head(3).round()
                                          count   total_us    self_us
        path
        Engine.ORDER                       1939  3919305.0    20466.0
        Engine.ORDER > Engine.SUBMIT       1939  3837675.0  3837675.0
        Engine.ORDER > Engine.ACK_DECODE   1939    32953.0    32953.0
        """
        from quantum_pulse.reading import nesting

        return nesting.tree(self._restricted(start, end, where), operations)

    def flame(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        *,
        where: Where = None,
        by: Literal["total", "self"] = "total",
        baseline: CaptureOrPath | None = None,
    ) -> Flame:
        """Draw the call tree as an icicle, which a notebook shows and a terminal prints.

        Parameters
        ----------
        operations : operation, enum, or iterable of operations, optional
            Begin paths at these operations.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Begin paths at calls with these attributes, as in `tree`; in the baseline too.
        by : {"total", "self"}, default "total"
            "total": from the outermost calls in; frames are as wide as the calls take with all inside them. "self":
            from the operations that spend the time themselves, with the calls around them below.
        baseline : Capture, str or path-like, optional
            Another capture to compare with. Frames are then coloured by how much longer they take than they would
            in the baseline, had it made as many of the outermost calls.

        Returns
        -------
        Flame
            The icicle, also as text, folded stacks and a file for speedscope.

        Raises
        ------
        TypeError
            If `operations` contains a string.
        ValueError
            If `by` or a moment is invalid.

        See Also
        --------
        Capture.tree : The same as a table.

        Examples
        --------
        >>> flame = qp.sample("engine").flame()
        >>> flame.table.index[1]
        'Engine.ORDER > Engine.SUBMIT'
        """
        from quantum_pulse import stacks
        from quantum_pulse.view.flame import Flame

        arguments.one_of(by, "by", stacks.KINDS)
        before = None if baseline is None else Capture(_source_of(baseline, "baseline"))
        return Flame(
            stacks.of_tree(self.tree(operations, start, end, where=where)),
            None if before is None else stacks.of_tree(before.tree(operations, where=where)),
            by,
            self.path.resolve().name,
        )

    def slowest(
        self,
        n: int = 10,
        operation: Operations = None,
        *,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
    ) -> Slowest:
        """Find the slowest samples, each with its surroundings.

        Parameters
        ----------
        n : int, default 10
            How many samples.
        operation : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Select by attributes, as in `samples`.

        Returns
        -------
        Slowest
            Its ``table`` has the raw samples, the slowest first. ``slowest[0]`` is the first sample with
            its ancestors, its children, what else ran at the same time, and garbage collections.

        Raises
        ------
        TypeError
            If `n` is an operation, or `operation` contains a string.
        ValueError
            If `n` or a moment is invalid.

        See Also
        --------
        Capture.tree : All calls, nested.

        Examples
        --------
        >>> slowest = qp.sample("slow_exchange").slowest(3)
        >>> slowest.table["operation"].tolist()
        ['Engine.FEED_PACKET', 'Engine.FEED_PACKET', 'Engine.FEED_PACKET']
        >>> slowest[0].meanwhile.columns.tolist()
        ['calls', 'overlap_us', 'share']
        """
        from quantum_pulse.reading import slowest

        return slowest.slowest(self._source, n, operation, start, end, where)

    def budgets(
        self,
        *,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
        check: bool | None = True,
        alpha: float = 0.05,
    ) -> pd.DataFrame:
        """Test which operations keep their budgets.

        Budgets are given by ``op(budget_us=..., budget_quantile=...)``.

        Parameters
        ----------
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Select by attributes, as in `samples`.
        check : bool or None, default True
            Whether to test. With False, one pass over the samples counts calls in constant memory; to
            test, the samples of one operation are in memory at once. None tests unless operations with
            a budget have more than 20 million samples.
        alpha : float, default 0.05
            The false discovery rate that is accepted: at most this share of "kept" and "missed" is
            wrong. It must be above 0 and below 0.5.

        Returns
        -------
        pandas.DataFrame
            Index ``operation``, the worst first; only operations that have a budget. The columns are

            - ``budget_us``: the budget, in microseconds;
            - ``count``, ``over``, ``share``: calls, calls above the budget, and their ratio;
            - ``open_over``: open calls that exceed the budget already; no other column counts them;
            - ``quantile``, ``value_us``: the quantile that the budget is for, and its value;
            - ``ci_low_us``, ``ci_high_us``: the interval of that value;
            - ``q_value``, ``verdict``: "kept", "missed", "inconclusive", or "too_few" calls to show that
              it is kept.

            Without a test, only the first six of them.

        Raises
        ------
        ValueError
            If `alpha` is out of range.

        See Also
        --------
        analysis.check_budgets : The method.

        Examples
        --------
        >>> qp.sample("slow_exchange").budgets()[["budget_us", "share", "verdict"]].round(3)
                             budget_us  share       verdict
        operation
        Engine.STORE            1000.0  0.081        missed
        Engine.ORDER            5000.0  0.064  inconclusive
        Engine.RISK              250.0  0.043        missed
        Engine.PARSE              50.0  0.009  inconclusive
        Engine.FEED_MESSAGE      200.0  0.001          kept
        Engine.SQL_COMMIT      20000.0  0.000       too_few
        """
        from quantum_pulse.diagnosis import budgets

        return budgets.check(self._restricted(start, end, where), is_tested=check, alpha=alpha)

    def validate(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        *,
        where: Where = None,
        expected_only: bool = False,
    ) -> pd.DataFrame:
        """Count durations that cannot be right, and outliers.

        Parameters
        ----------
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Select by attributes, as in `samples`.
        expected_only : bool, default False
            Whether to leave out operations without ``op(expect_us=(low, high))``.

        Returns
        -------
        pandas.DataFrame
            Index ``operation``, the one with the largest share of invalid durations first. The columns
            are

            - ``count``: calls;
            - ``expect_low_us``, ``expect_high_us``: the expected range, NaN if the operation has none;
            - ``below``, ``above``, ``share``: calls outside that range, and their share;
            - ``fence_low_us``, ``fence_high_us``: the range outside of which a call is an outlier, NaN
              with fewer than 20 calls;
            - ``outliers``, ``outlier_share``: their number and share.

        Raises
        ------
        TypeError
            If `operations` contains a string.
        ValueError
            If a moment is invalid.

        Notes
        -----
        Fences are on a logarithmic scale, 3.5 standard deviations (Iglewicz & Hoaglin 1993) from the
        median, with a spread of its own on each side, from the median and the quartile of that side
        (Kimber 1990). A spread of less than 10 % counts as 10 %. Of lognormal durations 0.05 % are
        outliers; of distributions with heavier tails, more.

        References
        ----------
        - A. C. Kimber (1990). Exploratory data analysis for possibly censored data from skewed
          distributions. Applied Statistics 39.
        - B. Iglewicz & D. C. Hoaglin (1993). How to Detect and Handle Outliers. ASQC Quality Press.

        Examples
        --------
        >>> found = qp.sample("engine").validate()
        >>> found.loc["Engine.ORDER", ["count", "outliers"]].to_dict()
        {'count': 1939, 'outliers': 42}
        """
        from quantum_pulse.reading import validation

        return validation.validate(self._source, operations, start, end, where=where, expected_only=expected_only)

    def compare(
        self,
        baseline: Captures,
        *,
        also: Captures = (),
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
        quantiles: Sequence[float] = (0.5, 0.95, 0.99),
        min_effect: float = 0.05,
        alpha: float = 0.05,
        skip_warmup: bool = True,
        history: RunHistory | None = None,
    ) -> Comparison:
        """Compare this capture with a baseline, to see whether operations got slower.

        Parameters
        ----------
        baseline : capture, path, or sequence of these
            The captures to compare with. What was opened as several captures is several runs.
        also : capture, path, or sequence of these, optional
            Further captures of the current side.
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, of each capture by itself: "18:03" is on the
            day of each, and "1.5s" is after the first sample of each. To compare two times of one capture, give
            `between` of it.
        where : mapping, optional
            Select by attributes, as in `samples`.
        quantiles : sequence of float, default (0.5, 0.95, 0.99)
            The quantiles to compare.
        min_effect : float, default 0.05
            The smallest relative change that matters.
        alpha : float, default 0.05
            The false discovery rate that is accepted. It must be above 0 and below 0.5.
        skip_warmup : bool, default True
            Whether to set aside the first samples of an operation that are still settling;
            ``warmup`` of the result counts them.
        history : History, optional
            Earlier runs, which show how much runs of the same program differ. They are not compared
            with.

        Returns
        -------
        Comparison
            It shows itself. ``table``, ``regressions``, ``improvements`` and ``verdict`` say what changed,
            ``failures()`` why a build should fail, and ``groups``, ``shifts`` and ``decomposition`` why. Open
            calls of the current side have no duration; ``unfinished`` has them.

        Raises
        ------
        TypeError
            If something is neither a capture nor a path, `operations` contains a string, or `history` is
            not a History.
        ValueError
            If a side has a capture twice, because a run counts once, or a number is out of range. Several
            times of one capture that do not overlap are several runs.

        See Also
        --------
        analysis.compare_samples : The method.
        History.check : Compare with the figures of earlier runs.

        Notes
        -----
        With several runs per side, or with a history, variation from run to run is accounted for. With
        one run each and no history it is unknown: then an operation "differs", and a build does not
        fail by default. Processes of one night are alike; runs at several times show what varies.

        Examples
        --------
        >>> found = qp.sample("engine").compare(qp.sample("slow_exchange"))
        >>> found.verdict
        'differs'
        >>> found.groups["lead"].tolist()[0]
        'Engine.LEDGER_LOCK'
        """
        from quantum_pulse.facade import comparing

        before, after = (
            [selection.restricted(one, start, end, where) for one in side]
            for side in (_sources(baseline, "baseline"), [self._source, *_sources(also, "also")])
        )
        return comparing.compare(
            before,
            after,
            operations,
            quantiles=quantiles,
            min_effect=min_effect,
            alpha=alpha,
            skip_warmup=skip_warmup,
            history=history,
        )

    def correlate(
        self,
        window: str | timedelta | float | None = None,
        *,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
        quantile: float = 0.95,
        alpha: float = 0.05,
    ) -> Correlations:
        """Find the metrics, garbage collections and other operations that move with latency.

        Parameters
        ----------
        window : str, timedelta or float, optional
            Length of the windows that are compared: text such as "100ms", or seconds. By default about
            a thousandth of the capture, and at least the interval of the metrics.
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Select by attributes, as in `samples`.
        quantile : float, default 0.95
            The quantile of an operation in each window that is compared with the metrics.
        alpha : float, default 0.05
            The false discovery rate that is accepted. It must be above 0 and below 1.

        Returns
        -------
        Correlations
            It shows itself. ``table`` has one row per operation and metric: ``operation``, ``metric``,
            ``lag_s``, ``rho``, ``ci_low``, ``ci_high``, ``p_value``, ``q_value`` (over the whole table) and
            ``n_effective``; NaN if there is too little to compare. ``found`` has the significant rows,
            ``recommendations`` what to do, and ``not_applicable`` the rules that recommend nothing.

        Raises
        ------
        TypeError
            If `operations` contains a string.
        ValueError
            If a parameter is out of range, or `window` is too short for the capture.

        See Also
        --------
        analysis.correlate : The method.
        Capture.contrast : Compare one interval with its surroundings.

        Examples
        --------
        >>> found = qp.sample("slow_exchange").correlate("50ms")
        >>> found.found[["operation", "metric"]].values.tolist()
        [['Engine.STORE', 'time in Engine.SQL_UPSERT'], ['Engine.LEDGER_LOCK', 'time in Engine.STORE']]
        """
        from quantum_pulse.facade import correlating

        chosen = self._restricted(start, end, where)
        return correlating.correlate(chosen, window, operations, quantile=quantile, alpha=alpha)

    def contrast(
        self,
        start: Moment,
        end: Moment,
        *,
        operations: Operations = None,
        where: Where = None,
        chosen_by: Operations = None,
        quantile: float = 0.95,
        alpha: float = 0.05,
    ) -> Contrast:
        """Compare an interval with the time around it, to see which operations and metrics differ.

        Parameters
        ----------
        start, end : moment
            The interval, as in `samples`.
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        where : mapping, optional
            Select by attributes, as in `samples`.
        chosen_by : operation, enum, or iterable of operations, optional
            Operations that the interval was chosen by. An interval that was chosen because an operation
            was slow in it proves nothing about that operation, nor about those that contain it: they are
            shown and not tested.
        quantile : float, default 0.95
            The quantile of each operation that is compared.
        alpha : float, default 0.05
            The false discovery rate that is accepted. It must be above 0 and below 1.

        Returns
        -------
        Contrast
            It shows itself. ``table`` has the columns ``what``, ``name``, ``measure``, ``inside``,
            ``around``, ``change``, ``shift``, ``ci_low``, ``ci_high``, ``p_value`` and ``q_value`` (over the
            whole table), sorted by q-value; ``found`` has the significant rows.

        Raises
        ------
        TypeError
            If `operations` or `chosen_by` contains a string.
        ValueError
            If nothing was recorded in the interval, or a number is out of range.

        See Also
        --------
        analysis.contrast : The method.
        Capture.correlate : The same over the whole capture.

        Notes
        -----
        The surroundings are three times as long as the interval before it and three times as long after it; what
        one side lacks, at an edge of the capture, the other has more of. Both are cut into windows of a
        thirtieth of the interval, for metrics of at least their own interval.

        Examples
        --------
        >>> capture = qp.sample("slow_exchange")
        >>> found = capture.contrast(1.05, 1.85, chosen_by=capture.operations.Engine.SUBMIT)
        >>> found.table.loc[0, ["what", "name", "measure"]].tolist()
        ['metric', 'cpu_process_percent', 'level']
        """
        from quantum_pulse.facade import contrasting

        return contrasting.contrast(
            self._restricted(where=where),
            start,
            end,
            operations=operations,
            chosen_by=chosen_by,
            quantile=quantile,
            alpha=alpha,
        )

    def why(
        self,
        operation: Operation | Recorded,
        *,
        quantile: float = 0.99,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
        alpha: float = 0.05,
    ) -> Causes:
        """Explain why the slow calls of an operation are slow.

        Parameters
        ----------
        operation : operation
            The operation, of the recorded program or of `operations`.
        quantile : float, default 0.99
            Calls above this quantile are slow; what they take beyond the median is the excess that is
            explained. It must be above 0 and below 1.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Select by attributes, as in `samples`.
        alpha : float, default 0.05
            The false discovery rate that is accepted. It must be above 0 and below 1.

        Returns
        -------
        Causes
            It shows itself. ``table`` has the columns ``cause``, ``kind``, ``share_of_excess``, ``ci_low``,
            ``ci_high``, ``q_value``, ``quantile_without_us`` and ``evidence``: at most five causes, and the row
            "unexplained"; the shares add up to 1. ``calls(cause)`` has slow calls that show one.

        Raises
        ------
        TypeError
            If `operation` is a string.
        ValueError
            If no call of the operation is among those selected, or a number is out of range.

        See Also
        --------
        Capture.contrast : What differs in an interval.
        Capture.slowest : The slowest calls, with what ran around them.

        Notes
        -----
        What took time of calls comes first (garbage collections), then what calls met: values of
        attributes and pairs of them, throttling, waiting for a CPU, memory, the start of the process,
        bursts, operations that ran beside them, errors. Whether that goes with slow calls is tested
        against all shifts in time of the one against the other. It explains the attributable fraction of
        their excess. What is left goes to calls inside, along the critical path, that have far more of
        the excess than of typical calls, and to waiting outside of them, where CPU time was recorded.
        Of more than 500,000 calls every n-th is looked at.

        Examples
        --------
        >>> capture = qp.sample("slow_exchange")
        >>> causes = capture.why(capture.operations.Engine.SUBMIT, quantile=0.9)
        >>> causes.table.columns[:3].tolist()
        ['cause', 'kind', 'share_of_excess']
        """
        from quantum_pulse.facade import explaining

        return explaining.why(
            self._source, operation, quantile=quantile, start=start, end=end, where=where, alpha=alpha
        )

    def overhead(
        self, operations: Operations = None, start: Moment = None, end: Moment = None, *, where: Where = None
    ) -> pd.DataFrame:
        """Estimate which share of each operation's time recording itself took.

        Parameters
        ----------
        operations : operation, enum, or iterable of operations, optional
            Begin paths at these operations, as in `tree`.
        start, end : moment, optional
            Select calls that started in ``[start, end)``, as in `samples`.
        where : mapping, optional
            Begin paths at calls with these attributes, as in `tree`.

        Returns
        -------
        pandas.DataFrame
            Index ``operation``. The columns are ``count``; ``nested``, the samples inside these at any depth;
            ``total_us``; ``own_us``, the overhead in ``total_us``, in microseconds; and ``share``, the
            ratio of the two, at most 1. ``own_us`` is NaN if the recording did not measure it.
            ``.attrs["recordings"]`` has the measurements of each recording.

        Raises
        ------
        TypeError
            If `operations` contains a string.
        ValueError
            If a moment is invalid.

        Notes
        -----
        Each recording measures the cost of a sample when it begins, in a loop with warm caches, so this
        is a lower bound. Of several recordings the median counts. A call is charged the part between its
        own two clock readings, and the whole cost of each nested sample. Calls that
        ``sample_every`` skipped cost less than is charged here.

        Examples
        --------
        >>> qp.sample("slow_exchange").overhead()[["count", "nested", "share"]].head(2).round(3)
                             count  nested  share
        operation
        Engine.FEED_MESSAGE  12000   35756  0.018
        Engine.VALIDATE      11935       0  0.017
        """
        from quantum_pulse.reading import overhead

        return overhead.overhead(self._restricted(start, end, where), operations)

    def plot(self) -> Chart:
        """Draw the latency of each operation: median, p99 and extremes on a log scale, budgets marked.

        Categories and operations of priority 1 come first, then what took most time.

        Returns
        -------
        Chart
            A matplotlib figure that shows itself in a notebook.

        See Also
        --------
        Capture.stats : The figures.

        Examples
        --------
        >>> chart = qp.sample("engine").plot()
        >>> chart.savefig("latency.svg")
        """
        from quantum_pulse.reading import definitions
        from quantum_pulse.view import figures

        priorities = definitions.priorities(self._source).operations
        return figures.latency(self.stats(), self.categories, self.budgets(check=False), priorities)

    def report(
        self,
        path: str | os.PathLike[str] | None = None,
        baseline: CaptureOrPath | None = None,
        title: str | None = None,
        *,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
        format: Literal["html", "markdown", "text"] | None = None,  # noqa: A002 - as on the command line
    ) -> Report:
        """Make a report: all there is to see in a capture, in one document.

        HTML is one file that needs no network and no kernel, and drills down from operations to single
        samples. Markdown and text are its short form. What has priority 1 comes first, then what took
        most time.

        Parameters
        ----------
        path : path-like, optional
            The file to write it to.
        baseline : capture or path, optional
            Another capture to compare with.
        title : str, optional
            The title. By default the name of the directory of the capture.
        start, end : moment, optional
            Report on calls that started in ``[start, end)``, as in `samples`; the report says so. The baseline is
            whole: give `between` of it to restrict it.
        where : mapping, optional
            Report on calls with these attributes, as in `samples`; of the baseline too.
        format : {"html", "markdown", "text"}, optional
            The format. By default that of the suffix of `path`: .html, .md or .txt.

        Returns
        -------
        Report
            The report, which shows itself in a notebook.

        Raises
        ------
        ValueError
            If the format or the suffix is unknown, or a moment is invalid.
        TypeError
            If `baseline` is neither a capture nor a path.
        OSError
            If the file cannot be written.

        See Also
        --------
        Capture.explore : The same as an application in the notebook.

        Examples
        --------
        >>> report = qp.sample("slow_exchange").report("report.html", baseline=qp.sample("engine"))
        >>> report.path.name
        'report.html'
        """
        from quantum_pulse.diagnosis import report
        from quantum_pulse.facade import reporting
        from quantum_pulse.view import formats

        if format is not None:
            formats.checked(format)
        elif path is not None:
            formats.format_of(arguments.path(path, "path", "report.html"))
        other = None if baseline is None else selection.restricted(_source_of(baseline, "baseline"), where=where)
        made = formats.Report(report.build(reporting.gather(self._restricted(start, end, where), other), title))
        if path is not None:
            made.write(path, format)
        return made

    def export(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        format: str | None = None,  # noqa: A002 - as on the command line
        *,
        table: Literal["samples", "metrics", "events", "stats"] = "samples",
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
        overwrite: bool = False,
    ) -> Exported:
        """Write the capture, or a selection of it, in a format of other tools.

        Parameters
        ----------
        path : path-like or binary file
            Where to write. A file is written completely or not at all. Text formats are compressed if
            the name ends in .gz.
        format : str, optional
            By default that of the suffix of `path`:

            - "parquet", "csv", "arrow": raw samples, or another `table`, batch by batch, roughly in the
              order of time;
            - "json": statistics, budgets, losses and what was recorded where, for scripts;
            - "trace" (.trace.json): one event per sample in Chrome's trace format, for Perfetto;
            - "openmetrics" (.prom): histograms of durations, for Prometheus;
            - "prometheus": the same in its classic text format, for the node exporter.
        table : {"samples", "metrics", "events", "stats"}, default "samples"
            Which table to write, in the first three formats.
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select samples that started in ``[start, end)``, as in `samples`, and metrics and events of
            this time.
        where : mapping, optional
            Select by attributes, as in `samples`.
        overwrite : bool, default False
            Whether to replace an existing file.

        Returns
        -------
        Exported
            What was written: ``rows``, ``bytes``, and more.

        Raises
        ------
        ValueError
            If a choice is invalid. The message lists the choices.
        TypeError
            If `path` is neither a path nor a binary file, or `operations` contains a string.
        FileExistsError
            If the file exists and `overwrite` is False.
        OSError
            If the file cannot be written.

        See Also
        --------
        Capture.report : A report for people.

        Examples
        --------
        >>> capture = qp.sample("engine")
        >>> done = capture.export("orders.parquet", operations=capture.operations.Engine.ORDER)
        >>> done.rows
        1939
        """
        from quantum_pulse.export import exporting

        return exporting.export(
            self._source,
            path,
            format,
            table=table,
            operations=operations,
            start=start,
            end=end,
            where=where,
            overwrite=overwrite,
        )

    def explore(
        self,
        baseline: CaptureOrPath | None = None,
        *,
        operation: Operation | Recorded | None = None,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
    ) -> Explorer:
        """Explore the capture in the notebook: from all operations to one, to an interval, to a single call.

        The application appears at once, with approximate figures, and becomes exact as the samples are
        read. It never changes the capture. A saved notebook keeps a static view of the first page and of
        the operation that matters most. Run the cell again, and it continues where you were.

        Parameters
        ----------
        baseline : capture or path, optional
            Another capture to compare with.
        operation : operation, optional
            The operation to begin with, instead of all of them.
        start, end : moment, optional
            Explore calls that started in ``[start, end)``, as in `samples`; the pages say so. The baseline is
            whole: give `between` of it to restrict it.
        where : mapping, optional
            Explore calls with these attributes, as in `samples`; of the baseline too.

        Returns
        -------
        Explorer
            The application, which a notebook displays.

        Raises
        ------
        TypeError
            If `baseline` is neither a capture nor a path, or `operation` is not an operation.
        ValueError
            If `operation` did not run, or a moment is invalid.

        See Also
        --------
        Capture.report : The same as one file.

        Examples
        --------
        >>> capture = qp.sample("slow_exchange")
        >>> explorer = capture.explore(baseline=qp.sample("engine"))
        >>> explorer = capture.explore(operation=capture.operations.Engine.SUBMIT, start="1s", end="2s")
        """
        from quantum_pulse.explorer.model import ExplorerModel
        from quantum_pulse.explorer.widget import Explorer
        from quantum_pulse.facade import reporting

        source = self._restricted(start, end, where)
        other = None if baseline is None else selection.restricted(_source_of(baseline, "baseline"), where=where)
        model = ExplorerModel(source, other, lambda: reporting.gather(source, other, detailed=0))
        return Explorer(model, None if operation is None else model.name_of(operation))

    def samples(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        columns: Sequence[str] | None = None,
        *,
        where: Where = None,
    ) -> pd.DataFrame:
        """Return the raw samples, ordered by start.

        Parameters
        ----------
        operations : operation, enum, or iterable of operations, optional
            Select operations: a member of an enum, several, or a whole enum; without the program that
            was recorded, the ones in `operations` of the capture.
        start, end : moment, optional
            Select samples that started in ``[start, end)``. A moment is a timestamp or its text (UTC
            unless it says otherwise), a time of day as reports print it ("18:03:24.123"), or an offset
            from the first sample: "1.5s", a timedelta, or seconds.
        columns : sequence of str, optional
            Names of columns, in the order wanted. By default all.
        where : mapping, optional
            Select by attributes, and by "error" and "process": ``{"tenant": "acme", "status": [502, 503]}``
            selects the calls of acme that had either status. None selects calls without a value.

        Returns
        -------
        pandas.DataFrame
            One row per sample. The columns are ``start`` (UTC), ``duration_ns``, ``operation``,
            ``category``, ``thread``, ``task``, ``span``, ``parent``, ``error``, ``weight``, ``process``,
            ``attributes`` (a dictionary of texts, or None), ``cpu_ns`` (a nullable integer), and ``capture``
            with several captures; docs/format.md describes them.

        Raises
        ------
        TypeError
            If `operations` contains a string.
        ValueError
            If a column is unknown, a moment is invalid or ambiguous, or `end` is before `start`.

        See Also
        --------
        Capture.iter_samples : The same in batches.

        Examples
        --------
        >>> capture = qp.sample("engine")
        >>> order = capture.operations.Engine.ORDER
        >>> capture.samples(order, end="500ms", columns=["operation", "duration_ns"]).shape
        (947, 2)
        """
        from quantum_pulse.reading import tables

        return tables.samples(self._source, operations, start, end, columns, where)

    def iter_samples(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        columns: Sequence[str] | None = None,
        *,
        rows: int = 1_000_000,
        where: Where = None,
    ) -> Iterator[pd.DataFrame]:
        """Iterate over the raw samples in batches, for captures that do not fit into memory.

        Parameters
        ----------
        operations : operation, enum, or iterable of operations, optional
            Select operations, as in `samples`.
        start, end : moment, optional
            Select samples that started in ``[start, end)``, as in `samples`.
        columns : sequence of str, optional
            Names of columns, in the order wanted. By default all.
        rows : int, default 1000000
            How many samples a batch has, the last one excepted.
        where : mapping, optional
            Select by attributes, as in `samples`.

        Returns
        -------
        iterator of pandas.DataFrame
            Frames as of `samples`. Batches come roughly in the order of time, and each is sorted by it.

        Raises
        ------
        TypeError
            If `operations` contains a string.
        ValueError
            If a parameter is invalid.

        See Also
        --------
        Capture.samples : All samples at once.

        Notes
        -----
        A part that turns out to be damaged meanwhile is left out from there on; `losses` names it.

        Examples
        --------
        >>> capture = qp.sample("engine")
        >>> [len(batch) for batch in capture.iter_samples(rows=20_000)]
        [20000, 13479]
        """
        from quantum_pulse.reading import tables

        return tables.iter_samples(self._source, operations, start, end, columns, rows, where)

    def to_dask(self) -> dd.DataFrame:
        """Return the samples as a dask DataFrame, for more than one machine's memory and cores.

        Returns
        -------
        dask.dataframe.DataFrame
            The columns of `samples`. A partition is a part of the capture, ordered by ``start``, and is read
            when it is needed; workers must find the capture at the same path.

        Raises
        ------
        ImportError
            If dask is not installed; the extra "dask" has it.

        See Also
        --------
        Capture.samples : The same in memory.
        Capture.iter_samples : The same in batches.

        Examples
        --------
        >>> samples = qp.sample("engine").to_dask()
        >>> len(samples)
        33479
        """
        from quantum_pulse.facade import dasking

        return dasking.samples(self._source)

    def definitions(self) -> pd.DataFrame:
        """Return the definitions of the operations.

        Returns
        -------
        pandas.DataFrame
            Index ``operation``; columns ``category``, ``description``, ``priority``, ``budget_us`` and
            ``changed``, which is the earlier definition of an operation that was defined in several
            ways, such as "budget_us: 100, category: Input", else "".

        See Also
        --------
        Capture.operations : The operations, to select samples by.

        Notes
        -----
        The newest definition counts, in one capture and between several: all samples of an operation
        belong to its newest category.

        Examples
        --------
        >>> qp.sample("engine").definitions()["priority"].head(3).to_dict()
        {'Engine.ACK_DECODE': 3, 'Engine.ENCODE': 3, 'Engine.FEED_MESSAGE': 1}
        """
        from quantum_pulse.reading import definitions

        return definitions.frame(self._source)

    def attributes(self) -> pd.DataFrame:
        """Return the attributes that tell calls apart.

        Returns
        -------
        pandas.DataFrame
            Index ``(operation, attribute)``; columns ``type``, ``choices`` (None if any value of the type is allowed)
            and ``(other)``: how many values were recorded as "(other)", because there were more different texts than
            ``qp.record(attribute_values=)`` allows, or the rings had no room for them.

        See Also
        --------
        Capture.stats : Statistics by attributes, and of calls that have some.

        Examples
        --------
        >>> qp.sample("engine").attributes().empty
        True
        """
        from quantum_pulse.reading import attributes

        return attributes.frame(self._source)

    def metrics(self) -> pd.DataFrame:
        """Return the system metrics.

        Returns
        -------
        pandas.DataFrame
            One row per process and interval, ordered by ``time`` (UTC); docs/format.md describes the
            columns and their units.

        See Also
        --------
        Capture.timeline : Metrics beside statistics.

        Examples
        --------
        >>> metrics = qp.sample("engine").metrics()
        >>> bool((metrics["rss_bytes"] > 0).all())
        True
        """
        from quantum_pulse.reading import tables

        return tables.whole(self._source, "metrics", "time")

    def events(self) -> pd.DataFrame:
        """Return garbage collections and steps of the wall clock.

        Returns
        -------
        pandas.DataFrame
            One row per event, ordered by ``start`` (UTC); docs/format.md describes the columns.

        See Also
        --------
        Capture.slowest : Slow calls with the events during them.

        Examples
        --------
        >>> qp.sample("engine").events()["event"].unique().tolist()
        ['gc']
        """
        from quantum_pulse.reading import tables

        return tables.whole(self._source, "events", "start")

    def losses(self) -> pd.DataFrame:
        """Return what is missing from the capture. It is normally empty.

        Returns
        -------
        pandas.DataFrame
            One row per loss: ``operation``, ``thread``, ``start``, ``end``, ``count`` and ``cause``; null
            where something is unknown.

        Notes
        -----
        A part that cannot be read is found when the capture is opened or, if only its data are damaged,
        when they are read: call this after `stats` or `samples`.

        Examples
        --------
        >>> len(qp.sample("engine").losses())
        0
        """
        return reader.loss_frame(self._source)

    def unfinished(self) -> pd.DataFrame:
        """Return the open calls: blocks that were entered and had not been left.

        Returns
        -------
        pandas.DataFrame
            One row per call, the oldest first. The columns are

            - ``operation``, ``category``;
            - ``state``: "running" in a process that continues, "stopped" if the recording ended first,
              "killed" if the process did;
            - ``start`` (UTC) and ``elapsed_us``, null if the block had only just started. It has elapsed
              until the capture was opened, until the recording stopped or, in a killed process, until
              the last that is known of it;
            - ``thread``, ``task``, ``span``, ``parent``, ``process``.

        Notes
        -----
        A call that hangs has no sample, but it is here.

        Examples
        --------
        >>> class Trading(qp.Operation):
        ...     SUBMIT = qp.op("Submit an order", budget_us=100)
        >>> with qp.record("captures/monday") as recorder:
        ...     with Trading.SUBMIT:
        ...         pass
        ...     with Trading.SUBMIT:
        ...         recorder.stop()
        >>> qp.last().unfinished()[["operation", "state"]].values.tolist()
        [['Trading.SUBMIT', 'stopped']]
        """
        from quantum_pulse.reading import unfinished

        return unfinished.frame(self._source)

    @property
    def expired_until(self) -> pd.Timestamp | None:
        """The moment from which on samples have not expired, UTC; None if none has expired.

        ``stats(approximate=True)`` and `timeline` in windows of whole minutes include the time before.
        Everything else includes only the samples that are there; some may be older than this moment,
        as those of another host.
        """
        from quantum_pulse.reading import expired

        return expired.until(self._source)

    @property
    def overwritten_until(self) -> pd.Timestamp | None:
        """The moment from which on a flight recorder or its snapshot is complete, UTC; None if nothing is missing.

        Of the time before, the capture has what ended later and what was saved. Calls that started
        before may lack the calls inside them.
        """
        from quantum_pulse.reading import saves

        return saves.overwritten_until(self._source)

    def saves(self) -> pd.DataFrame:
        """Return what caused a flight recorder to save (``save_on=``).

        Returns
        -------
        pandas.DataFrame
            One row per sample that triggered it, the oldest first: ``time`` (when it was noticed, UTC; null
            in captures of older versions), ``operation``, ``duration_us``, ``error``, ``span`` and
            ``process``.

        See Also
        --------
        start : ``save_on`` says what triggers a flight recorder.

        Examples
        --------
        >>> qp.sample("engine").saves().columns.tolist()
        ['time', 'operation', 'duration_us', 'error', 'span', 'process']
        """
        from quantum_pulse.reading import saves

        return saves.frame(self._source)

    @cached_property
    def operations(self) -> RecordedOperations:
        """The operations by name, for code that does not have the recorded program.

        They are accepted wherever members of an enum are. ``capture.operations["Trading.SUBMIT"]`` and
        ``capture.operations.Trading.SUBMIT`` are the same, and ``capture.operations.Trading`` are those of a
        whole enum. It is a read-only mapping, sorted by name. A name that it does not have raises
        `UnknownOperationError` (a `KeyError`) or `AttributeError`, which names the nearest.
        """
        from quantum_pulse.facade.operations import RecordedOperations
        from quantum_pulse.reading import definitions

        return RecordedOperations(definitions.frame(self._source))

    @property
    def categories(self) -> dict[str, Category]:
        """The categories by name, as they were defined last."""
        from quantum_pulse.reading import definitions

        return definitions.categories(self._source)

    def __repr__(self) -> str:
        from quantum_pulse.reading import scan

        count = scan.whole(lambda: scan.count(self._source))
        restriction = self._source.within.described()
        several = self._source.captures
        what = f"{len(several)} captures in {self.path}" if several else self._source.name
        until = self.expired_until
        older = "" if until is None else f"; older ones than {until:%Y-%m-%d %H:%M:%S} UTC have expired"
        whole = self.overwritten_until
        older += "" if whole is None else f"; whole from {whole:%Y-%m-%d %H:%M:%S} UTC on"
        return visible(f"<Capture {what}: {count:,} samples{restriction and f' {restriction}'}{older}>")

    def _repr_html_(self) -> str:
        from quantum_pulse.facade import notes
        from quantum_pulse.reading import definitions
        from quantum_pulse.view import html, statistics

        priorities = definitions.priorities(self._source).operations
        table = statistics.table(self.stats(), self.categories, f"Capture {self._source.name}", priorities=priorities)
        return html.card([table]) + "".join(map(html.lines, notes.below(self)))


def _sources(captures: object, name: str) -> list[reader.Source]:
    """What is behind one capture or several, opened or named by their paths. Raises TypeError for anything else."""
    is_one = isinstance(captures, str | bytes | os.PathLike) or not isinstance(captures, Iterable)
    return [_source_of(one, name) for one in ([captures] if is_one else captures)]  # type: ignore[attr-defined]


def _source_of(capture: object, name: str) -> reader.Source:
    if isinstance(capture, Capture):
        return capture._source
    if isinstance(capture, str | os.PathLike):
        return opening.source(capture)
    raise TypeError(f"{name} must be a capture, as qp.open(path) gives it, or its path, not {capture!r}")
