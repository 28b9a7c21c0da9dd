"""The parts of a report, independent of its format. Plain data: writers know nothing of captures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from quantum_pulse.shown import visible


@dataclass(frozen=True, slots=True)
class Name:
    """A text from outside quantum_pulse: an operation, a category, a path. `link` is the anchor of its section."""

    text: str
    link: str = ""


#: Running text, with names in it that are isolated in HTML.
Text: TypeAlias = "str | Name | Sequence[str | Name]"


def plain(text: Text) -> str:
    """`text` as a string."""
    if isinstance(text, str):
        return visible(text)
    if isinstance(text, Name):
        return visible(text.text)
    return "".join(visible(part if isinstance(part, str) else part.text) for part in text)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text. Kind `missing` says what is not there, `note` how to read something."""

    text: Text
    kind: Literal["", "lead", "note", "missing", "warning"] = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A trusted SVG element: it contains no text from a capture. `label` describes it; `caption` goes under it."""

    svg: str
    label: str
    caption: Text = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a table. `order` is what it is sorted by; a `picture` replaces the text where images are shown."""

    text: Text
    order: float | None = None
    picture: str = ""
    kind: Literal["", "bad", "good"] = ""


@dataclass(frozen=True, slots=True)
class Row:
    """`level` 1 is a group, 2 belongs to the group above; of a flat table all are 1. `more` is opened below the row."""

    cells: Sequence[Cell]
    level: int = 1
    is_group: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A heading. The texts are aligned left, numbers right. Those `wide` are left out of text and Markdown."""

    name: str
    is_number: bool = True
    wide: bool = False
    title: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equally many cells; `kind` "grid" can be sorted, filtered and folded where scripts run."""

    caption: Text
    columns: Sequence[Column]
    rows: Sequence[Row]
    kind: Literal["", "grid", "facts"] = ""


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that are shown on demand; static formats leave them out."""

    title: Text
    blocks: Sequence[Block]
    anchor: str = ""
    kind: Literal["", "operation", "small"] = ""
    aside: str = ""
    #: Anchor of the section that links to it.
    up: str = "operations"


@dataclass(frozen=True, slots=True)
class Beside:
    """Blocks side by side where there is room."""

    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Entries:
    """A list of entries: each is pairs of a term and its text, the most important pair first."""

    entries: Sequence[Sequence[tuple[str, Text]]]


Block: TypeAlias = "Paragraph | Picture | Table | Fold | Beside | Entries"


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its content. Sections that are not `brief` are left out of text and Markdown."""

    anchor: str
    title: str
    blocks: Sequence[Block]
    brief: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: Text
    subtitle: Text
    sections: Sequence[Section] = ()
