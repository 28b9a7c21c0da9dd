"""Put latency and metrics on one time axis, for `correlate` and `contrast`."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quantum_pulse.analysis.correlation import COLUMNS, FEWEST, correlate
from quantum_pulse.analysis.recommendations import NotApplicable, Recommendation
from quantum_pulse.analysis.significance import benjamini_hochberg
from quantum_pulse.shown import visible

if TYPE_CHECKING:
    import pandas as pd

#: Other operations that are taken for metrics of each: those of the largest total.
MOST_OTHERS: Final = 8


#: Windows that a capture is cut into by default, about.
WINDOWS: Final = 1000
#: Of a window that somebody chose, or where no metrics say how long the capture is: more take memory for nothing.
MOST_WINDOWS: Final = 1_000_000


@dataclass(frozen=True, eq=False)
class Correlations:
    """The metrics that move with the latency of operations: the result of `Capture.correlate`, which shows itself.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per operation and metric, sorted by q-value: ``operation``, and the columns of
        `analysis.correlate`.
    recommendations : list of Recommendation
        What could be done, where most time could be won first. Each prints as a sentence or two.
    window_s : float
        Length of the windows in which latency and metrics were compared, in seconds.
    alpha : float
        The false discovery rate that is accepted.
    not_applicable : tuple of NotApplicable
        The rules that recommend nothing, and why.

    Examples
    --------
    >>> found = qp.sample("slow_exchange").correlate()
    >>> found.table.columns.tolist()
    ['operation', 'metric', 'lag_s', 'rho', 'ci_low', 'ci_high', 'p_value', 'q_value', 'n_effective']
    >>> print(qp.sample("slow_exchange").correlate("50ms").summary)
    2 of 383 pairs of an operation and a metric are correlated ...
    """

    table: pd.DataFrame
    recommendations: list[Recommendation]
    window_s: float
    alpha: float
    not_applicable: tuple[NotApplicable, ...] = ()

    @property
    def found(self) -> pd.DataFrame:
        """The rows of `table` with a q-value of at most `alpha`."""
        return self.table[self.table["q_value"] <= self.alpha]

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


def length_s(metrics: pd.DataFrame) -> float:
    """A length of windows for a capture with these `metrics` (as of `Capture.metrics`), in seconds.

    About twice their interval at least, and about a thousandth of their time; a second where there are none.
    """
    if len(metrics) < 2:
        return 1.0
    interval = float(metrics["interval_ns"].median()) / 1e9
    whole = (metrics["time"].max() - metrics["time"].min()).total_seconds()
    return _round(max(1.8 * interval, whole / WINDOWS))


def longer_s(window_s: float, whole_ns: int) -> float:
    """`window_s`, or what cuts `whole_ns` into MOST_WINDOWS if that is longer."""
    least = whole_ns / 1e9 / MOST_WINDOWS
    return window_s if window_s >= least else _round(least)


def _round(wanted_s: float) -> float:
    """A round number of seconds that is no less, so that windows of several captures fall together."""
    return next(
        step * 10.0**power for power in range(-6, 11) for step in (1, 2, 5) if step * 10.0**power >= wanted_s * 0.999
    )


def aligned(
    timeline: pd.DataFrame, window_s: float, metrics: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What `correlate_all` takes, from a `timeline` with one quantile and windows of `window_s`."""
    import pandas as pd

    (quantile,) = [name for name in timeline.columns if re.fullmatch(r"p\d+_us", name)]
    operations = timeline.index.get_level_values("operation")
    times = timeline.index.get_level_values("time")
    if timeline.empty:
        nothing = pd.DataFrame(index=times, dtype="float64")
        return nothing, nothing, nothing.reindex(columns=list(metrics))
    grid = pd.date_range(times.min(), times.max(), freq=pd.Timedelta(seconds=window_s))
    by_operation = [times, operations]
    # Also of windows with few calls: what is slow is called less often, and they are the ones that matter.
    latency = timeline[quantile].groupby(by_operation).first().unstack()
    busy = timeline["total_us"].groupby(by_operation).sum().unstack()
    known = timeline[[name for name in metrics if name in timeline.columns]].groupby(times).first()
    return latency.reindex(grid), busy.reindex(grid).fillna(0.0), known.reindex(grid)


def of_operations(timeline: pd.DataFrame, starts: pd.DatetimeIndex, window_s: float) -> pd.DataFrame:
    """Latency and calls a second of each operation in the windows that begin at `starts`, for `contrasts.contrast`.

    From a `timeline` with one quantile. Index: `starts`. Columns: as `contrasts.LEVELS`.
    """
    import pandas as pd

    if timeline.empty:
        return pd.DataFrame(index=starts, columns=pd.MultiIndex.from_arrays([[], [], []]), dtype="float64")
    (quantile,) = [name for name in timeline.columns if re.fullmatch(r"p\d+_us", name)]
    by_operation = [timeline.index.get_level_values(name) for name in ("time", "operation")]
    latency = timeline[quantile].groupby(by_operation).first().unstack().reindex(starts)
    calls = timeline["count"].groupby(by_operation).sum().unstack().reindex(starts).fillna(0.0) / window_s
    found = {("operation", str(name), quantile): latency[name] for name in latency.columns}
    found |= {("operation", str(name), "calls_per_s"): calls[name] for name in calls.columns}
    return pd.DataFrame(found, index=starts)


def of_metrics(metrics: pd.DataFrame, counts: Collection[str]) -> pd.DataFrame:
    """`metrics` in windows, `counts` of them as of a second, with columns for `contrasts.contrast`."""
    import pandas as pd

    names = [("metric", str(name), "per_s" if name in counts else "level") for name in metrics.columns]
    return metrics.set_axis(pd.MultiIndex.from_tuples(names), axis=1)


def correlate_all(latency: pd.DataFrame, busy: pd.DataFrame, metrics: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """`correlate` for each operation, with q-values over the whole table: `operation`, then the columns of that.

    All three share one index of equally long windows. `latency` has a column per operation, NaN where it did not run;
    `busy` the time that each spent, in the same unit; `metrics` what was measured.
    """
    import numpy as np
    import pandas as pd

    others = busy.sum().sort_values(ascending=False, kind="stable").index[:MOST_OTHERS]
    frames = []
    for name in latency.columns:
        beside = busy[[other for other in others if other != name]]
        beside = beside.rename(columns={other: f"time in {other}" for other in beside.columns})
        if latency[name].count() < FEWEST:
            # All would be NaN; a capture may have a thousand such operations.
            found = pd.DataFrame({COLUMNS[0]: [*map(str, metrics.columns), *map(str, beside.columns)]}, columns=COLUMNS)
            found = found.astype(dict.fromkeys(COLUMNS[1:], "float64"))
        else:
            found = correlate(latency[name], pd.concat([metrics, beside], axis=1), alpha=alpha)
        found.insert(0, "operation", str(name))
        frames.append(found)
    if not frames:
        return pd.DataFrame({name: pd.Series(dtype="float64") for name in ("operation", *COLUMNS)})
    table = pd.concat(frames, ignore_index=True)
    table["q_value"] = benjamini_hochberg(table["p_value"].to_numpy(np.float64))
    return table.sort_values(["q_value", "p_value"], kind="stable", ignore_index=True)
