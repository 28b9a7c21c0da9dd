"""Results of runs over time: how the newest run compares with those before it, and when operations changed."""

from __future__ import annotations

import datetime as dt
import errno
import json
import math
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arguments, files
from quantum_pulse.errors import CaptureError
from quantum_pulse.reading.criteria import EVERYTHING, Selection

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.analysis import Comparison
    from quantum_pulse.analysis.comparison import RunVariation
    from quantum_pulse.facade import Capture
    from quantum_pulse.reading.selection import Moment, Where

FILE: Final = "history.jsonl"
#: Key of a line: what was set aside of an operation, and the quantiles without that. Earlier versions have none.
_WARMUP: Final = "warmup"
#: Key of a line: the names of its recordings, which distinguish runs. Earlier versions have none.
_RECORDINGS: Final = "recordings"
#: Key of a line: when its calls started, in a run that is a part of a recording.
_INTERVAL: Final = "interval_ns"
QUANTILES: Final = {0.5: "p50_us", 0.95: "p95_us", 0.99: "p99_us"}
#: Runs that `check` looks back, by default.
RECENT: Final = 20


class History:
    """A directory that keeps a few figures of each run, to compare new runs with.

    It keeps one line of JSON per run in ``history.jsonl``: label, time, capture, names of the
    recordings, and the count and the quantiles of each operation, with and without warm-up. It is
    small enough to be kept in a repository, where it merges as any text does.

    Parameters
    ----------
    path : path-like
        The directory. `add` creates it if it does not exist.

    Attributes
    ----------
    path : pathlib.Path
        The directory.

    Raises
    ------
    TypeError
        If `path` is not a path.
    ValueError
        If `path` is empty, or cannot be a path.

    See Also
    --------
    Capture.compare : Compare two captures sample by sample.

    Examples
    --------
    In CI, after each build:

    >>> history = qp.History("baselines/")
    >>> capture = qp.sample("engine")
    >>> history.add(capture, label="4f2a91c")
    >>> found = history.check(qp.sample("slow_exchange"))
    >>> failures = found.failures()  # regressions, missed budgets, killed calls
    >>> history
    <History baselines: 1 runs>
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = arguments.path(path, "path", "baselines/")

    def add(
        self,
        capture: Capture,
        *,
        label: str | None = None,
        start: Moment = None,
        end: Moment = None,
        where: Where = None,
    ) -> None:
        """Add a run.

        Parameters
        ----------
        capture : Capture
            The run.
        label : str, optional
            A name for the run, such as a commit. By default the name of the capture.
        start, end : moment, optional
            Add calls that started in ``[start, end)`` only, as in `Capture.samples`. Other times of the same
            capture are runs of their own.
        where : mapping, optional
            Add calls with these attributes only, as in `Capture.samples`.

        Raises
        ------
        ValueError
            If the capture, or one of its recordings, is in the history already at that time: a run counts once.
        CaptureError
            If a line of the history is invalid.
        OSError
            If the history cannot be written.

        Notes
        -----
        Operations are read into memory together as long as they have at most eight million samples,
        and at least one at a time.

        Examples
        --------
        >>> history = qp.History("baselines/")
        >>> history.add(qp.sample("engine"), label="4f2a91c")
        >>> history.add(qp.sample("engine"))
        Traceback (most recent call last):
        ...
        ValueError: ...engine is already in baselines, as '4f2a91c'; a run counts once
        """
        recordings = _recordings(capture)
        capture = capture.between(start, end) if start is not None or end is not None else capture
        capture = capture if where is None else capture.where(where)
        within = capture._source.within
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path)) from error
        for entry in self._entries():
            is_same_time = within.shares(Selection(None, *(entry.get(_INTERVAL) or (None, None))))
            if is_same_time and not recordings.isdisjoint(entry.get(_RECORDINGS, ())):
                raise ValueError(f"{capture.path} is already in {self.path}, as {entry['label']!r}; a run counts once")
        figures, warmup = _figures(capture), _warmup(capture)
        entry = {
            "label": capture.path.name if label is None else str(label),
            "added": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "capture": capture.path.name,
            _RECORDINGS: sorted(recordings),
            **({_INTERVAL: [within.start_ns, within.end_ns]} if within.times != EVERYTHING else {}),
            "operations": figures,
            _WARMUP: warmup,
        }
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        # One write to a file that is only appended to, so that two runs at once do not mix their lines.
        descriptor = os.open(self.path / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode("utf-8", "backslashreplace"))
        finally:
            os.close(descriptor)

    def runs(self, *, skip_warmup: bool = False) -> pd.DataFrame:
        """Return the figures of all runs.

        Parameters
        ----------
        skip_warmup : bool, default False
            Whether the quantiles leave out the first calls, which were still settling. Runs that an
            earlier version added know nothing of warm-up; of these, all calls count.

        Returns
        -------
        pandas.DataFrame
            One row per run and operation, the oldest run first: ``run`` (counted from 0), ``label``,
            ``added`` (UTC), ``operation``, ``count`` (all calls), and ``p50_us``, ``p95_us`` and
            ``p99_us``, in microseconds.

        Raises
        ------
        CaptureError
            If a line of the history is invalid.

        Examples
        --------
        >>> history = qp.History("baselines/")
        >>> history.add(qp.sample("engine"), label="4f2a91c")
        >>> runs = history.runs()
        >>> runs.loc[runs["operation"] == "Engine.ORDER", ["label", "count"]].values.tolist()
        [['4f2a91c', ...]]
        """
        return _frame(self._entries(), skip_warmup=skip_warmup)

    def check(
        self,
        capture: Capture,
        *,
        recent: int = RECENT,
        min_effect: float = 0.05,
        alpha: float = 0.05,
        skip_warmup: bool = True,
    ) -> Comparison:
        """Compare a capture with the last runs.

        Parameters
        ----------
        capture : Capture
            The run to judge.
        recent : int, default 20
            How many of the last runs to compare with.
        min_effect : float, default 0.05
            The smallest relative change that matters.
        alpha : float, default 0.05
            The false discovery rate that is accepted over the table. It must be above 0 and below
            0.5.
        skip_warmup : bool, default True
            Whether to leave out the first calls that were still settling, on both sides, and count
            them in `Comparison.warmup`. If an earlier version added one of the runs, all calls count
            on both sides.

        Returns
        -------
        Comparison
            As `Capture.compare`. Its `budgets` are those of `capture`, over all calls, and
            `unfinished` are its open calls; `failures` says why a build should fail.

        Raises
        ------
        CaptureError
            If the history is empty.
        ValueError
            If a number is out of range.

        See Also
        --------
        Comparison.failures : List the reasons for which a build should fail.

        Notes
        -----
        The unit is the run. A quantile counts as changed if its logarithm lies outside Student's
        prediction interval for one more run like those of the past, by more than `min_effect`, with
        Benjamini & Hochberg's (1995) correction over the table. It takes at least three runs that have
        the operation; with fewer the verdict is "too_few".

        Examples
        --------
        >>> history = qp.History("baselines/")
        >>> history.add(qp.sample("engine"), label="4f2a91c")
        >>> history.check(qp.sample("slow_exchange")).verdict
        'too_few'
        """
        import pandas as pd

        from quantum_pulse.analysis import Comparison, compared, comparison, history
        from quantum_pulse.diagnosis import open_calls

        comparison.checked(list(QUANTILES), min_effect, alpha)
        recent = arguments.whole(recent, "recent", 1)
        entries = [entry for entry in self._entries() if entry["operations"]][-recent:]
        if not entries:
            raise CaptureError(f"{self.path} has no runs to compare with; History.add(capture) adds one")
        skip_warmup = skip_warmup and all(_WARMUP in entry for entry in entries)
        past, figures = _frame(entries, skip_warmup=skip_warmup), _figures(capture)
        warmup = []
        if skip_warmup:
            own = _warmup(capture)
            figures = {name: values | own.get(name, {}) for name, values in figures.items()}
            sides = [*((0, number, entry[_WARMUP]) for number, entry in enumerate(entries)), (1, 0, own)]
            warmup = [
                (compared.SIDES[side], run, name, int(row["set_aside"]), int(row["samples"]), row["change"])
                for side, run, found in sides
                for name, row in sorted(found.items())
            ]
        series = {
            (name, level): (
                past.loc[past["operation"] == name, column].tolist(),
                figures[name][column] if name in figures else math.nan,
            )
            for name in sorted({*figures, *past["operation"]})
            for level, column in QUANTILES.items()
        }
        rows = history.check(series, min_effect=min_effect, alpha=alpha)
        table = pd.DataFrame(rows, columns=list(compared.COLUMNS))
        table = table.astype(dict.fromkeys(compared.COLUMNS[1:-1], "float64"))
        return Comparison(
            table,
            min_effect,
            alpha,
            len(entries),
            1,
            warmup=compared.warmup_frame(warmup),
            budgets=capture.budgets(alpha=alpha),
            unfinished=open_calls.of_side([capture._source]),
        )

    def variation(self, *, recent: int = RECENT, skip_warmup: bool = True) -> dict[tuple[str, float], RunVariation]:
        """Return how much operations vary from run to run, for `Capture.compare`.

        Parameters
        ----------
        recent : int, default 20
            How many runs to use, the newest.
        skip_warmup : bool, default True
            Whether to leave out the first calls that were still settling, if all runs know of them.

        Returns
        -------
        dict of (str, float) to RunVariation
            For operations and quantiles that at least three runs have, the variance of the logarithm
            and its degrees of freedom.

        Raises
        ------
        CaptureError
            If a line of the history is invalid.
        ValueError
            If `recent` is not a whole number of at least 1.

        Examples
        --------
        >>> history = qp.History("baselines/")
        >>> history.variation()
        {}
        """
        from quantum_pulse.analysis import history

        recent = arguments.whole(recent, "recent", 1)
        entries = [entry for entry in self._entries() if entry["operations"]][-recent:]
        past = _frame(entries, skip_warmup=skip_warmup and all(_WARMUP in entry for entry in entries))
        figures = {
            (str(name), level): runs[column].tolist()
            for name, runs in past.groupby("operation", sort=False)
            for level, column in QUANTILES.items()
        }
        return history.variation(figures)

    def change_points(
        self,
        *,
        quantiles: Sequence[float] = tuple(QUANTILES),
        alpha: float = 0.02,
        sensitivity: str = "medium",
        skip_warmup: bool = True,
    ) -> pd.DataFrame:
        """Find the runs from which on operations changed, and operations that drift.

        Parameters
        ----------
        quantiles : sequence of float, default (0.5, 0.95, 0.99)
            The quantiles to search, of those that a history keeps.
        alpha : float, default 0.02
            Probability of a false report, for each operation and quantile. It must be above 0 and
            below 0.5.
        sensitivity : {"low", "medium", "high"}, default "medium"
            Whether small steps or slow wandering are likelier; see `analysis.change_points`.
        skip_warmup : bool, default True
            Whether to leave out the first calls that were still settling, if all runs know of them.

        Returns
        -------
        pandas.DataFrame
            One row per step or drift, the newest last: ``operation``, ``quantile``, ``kind`` ("step" or
            "drift"), ``label`` (of the first run after the step, or of the drift), ``before_us``,
            ``after_us``, ``change`` (a share) and ``p_value``.

        Raises
        ------
        ValueError
            If a quantile is not kept, `alpha` is out of range, or `sensitivity` is another word.
        CaptureError
            If a line of the history is invalid.

        See Also
        --------
        analysis.change_points : The method.

        Examples
        --------
        >>> history = qp.History("baselines/")
        >>> history.change_points()
        Empty DataFrame
        Columns: [operation, quantile, kind, label, before_us, after_us, change, p_value]
        Index: []
        """
        import pandas as pd

        from quantum_pulse.analysis.changes import steps_and_drift

        for level in quantiles:
            if level not in QUANTILES:
                raise ValueError(f"quantiles must be of {', '.join(map(str, QUANTILES))}, not {level!r}")
        found: list[tuple[int, tuple[Any, ...]]] = []
        entries = self._entries()
        known = _frame(entries, skip_warmup=skip_warmup and all(_WARMUP in entry for entry in entries))
        for name, runs in known.groupby("operation", sort=False):
            for level in quantiles:
                values = runs[QUANTILES[level]].to_numpy()
                steps, drift = steps_and_drift(values, alpha=alpha, sensitivity=sensitivity)
                changes = [("step", step.index, step.before, step.after, step.p_value) for step in steps]
                changes += [("drift", 0, drift.start, drift.end, drift.p_value)] if drift else []
                for kind, index, before, after, p_value in changes:
                    first = runs.iloc[index]
                    change = after / before - 1 if before else math.nan
                    found.append(
                        (int(first["run"]), (name, level, kind, first["label"], before, after, change, p_value))
                    )
        found.sort(key=lambda pair: pair[0])
        columns = ["operation", "quantile", "kind", "label", "before_us", "after_us", "change", "p_value"]
        return pd.DataFrame([row for _, row in found], columns=columns)

    def __repr__(self) -> str:
        return f"<History {self.path}: {len(self._entries())} runs>"

    def _entries(self) -> list[dict[str, Any]]:
        try:
            lines = (self.path / FILE).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise CaptureError(f"{self.path / FILE} cannot be read: {files.reason(error)}") from error
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                dt.datetime.fromisoformat(entry["added"])
                settled = entry.get(_WARMUP, {}).values()
                is_run = all(map(_is_run, entry["operations"].values())) and all(
                    isinstance(one, dict) for one in settled
                )
                recordings = entry.get(_RECORDINGS, [])
                are_names = isinstance(recordings, list) and all(isinstance(name, str) for name in recordings)
                if "label" not in entry or not is_run or not are_names or not _is_interval(entry.get(_INTERVAL)):
                    raise TypeError
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise CaptureError(f"{self.path / FILE}, line {number}: this is not a run; delete the line") from None
            entries.append(entry)
        return entries


def _is_interval(given: object) -> bool:
    """Whether an entry says when its calls started, in Unix ns, [from, to), where None is no bound; or nothing."""
    are_two = isinstance(given, list) and len(given) == 2
    return given is None or (are_two and all(one is None or isinstance(one, int) for one in given))  # type: ignore[attr-defined]


def _is_run(figures: dict[str, Any]) -> bool:
    """Whether an entry says of an operation all that `_figures` does."""
    return all(isinstance(figures[name], int | float) for name in ("count", *QUANTILES.values()))


def _checked(capture: Capture) -> Capture:
    """The capture. Raises TypeError if it is not a `Capture`."""
    from quantum_pulse.facade import Capture

    if not isinstance(capture, Capture):
        raise TypeError(f"a history is made of captures, as qp.open(path) gives them, not of {capture!r}")
    return capture


def _recordings(capture: Capture) -> set[str]:
    """The names of its recordings, which are the same whether it was opened alone, with others, or from elsewhere."""
    each = [own for _, own in _checked(capture)._source.by_capture()]
    # Of a process that was killed its ring may be all that there is.
    return {name for own in each for name in (*own.recordings, *own.open)}


def _figures(capture: Capture) -> dict[str, dict[str, float]]:
    stats = _checked(capture).stats(quantiles=list(QUANTILES))
    names = stats.index.get_level_values("operation")
    return {
        str(name): {"count": int(row["count"]), **{key: round(float(row[key]), 4) for key in QUANTILES.values()}}
        for name, row in zip(names, stats.to_dict("records"), strict=True)
    }


def _warmup(capture: Capture) -> dict[str, dict[str, float]]:
    """Of each operation whose first samples are still settling: what `analysis.history.settled` says."""
    from quantum_pulse.analysis import history
    from quantum_pulse.reading import durations

    source = capture._source
    names = list(dict.fromkeys(str(definition["name"]) for definition in source.definitions()))
    levels = {column: level for level, column in QUANTILES.items()}
    each = ((name, history.settled(runs, levels)) for name, runs in durations.of_each(source, names))
    return {
        name: {key: value if isinstance(value, int) else round(value, 4) for key, value in found.items()}
        for name, found in each
        if found is not None
    }


def _frame(entries: Sequence[dict[str, Any]], *, skip_warmup: bool) -> pd.DataFrame:
    """As `History.runs`."""
    import pandas as pd

    rows = []
    for number, entry in enumerate(entries):
        settled = entry.get(_WARMUP, {}) if skip_warmup else {}
        for name, figures in entry["operations"].items():
            row = {"run": number, "label": entry["label"], "added": entry["added"], "operation": name}
            rows.append(row | figures | settled.get(name, {}))
    frame = pd.DataFrame(rows, columns=["run", "label", "added", "operation", "count", *QUANTILES.values()])
    frame["added"] = pd.to_datetime(frame["added"], utc=True)
    return frame
