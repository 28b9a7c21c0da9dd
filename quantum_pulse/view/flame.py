"""`Flame`: the result of `Capture.flame`, which shows itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantum_pulse import arguments, files, stacks
from quantum_pulse.stacks import Frame, Stack
from quantum_pulse.view import html, icicle, markdown, numbers
from quantum_pulse.view.document import Icicle

if TYPE_CHECKING:
    import pandas as pd

    from quantum_pulse.view.figures import Chart

COLUMNS: Final = ("depth", "category", "operation", "count", "total_us", "self_us", "share")


class Flame:
    """An icicle of the call tree: frames are as wide as their time, below the frames that called them.

    A notebook shows it by itself, and it answers clicks, keys and a search there. ``print(flame)`` shows it as text.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each frame, depth first. Index ``path``; columns ``depth``, ``category``, ``operation``, ``count``,
        ``total_us``, ``self_us``, ``share``, and with a baseline ``baseline_us`` and ``change_us``.
    figure : Chart
        The icicle as a matplotlib Figure.

    See Also
    --------
    Capture.flame : Returns it.

    Examples
    --------
    >>> flame = qp.sample("engine").flame(by="self")
    >>> flame.table.index[0]
    'Engine.SUBMIT'
    """

    def __init__(self, current: Sequence[Stack], baseline: Sequence[Stack] | None, by: str, title: str) -> None:
        self._stacks = current
        self._is_differential = baseline is not None
        self._by = by
        self._title = title
        self._whole = stacks.icicle(current, None if baseline is None else stacks.scaled(baseline, current), by)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each frame, depth first."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        names: list[str] = []
        waiting = [(child, "", 0) for child in reversed(self._whole.children)]
        while waiting:
            frame, above, depth = waiting.pop()
            name = f"{above} > {frame.name}" if above else frame.name
            names.append(name)
            rows.append(self._row(frame, depth))
            waiting += [(child, name, depth + 1) for child in reversed(frame.children)]
        columns = [*COLUMNS, *(["baseline_us", "change_us"] if self._is_differential else [])]
        return pd.DataFrame(rows, columns=columns, index=pd.Index(names, dtype="object", name="path"))

    def _row(self, frame: Frame, depth: int) -> dict[str, Any]:
        return {
            "depth": depth,
            "category": frame.category,
            "operation": frame.name,
            "count": round(frame.count),
            "total_us": frame.total_us,
            "self_us": frame.self_us,
            "share": frame.total_us / self._whole.total_us if self._whole.total_us else 0.0,
            "baseline_us": frame.baseline_us,
            "change_us": frame.change_us,
        }

    @property
    def figure(self) -> Chart:
        """The icicle as a matplotlib Figure."""
        from quantum_pulse.view import boxes_figure

        chart = icicle.chart(self._whole, is_differential=self._is_differential)
        return boxes_figure.draw(chart, self._label)

    def text(self, format: str = "text") -> str:  # noqa: A002 - as in `Capture.report`
        """Return the icicle in a format.

        Parameters
        ----------
        format : {"text", "markdown", "html", "folded", "speedscope"}, default "text"
            "folded" are stacks as flamegraph.pl reads them, with self time in nanoseconds.

        Returns
        -------
        str
            The icicle.

        Raises
        ------
        ValueError
            If there is no such format.

        Examples
        --------
        >>> qp.sample("engine").flame().text("folded").splitlines()[1]
        'Engine.ORDER;Engine.SUBMIT 3837675...'
        """
        arguments.one_of(format, "format", FORMATS)
        if format == "html":
            block = Icicle(self._whole, self._label, self._is_differential)
            return f"{html.fragment([block])}<script>{html.script('figure.js')}</script>"
        if format == "folded":
            return stacks.folded(self._stacks)
        if format == "speedscope":
            return stacks.speedscope(self._stacks, self._title)
        lines = icicle.text(self._whole, is_differential=self._is_differential)
        return f"{self._label}\n\n{markdown.code(lines) if format == 'markdown' else lines}"

    def write(self, path: str | os.PathLike[str], format: str | None = None) -> Path:  # noqa: A002
        """Write the icicle to a file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The file. One that exists is replaced.
        format : {"text", "markdown", "html", "folded", "speedscope"}, optional
            By default that of the suffix: .folded or .txt for folded stacks, .speedscope.json, .html, .md.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the format or suffix is unknown.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> qp.sample("engine").flame().write("calls.folded").name
        'calls.folded'
        """
        target = arguments.path(path, "path", "calls.speedscope.json")
        name = format or next((one for ending, one in _ENDINGS.items() if target.name.lower().endswith(ending)), None)
        if name is None:
            raise ValueError(
                f"{target.name!r} has no known suffix: use one of {', '.join(_ENDINGS)}, or name a format: "
                f"{', '.join(FORMATS)}"
            )
        content = self.text(name)
        with files.replacing(target) as file:
            file.write(content.encode("utf-8"))
        return target

    @property
    def _label(self) -> str:
        what = "Calls inside the calls that made them" if self._by == "total" else "Self time, with callers below"
        against = ", against the baseline" if self._is_differential else ""
        return f"{what}: {numbers.duration(self._whole.total_us * 1000)} in all{against}."

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.text("html")

    def _repr_markdown_(self) -> str:
        return self.text("markdown")


FORMATS: Final = ("text", "markdown", "html", "folded", "speedscope")
_ENDINGS: Final = {
    ".speedscope.json": "speedscope",
    ".folded": "folded",
    ".txt": "folded",
    ".html": "html",
    ".md": "markdown",
}
