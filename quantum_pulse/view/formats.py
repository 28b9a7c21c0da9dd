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
    """A report on a capture. `path` is the file that it was written to, if it was."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.path: Path | None = None

    def text(self, format: str = "text") -> str:  # noqa: A002 - as in `Capture.report`
        """The report in a format: "html", "markdown" or "text"."""
        return WRITERS[checked(format)](self._document)

    def write(self, path: str | os.PathLike[str], format: str | None = None) -> Path:  # noqa: A002
        """Write it to a file, whole or not at all, and return its path. Folders on the way are made."""
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
