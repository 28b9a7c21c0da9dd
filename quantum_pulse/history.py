"""Results of runs over time: is the newest one like those before it, and when did things change?"""

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
from quantum_pulse.results import Comparison

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.facade import Capture

FILE: Final = "history.jsonl"
#: Key of a line: what was set aside of an operation, and the quantiles without that. Earlier versions have none.
_WARMUP: Final = "warmup"
#: Key of a line: the names of its recordings, which tell runs apart. Earlier versions have none.
_RECORDINGS: Final = "recordings"
QUANTILES: Final = {0.5: "p50_us", 0.95: "p95_us", 0.99: "p99_us"}
#: Runs that `check` looks back, unless told otherwise.
RECENT: Final = 20


class History:
    """A directory that keeps a few figures of each run: ``qp.History("baselines/")``.

    One line of JSON a run in `history.jsonl`: label, time, capture, the names of its recordings, for each operation its
    count and quantiles, and these once more without the warm-up where there was one. Small enough to stand in a
    repository, and merged there like any text. In CI, after each build:

    ```python
    history, capture = qp.History("baselines/"), qp.open("captures/run")
    found = history.check(capture)
    print(found.to_markdown())
    if found.failures():  # what regressed, budgets that are missed, calls that had not ended
        sys.exit(1)
    history.add(capture, label=commit)
    ```
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = arguments.path(path, "path", "baselines/")

    def add(self, capture: Capture, *, label: str | None = None) -> None:
        """Add a run. `label` tells it apart, such as a commit; by default the capture's name.

        As many operations at once are in memory as have eight million samples together, at least one.

        Raises ValueError for a capture that is in the history already, or has a recording that is, since a run is one
        piece of evidence, CaptureError where a line makes no sense, and OSError.
        """
        recordings = _recordings(capture)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path)) from error
        for entry in self._entries():
            if not recordings.isdisjoint(entry.get(_RECORDINGS, ())):
                raise ValueError(f"{capture.path} is already in {self.path}, as {entry['label']!r}; a run counts once")
        figures, warmup = _figures(capture), _warmup(capture)
        entry = {
            "label": capture.path.name if label is None else str(label),
            "added": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "capture": capture.path.name,
            _RECORDINGS: sorted(recordings),
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
        """A row per run and operation, oldest first: run, label, added, operation, count, p50_us, p95_us, p99_us.

        `count` is of all calls. With `skip_warmup` the quantiles are of the calls that are left when the first ones
        that were still settling are set aside; of runs that an earlier version added, which did not look, of all calls.

        Raises CaptureError where a line makes no sense.
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
        """`capture` against the last `recent` runs: a Comparison as that of `Capture.compare`, with `.budgets`.

        The unit is the run: the logarithm of a quantile must lie outside of what one more run of the past would show,
        by Student's prediction interval, beyond `min_effect`, with Benjamini & Hochberg's correction over the table.
        At least three runs that have the operation are needed ("too_few" else).

        The first samples of an operation that are still settling are set aside on both sides and counted in `.warmup`,
        unless `skip_warmup` is False, or some of those runs was added by an earlier version, which did not look for
        them: then all calls count on both sides. `.budgets` is what `Capture.budgets` says of `capture`, of all calls;
        `.unfinished` is what had not ended in it; `.failures()` says what a build should fail on.

        Raises CaptureError for an empty history, ValueError for arguments out of range.
        """
        import pandas as pd

        from quantum_pulse.analysis import comparison, history
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
                (comparison.SIDES[side], run, name, int(row["set_aside"]), int(row["samples"]), row["change"])
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
        table = pd.DataFrame(rows, columns=list(comparison.COLUMNS))
        table = table.astype(dict.fromkeys(comparison.COLUMNS[1:-1], "float64"))
        return Comparison(
            table,
            min_effect,
            alpha,
            len(entries),
            1,
            warmup=comparison.warmup_frame(warmup),
            budgets=capture.budgets(alpha=alpha),
            unfinished=open_calls.of_side([capture._source]),
        )

    def change_points(
        self, *, quantiles: Sequence[float] = tuple(QUANTILES), alpha: float = 0.02, skip_warmup: bool = True
    ) -> pd.DataFrame:
        """When operations changed for good, one row a step, the newest last; `analysis.change_points` finds them.

        Columns: operation, quantile, label (of the first run after it), before_us, after_us, change (a share), p_value.

        `alpha` is the probability of a false report for each operation and quantile; `skip_warmup` as in `check`, if
        all runs know of their warm-up. Raises ValueError for a quantile
        that is not kept.
        """
        import pandas as pd

        from quantum_pulse import analysis

        for level in quantiles:
            if level not in QUANTILES:
                raise ValueError(f"quantiles must be of {', '.join(map(str, QUANTILES))}, not {level!r}")
        found: list[tuple[int, tuple[Any, ...]]] = []
        entries = self._entries()
        known = _frame(entries, skip_warmup=skip_warmup and all(_WARMUP in entry for entry in entries))
        for name, runs in known.groupby("operation", sort=False):
            for level in quantiles:
                for point in analysis.change_points(runs[QUANTILES[level]].to_numpy(), alpha=alpha):
                    first = runs.iloc[point.index]
                    change = point.after / point.before - 1 if point.before else math.nan
                    row = (name, level, first["label"], point.before, point.after, change, point.p_value)
                    found.append((int(first["run"]), row))
        found.sort(key=lambda pair: pair[0])
        columns = ["operation", "quantile", "label", "before_us", "after_us", "change", "p_value"]
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
                if "label" not in entry or not is_run or not are_names:
                    raise TypeError
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise CaptureError(f"{self.path / FILE}, line {number}: this is not a run; delete the line") from None
            entries.append(entry)
        return entries


def _is_run(figures: dict[str, Any]) -> bool:
    """Whether an entry says of an operation all that `_figures` does."""
    return all(isinstance(figures[name], int | float) for name in ("count", *QUANTILES.values()))


def _checked(capture: Capture) -> Capture:
    """The capture. Raises TypeError for what is none."""
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
            told = {"run": number, "label": entry["label"], "added": entry["added"], "operation": name}
            rows.append(told | figures | settled.get(name, {}))
    frame = pd.DataFrame(rows, columns=["run", "label", "added", "operation", "count", *QUANTILES.values()])
    frame["added"] = pd.to_datetime(frame["added"], utc=True)
    return frame
