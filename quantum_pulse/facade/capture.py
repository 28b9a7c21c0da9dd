"""`Capture`: what can be asked of a capture. Each method is documented here and done elsewhere."""

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
from quantum_pulse.reading import reader
from quantum_pulse.reading.selection import Moment, Operations, Recorded
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.explorer.widget import Explorer
    from quantum_pulse.export.exporting import Exported
    from quantum_pulse.facade.operations import RecordedOperations
    from quantum_pulse.reading.slowest import Slowest
    from quantum_pulse.results import Comparison, Contrast, Correlations
    from quantum_pulse.view.figures import Chart
    from quantum_pulse.view.flame import Flame
    from quantum_pulse.view.formats import Report

    #: A capture, opened or by its path.
    CaptureOrPath: TypeAlias = "Capture | str | os.PathLike[str]"
    Captures: TypeAlias = CaptureOrPath | Sequence[CaptureOrPath]


class Capture:
    """A capture directory, or several, as it stood when it was opened. Open it again to see what was written since."""

    def __init__(self, source: reader.Source) -> None:
        self._source = source
        #: The directory; of several captures the one that all of them are in.
        self.path: Path = source.path

    def stats(
        self,
        by: str | Iterable[str] = "operation",
        *,
        quantiles: float | Sequence[float] | None = None,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        approximate: bool = False,
        expected_interval_us: float | Mapping[Operation, float] | Mapping[Recorded, float] | None = None,
        include_empty: bool = False,
        min_count: int = 0,
        sort: str | None = None,
        top: int | None = None,
    ) -> pd.DataFrame:
        """Statistics of durations, exact, one row per operation: index (category, operation).

        Columns: count errors total_us mean_us std_us min_us p50_us p90_us p95_us p99_us p999_us max_us. Quantiles
        interpolate linearly as numpy's do; std_us is that of a sample, NaN for a single call. A sample of weight w
        counts as w calls. Memory does not grow with the number of samples, only with that of rows.

        - `by`: "operation", "category", "thread", "process", "task", "error", "capture", or several: the levels of the
          index.
        - `quantiles`: others, such as [0.5, 0.9999]; the columns are then p50_us and p9999_us.
        - `operations`, `start`, `end`: which samples, as in `samples`.
        - `approximate`: quantiles within 1 %, from what the parts say of themselves, mostly without reading samples.
          The other columns stay exact. Calls that started before `expired_until` count too, in rows by operation,
          category or capture: without `approximate`, or in other rows, only samples that are there do. `start` and
          `end` choose whole minutes of the time that has expired, or whole hours or days where that is what is kept.
        - `expected_interval_us`: corrects for coordinated omission. When calls were meant to be made so often, by one
          caller that waits for each, a slow call hides those that should have followed; they are added, as
          HdrHistogram does it. A number for all operations, or a dictionary of members.
        - `include_empty`: also operations that did not run, of those that were asked for or are known to the capture.
        - `min_count`: only rows of at least so many calls. `sort`: a column (largest first), a level of the index, or
          "priority". `top`: so many rows, by total_us unless sorted by something else.

        Raises ValueError that names the choices where one of them is none, TypeError for a string as an operation.
        """
        from quantum_pulse.reading import statistics

        return statistics.stats(
            self._source,
            by,
            quantiles=quantiles,
            operations=operations,
            start=start,
            end=end,
            approximate=approximate,
            expected_interval_us=expected_interval_us,
            include_empty=include_empty,
            min_count=min_count,
            sort=sort,
            top=top,
            with_expired=approximate,
        )

    def timeline(
        self,
        window: str | timedelta | float = "1s",
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        *,
        quantiles: float | Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Statistics of each operation in each window of time, with the system metrics of the window beside them.

        Index: (time, category, operation), `time` being when the window began, UTC; windows begin at whole multiples
        of their length. There is a row where the operation ran. Columns: those of `stats`, then those of `metrics`:
        growth (faults, switches, bytes, pauses) in the window, levels as their mean over it; added up over processes,
        but for metrics of the container and the machine. NaN where nothing was measured. `window` is a length of time
        such as "100ms", or seconds. ``timeline["p99_us"].unstack(["category", "operation"])`` has a column for each.

        Windows of whole minutes reach back before `expired_until`, where all columns but the quantiles stay exact, and
        these are within 1 %; metrics of that time are NaN. Other windows are only of samples that are there. Raises
        ValueError where a window would cut what is kept by the hour or day, and names those that do not.
        """
        from quantum_pulse.reading import timeline

        return timeline.timeline(self._source, window, operations, start, end, quantiles=quantiles, with_expired=True)

    def heatmap(
        self, operation: Operation | Recorded, *, start: Moment = None, end: Moment = None, columns: int = 120
    ) -> pd.DataFrame:
        """How many calls of `operation` fell into each bit of time and of duration.

        Index `duration_us`: lower edge of each row, in microseconds, ascending, eight rows an octave, without a gap
        from the shortest to the longest. Columns `time`: when each began, UTC, at most `columns` of equal length, from
        `start` or the first sample to `end` or the last. Values: calls.
        """
        from quantum_pulse.reading import timeline

        return timeline.heatmap(self._source, operation, start, end, columns)

    def tree(self, operations: Operations = None, start: Moment = None, end: Moment = None) -> pd.DataFrame:
        """Calls nested as they ran, one row for each path, depth first, what took longest first.

        Index `path`: operations from the outermost in, as in "Trading.ORDER > Trading.SUBMIT". Columns: category,
        operation (the last of the path), depth (0 outermost), count, total_us, self_us (what its children do not
        explain, never negative: children that ran at once count once), mean_us, max_us, concurrent (share of total_us
        in which a sibling of the same parent ran too, as tasks do) and detached (share of total_us outside the parent,
        as of a task that outlives the block that started it). self_us is NaN where more than 1 % of total_us is of
        calls during which samples were lost or overwritten, because these may have been their children.

        With `operations`, paths begin at these. `start` and `end` choose samples as in `samples`. A sample whose
        enclosing sample is not in the capture (still open, lost, or not recorded) counts as outermost.
        """
        from quantum_pulse.reading import nesting

        return nesting.tree(self._source, operations, start, end)

    def flame(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        *,
        by: Literal["total", "self"] = "total",
        baseline: CaptureOrPath | None = None,
    ) -> Flame:
        """The call tree as an icicle, which a notebook shows and a terminal prints.

        Parameters
        ----------
        operations, start, end
            Which calls, as in `tree`.
        by
            "total": from the outermost calls in, frames as wide as the calls take with all inside them. "self": from
            the operations whose own time it is, with those that called them below.
        baseline
            Another capture to compare with. Frames are then coloured by how much longer they take than if each
            outermost operation had been called as often in the baseline.

        Returns
        -------
        Flame
            `.table`, `.figure`, `.text(format)` and `.write(path)`, also as folded stacks and for speedscope.

        Raises
        ------
        ValueError
            `by` is neither of the two.

        Examples
        --------
        >>> flame = qp.sample("engine").flame()
        >>> flame.table["depth"].max() > 1
        True
        """
        from quantum_pulse.analysis import stacks
        from quantum_pulse.view.flame import Flame

        arguments.one_of(by, "by", stacks.KINDS)
        before = None if baseline is None else Capture(_source_of(baseline, "baseline"))
        return Flame(
            stacks.of_tree(self.tree(operations, start, end)),
            None if before is None else stacks.of_tree(before.tree(operations)),
            by,
            self.path.resolve().name,
        )

    def slowest(
        self, n: int = 10, operation: Operations = None, *, start: Moment = None, end: Moment = None
    ) -> Slowest:
        """The `n` slowest samples, of all operations or of one or several: `.table` has their rows, the slowest first.

        ``slowest[0]`` is the first with its surroundings: `sample`, `ancestors`, `children`, `meanwhile` (what else
        ran then, by process, thread and operation) and `events` (garbage collections and steps of the wall clock).
        """
        from quantum_pulse.reading import slowest

        return slowest.slowest(self._source, n, operation, start, end)

    def budgets(self, *, check: bool | None = True, alpha: float = 0.05) -> pd.DataFrame:
        """Whether operations keep the budgets that ``op(budget_us=, budget_quantile=)`` gave them, the worst first.

        Index: operation; only those that have a budget. Columns: budget_us, count, over (calls above the budget), share
        (over / count), open_over (calls that have not ended and are above the budget already, which are in no other
        column), and of the quantile that the budget is for: quantile, value_us, ci_low_us and ci_high_us (its
        interval, each row for itself), q_value, and verdict: "kept", "missed", "inconclusive", or "too_few" calls to
        show that it is kept. At most a share `alpha` of "kept" and "missed" is wrong. That samples depend on each other
        is allowed for, and what varies between runs where several captures were opened; see `analysis.check_budgets`.

        With ``check=False`` only the first six columns, in one pass and in memory that does not grow; to check, the
        samples of an operation are in memory at once. ``check=None`` is what tables and the explorer show: checked,
        unless that would take long, which is with more than 20 million samples of operations that have a budget.
        Raises ValueError for alpha out of range.
        """
        from quantum_pulse.view import budgets

        return budgets.of(self._source, check=check, alpha=alpha)

    def validate(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        *,
        expected_only: bool = False,
    ) -> pd.DataFrame:
        """Durations that cannot be right, and those that stand apart; the operation with most of the first comes first.

        Index: operation. Columns: count; expect_low_us and expect_high_us, from ``op(expect_us=(low, high))``, NaN
        where an operation does not say; below and above, the calls outside of that, and share, theirs of all;
        fence_low_us and fence_high_us, outside of which a call is an outlier; outliers, and outlier_share.

        Outliers are found on a logarithmic scale, 3.5 standard deviations from the median, each side with a spread of
        its own, taken from the median and the quartile of that side (Kimber 1990; Iglewicz and Hoaglin 1993). Of
        lognormal durations that is 0.05 %, of what has a heavier tail more. A spread of less than 10 % counts as 10 %;
        with fewer than 20 calls there are no fences (NaN) and no outliers. Samples are chosen as in `samples`;
        `expected_only` leaves out operations that do not say what is expected.
        """
        from quantum_pulse.reading import validation

        return validation.validate(self._source, operations, start, end, expected_only=expected_only)

    def compare(
        self,
        baseline: Captures,
        *,
        also: Captures = (),
        operations: Operations = None,
        quantiles: Sequence[float] = (0.5, 0.95, 0.99),
        min_effect: float = 0.05,
        alpha: float = 0.05,
        skip_warmup: bool = True,
    ) -> Comparison:
        """Did it get slower? This capture against `baseline`, one or several; `also`: further captures of this side.
        Each is a capture or its path. What was opened as several captures is several runs.

        With several runs a side, what varies from run to run is seen and allowed for; with one run each the result
        says that it was not. See `analysis.compare_samples` for the method, `min_effect` (the smallest change that
        matters, a share) and `alpha` (the share of false reports accepted). The first samples of an operation that are
        still settling are set aside and counted in `.warmup`, unless `skip_warmup` is False. What had not ended on this
        side, of any operation, is in none of the figures; it is in `.unfinished`, is shown first, and is among the
        `.failures()` where a process was killed.

        The result has `.table`, `.regressions`, `.improvements`, `.verdict`, and shows itself. What needs the samples
        once more is worked out when it is first asked for: `.groups` (what got slower together), `.shifts` (costs that
        moved from an operation to one inside of it, which are no regressions), `.decomposition` (calls, mix,
        durations), `.slowest_operations()`, `.improvement_report()`. Raises TypeError for what is no capture,
        ValueError for one that is named twice on a side, since a run is one piece of evidence, and for arguments out of
        range.
        """
        from quantum_pulse.facade import comparing

        return comparing.compare(
            _sources(baseline, "baseline"),
            [self._source, *_sources(also, "also")],
            operations,
            quantiles=quantiles,
            min_effect=min_effect,
            alpha=alpha,
            skip_warmup=skip_warmup,
        )

    def correlate(
        self,
        window: str | timedelta | float | None = None,
        *,
        operations: Operations = None,
        quantile: float = 0.95,
        alpha: float = 0.05,
    ) -> Correlations:
        """Which metrics, garbage collections and other operations move with the latency of which operation.

        In each `window` (by default about a thousandth of the capture, at least the interval of the metrics) the
        `quantile` of an operation is compared with the metrics; see `analysis.correlate` for the method. The result has
        `.table` (a row per operation and metric: operation, metric, lag_s, rho, ci_low, ci_high, p_value, q_value,
        n_effective; q-values over the whole table), `.found`, `.recommendations`, and `.not_applicable` (rules that
        recommend nothing, and why). `alpha` is the share of false findings accepted. Where there is too little to
        compare the figures are NaN. Raises ValueError for arguments out of range.
        """
        from quantum_pulse.facade import correlating

        return correlating.correlate(self._source, window, operations, quantile=quantile, alpha=alpha)

    def contrast(
        self,
        start: Moment,
        end: Moment,
        *,
        operations: Operations = None,
        chosen_by: Operations = None,
        quantile: float = 0.95,
        alpha: float = 0.05,
    ) -> Contrast:
        """What was different from `start` to `end`, against the time around it: which operations and which metrics.

        Around is twice the length before and twice after; what one side is short of, as at an edge of the capture, the
        other has more of. Both are cut into windows, a twentieth of the stretch long (for metrics at least their
        interval), in which the `quantile` of each operation, its calls and the metrics are compared; see
        `analysis.contrasts` for the method. The result has `.table` (what, name, measure, inside, around, change,
        shift, ci_low, ci_high, p_value, q_value; the surest first, q-values over the whole table) and `.found`; it
        shows itself. `alpha` is the share of false findings accepted.

        A stretch that was chosen because an operation was slow in it proves nothing about that operation, nor about
        those that contain it: name it as `chosen_by`, and it is shown but not tested. Moments are given as in
        `samples`. Raises ValueError where they leave nothing, TypeError for a string as an operation.
        """
        from quantum_pulse.facade import contrasting

        return contrasting.contrast(
            self._source, start, end, operations=operations, chosen_by=chosen_by, quantile=quantile, alpha=alpha
        )

    def overhead(self, operations: Operations = None, start: Moment = None, end: Moment = None) -> pd.DataFrame:
        """What share of each operation's time the recording itself took, as far as that can be known.

        Index: operation. Columns: count; nested, the samples inside of these at any depth; total_us; own_us, our part
        of total_us; share, own_us of total_us, at most 1. Each call has the cost of a sample that lies between its two
        readings of the clock, and for each nested sample the whole cost. Both were measured when the recording began
        (`overhead` in `processes/*.json`; of several recordings the median counts); NaN where they were not. That is in
        a loop with warm caches, so take it for a lower bound. Calls of operations with ``sample_every`` that were not
        recorded cost less than is counted here. With `operations`, paths begin at these, as in `tree`. What was
        measured stands in ``.attrs["recordings"]``, for each recording.
        """
        from quantum_pulse.reading import overhead

        return overhead.overhead(self._source, operations, start, end)

    def plot(self) -> Chart:
        """Latency of each operation as a matplotlib Figure: median, p99 and extremes on a log scale, budgets marked.

        Categories and operations of priority 1 come first, then what took most time.
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
        format: Literal["html", "markdown", "text"] | None = None,  # noqa: A002 - as on the command line
    ) -> Report:
        """All that is to be seen in a capture, as one document, written to the file `path` if one is named.

        HTML is one file that loads nothing and drills down from the operations to single samples, without a kernel;
        Markdown and text are its short form. What has priority 1 comes first, then what took most time. `format` is
        by default that of the file's ending (.html, .md, .txt). `baseline` is another capture to compare with, `title`
        replaces the name of the capture's folder. Raises ValueError for an unknown format or ending, OSError where the
        file cannot be written.
        """
        from quantum_pulse.facade import reporting
        from quantum_pulse.view import formats, report

        if format is not None:
            formats.checked(format)
        elif path is not None:
            formats.format_of(arguments.path(path, "path", "report.html"))
        other = None if baseline is None else _source_of(baseline, "baseline")
        made = formats.Report(report.build(reporting.gather(self._source, other), title))
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
        overwrite: bool = False,
    ) -> Exported:
        """Write the capture, or some of it, for other tools, and say what was written: `rows`, `bytes`.

        `format` is by default that of the ending of `path`; text is compressed if that ends in .gz. `docs/export.md`
        says what stands in each.

        - "parquet", "csv", "arrow": the raw samples, or another `table`. "stats" is what `stats()` says. They come
          batch by batch, about in the order of time, as those of `iter_samples`.
        - "json": statistics, budgets, losses and what was recorded where, for scripts.
        - "trace" (.trace.json): each sample as an event of Chrome's trace format, for Perfetto and its like.
        - "openmetrics" (.prom), "prometheus": histograms of durations for Prometheus, from what the parts say of
          themselves, in its current format or in the classic one, which the node exporter reads.

        `operations`, `start`, `end` choose samples as in `samples`, metrics and events by time alone. `path` may be an
        open binary file too. The file is there whole or not at all; one that exists is replaced only with `overwrite`.
        Raises ValueError that names the choices where one of them is none, TypeError for what is neither a path nor a
        binary file, FileExistsError, and OSError where it cannot be written.
        """
        from quantum_pulse.export import exporting

        return exporting.export(
            self._source, path, format, table=table, operations=operations, start=start, end=end, overwrite=overwrite
        )

    def explore(self, baseline: CaptureOrPath | None = None) -> Explorer:
        """An application in the notebook: from all operations to one, to a stretch of its time, to a single call.

        It stands at once, from what the parts say of themselves, and becomes exact as the samples are read; it never
        changes the capture. `baseline` is another capture to compare with. A notebook that is saved keeps a picture of
        the first page and of the operation that matters most. Run the cell again, and it goes on where you were.
        """
        from quantum_pulse.explorer.model import ExplorerModel
        from quantum_pulse.explorer.widget import Explorer
        from quantum_pulse.facade import reporting

        other = None if baseline is None else _source_of(baseline, "baseline")
        return Explorer(ExplorerModel(self._source, other, lambda: reporting.gather(self._source, other, detailed=0)))

    def samples(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Raw samples in the order in which they started, one row each; columns as in `docs/format.md`.

        `operations`: a member, several, or a whole enum; or without these what `capture.operations` has. `start` and
        `end` choose samples that started in [start, end): a timestamp or its text (UTC unless it says otherwise), a
        time of day as reports print it ("18:03:24.123"), or a length of time after the first sample: "1.5s", a
        timedelta, or a number of seconds. `columns`: names, in the order wanted; of several captures there is also
        `capture`. Raises TypeError for a string where an operation belongs, and ValueError for an unknown column, for
        what is no time or could be two, and for an `end` before `start`.
        """
        from quantum_pulse.reading import tables

        return tables.samples(self._source, operations, start, end, columns)

    def iter_samples(
        self,
        operations: Operations = None,
        start: Moment = None,
        end: Moment = None,
        columns: Sequence[str] | None = None,
        *,
        rows: int = 1_000_000,
    ) -> Iterator[pd.DataFrame]:
        """`samples` in DataFrames of `rows` rows, one after the other, for what does not fit into memory.

        They come about in the order of time, and each is sorted by it. A part that turns out to be damaged on the way
        is left from there on, and is in `losses()`.
        """
        from quantum_pulse.reading import tables

        return tables.iter_samples(self._source, operations, start, end, columns, rows)

    def definitions(self) -> pd.DataFrame:
        """What the operations are: index operation, columns category, description, priority, budget_us, changed.

        Of operations that were defined in several ways, in one capture or between several, the newest counts; `changed`
        says what it was before, as in "budget_us: 100, category: Input". Empty text where nothing changed. When several
        captures are read as one, all samples of an operation count for its newest category.
        """
        from quantum_pulse.reading import definitions

        return definitions.frame(self._source)

    def metrics(self) -> pd.DataFrame:
        """System metrics over the same time, one row an interval, ordered by `time`; columns as in `docs/format.md`."""
        from quantum_pulse.reading import tables

        return tables.whole(self._source, "metrics", "time")

    def events(self) -> pd.DataFrame:
        """Garbage collections and steps of the wall clock, ordered by `start`; columns as in `docs/format.md`."""
        from quantum_pulse.reading import tables

        return tables.whole(self._source, "events", "start")

    def losses(self) -> pd.DataFrame:
        """What is missing: operation, thread, start, end, count, cause; what is not known is null. Normally empty.

        A part that cannot be read is found when the capture is opened or, if only its data is damaged, when they are
        read: ask after `stats()` or `samples()`.
        """
        return reader.loss_frame(self._source)

    def unfinished(self) -> pd.DataFrame:
        """What the program was in the middle of: a row for each block that was entered and had not ended, oldest first.

        A call that hangs has no sample, but it is here. Columns: operation, category; `state`: "running" in a process
        that goes on, "stopped" where the recording ended before the block, "killed" where the process did; `start`,
        UTC; `elapsed_us` until the capture was opened, the recording stopped or, of a process that was killed, the last
        that is known of it, so that it is at least that; thread, task, span, parent, process. `start` and `elapsed_us`
        are null where a block had only just begun.
        """
        from quantum_pulse.reading import unfinished

        return unfinished.frame(self._source)

    @cached_property
    def expired_until(self) -> pd.Timestamp | None:
        """The moment from which on samples are there, UTC; None where none has expired.

        Of the time before, ``stats(approximate=True)`` and `timeline` in windows of whole minutes still tell, from
        rollups. Everything else is of the samples that are there: some may be older than this moment, as of another
        host.
        """
        from quantum_pulse.reading import expired

        return expired.until(self._source)

    @cached_property
    def overwritten_until(self) -> pd.Timestamp | None:
        """The moment from which on the samples of a flight recorder, or of its snapshot, are whole; None where nothing
        was overwritten or left out.

        Of the time before, what ended later and what was saved are there. Calls that began before may lack the calls
        inside them.
        """
        from quantum_pulse.reading import saves

        return saves.overwritten_until(self._source)

    def saves(self) -> pd.DataFrame:
        """For what a flight recorder saved (``save_on=``), a row for each sample that set it off, oldest first.

        Columns: time (when it was noticed, UTC; null in captures of older versions), operation, duration_us, error,
        span, process.
        """
        from quantum_pulse.reading import saves

        return saves.frame(self._source)

    @cached_property
    def operations(self) -> RecordedOperations:
        """The operations by name, for whoever has a capture and not its program: accepted wherever members are.

        ``capture.operations["Trading.SUBMIT"]`` and ``capture.operations.Trading.SUBMIT`` are one,
        ``capture.operations.Trading`` those of a whole enum. A read-only mapping, sorted by name. A name that is not
        among them is an UnknownOperationError (a KeyError) or an AttributeError that says which is nearest.
        """
        from quantum_pulse.facade.operations import RecordedOperations
        from quantum_pulse.reading import definitions

        return RecordedOperations(definitions.frame(self._source))

    @property
    def categories(self) -> dict[str, Category]:
        """Categories by name, as they were defined last."""
        from quantum_pulse.reading import definitions

        return definitions.categories(self._source)

    def __repr__(self) -> str:
        count = sum(part.rows for part in self._source.parts["samples"])
        several = self._source.captures
        what = f"{len(several)} captures in {self.path}" if several else str(self.path)
        until = self.expired_until
        older = "" if until is None else f"; older ones than {until:%Y-%m-%d %H:%M:%S} UTC have expired"
        whole = self.overwritten_until
        older += "" if whole is None else f"; whole from {whole:%Y-%m-%d %H:%M:%S} UTC on"
        return visible(f"<Capture {what}: {count:,} samples{older}>")

    def _repr_html_(self) -> str:
        from quantum_pulse.reading import definitions, expired, saves
        from quantum_pulse.view import html, text, unfinished

        table = html.stats_table(
            self.stats(),
            self.categories,
            caption=f"Capture {self.path}",
            priorities=definitions.priorities(self._source).operations,
        )
        below = (
            unfinished.lines(unfinished.of(self._source)),
            text.budget_lines(self.budgets(check=None)),
            text.validation_lines(self.validate(expected_only=True)),
            expired.sentence(self._source),
            saves.sentence(self._source),
        )
        return table + "".join(map(html.lines, below))


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
