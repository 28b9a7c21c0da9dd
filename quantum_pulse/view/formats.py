"""Write a report as HTML, Markdown or text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from quantum_pulse import arguments, files
from quantum_pulse.arguments import one_of
from quantum_pulse.view import markdown, page, text
from quantum_pulse.view.document import Document

WRITERS: Final[dict[str, Callable[[Document], str]]] = {
    "html": page.write,
    "markdown": markdown.write,
    "text": text.write,
}
_ENDINGS: Final = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".txt": "text"}


def format_of(path: Path) -> str:
    """The format of a file name, by its suffix. Raises ValueError that lists the known ones."""
    try:
        return _ENDINGS[path.suffix.lower()]
    except KeyError:
        raise ValueError(
            f"{path.name!r} has no known suffix: use one of {', '.join(_ENDINGS)}, or name a format: "
            f"{', '.join(WRITERS)}"
        ) from None


def checked(name: str) -> str:
    """`name` if it is a format. Raises ValueError that lists the formats."""
    return one_of(name, "format", WRITERS)


class Report:
    """A report on a capture, as `Capture.report` makes it. A notebook shows its short form.

    Attributes
    ----------
    path : pathlib.Path or None
        The file that it was written to, if it was.

    See Also
    --------
    Capture.report : Make a report.

    Examples
    --------
    >>> report = qp.sample("engine").report()
    >>> report
    <Report>
    >>> report.write("report.html").stat().st_size > 100_000
    True
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self.path: Path | None = None

    def text(self, format: str = "text") -> str:  # noqa: A002 - as in `Capture.report`
        """Return the report as text in a format.

        Parameters
        ----------
        format : {"text", "markdown", "html"}, default "text"
            The format.

        Returns
        -------
        str
            The whole document.

        Raises
        ------
        ValueError
            If the format is unknown.

        Examples
        --------
        >>> report = qp.sample("engine").report(title="A quiet day")
        >>> print(report.text("markdown").splitlines()[0])
        # A quiet day
        """
        return WRITERS[checked(format)](self._document)

    def write(self, path: str | os.PathLike[str], format: str | None = None) -> Path:  # noqa: A002
        """Write the report to a file, completely or not at all.

        Parameters
        ----------
        path : path-like
            The file. Missing folders are created, and an existing file is replaced.
        format : {"text", "markdown", "html"}, optional
            The format. By default that of the suffix of `path`: .html, .md or .txt.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the format or the suffix is unknown.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> qp.sample("engine").report().write("reports/engine.md").name
        'engine.md'
        """
        target = arguments.path(path, "path", "report.html")
        content = self.text(format or format_of(target))
        with files.replacing(target) as file:
            file.write(content.encode("utf-8"))
        self.path = target
        return target

    def __repr__(self) -> str:
        return f"<Report {self.path}: {self.path.stat().st_size / 1000:,.0f} kB>" if self.path else "<Report>"

    def _repr_markdown_(self) -> str:
        return self.text("markdown") if self.path is None else f"Written: `{self.path}`"
