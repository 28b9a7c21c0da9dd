"""What can be shown, independent of the format: text, tables, charts, and documents made of these.

`html`, `markdown` and `text` render it. Plain data: they know nothing of captures, and captures nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from quantum_pulse.shown import visible
from quantum_pulse.stacks import Frame
from quantum_pulse.view.chart import CellChart, FigureChart


@dataclass(frozen=True, slots=True)
class Name:
    """A text from outside quantum_pulse: an operation, a category, a path. `link` is the anchor of its section.

    `is_code` asks for code marks in formats that have them.
    """

    text: str
    link: str = ""
    is_code: bool = False


#: Running text, with names in it that are isolated in HTML.
Text: TypeAlias = "str | Name | Sequence[str | Name]"


def plain(text: Text) -> str:
    """`text` as a string."""
    if isinstance(text, str):
        return visible(text)
    if isinstance(text, Name):
        return visible(text.text)
    return "".join(visible(part if isinstance(part, str) else part.text) for part in text)


#: Around each name in the marked text of a sentence, and what a name has in its place.
_MARK: Final = "\0"
_REPLACEMENT: Final = "\ufffd"


def marked(name: str) -> str:
    """A name, marked in a sentence that is put together as a string, for `with_names`."""
    return f"{_MARK}{name.replace(_MARK, _REPLACEMENT)}{_MARK}"


def with_names(sentence: str, *, are_code: bool = True) -> list[str | Name]:
    """A sentence with its `marked` names as such."""
    pieces = sentence.split(_MARK)
    return [Name(piece, is_code=are_code) if place % 2 else piece for place, piece in enumerate(pieces) if piece]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text. Kind `missing` says what is not there, `note` how to read something."""

    text: Text
    kind: Literal["", "lead", "note", "missing", "warning"] = ""


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of short texts, under a title if it has one."""

    items: Sequence[Text]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart. `label` describes it to those who do not see it; `caption` goes under it."""

    chart: FigureChart
    label: str
    caption: Text = ""


@dataclass(frozen=True, slots=True)
class Icicle:
    """Calls inside the calls that made them, as `stacks.icicle` builds them."""

    whole: Frame
    label: str
    is_differential: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a table. `order` is what it is sorted by; a `chart` goes before the text where charts are drawn.

    Kinds `bad` and `good` have a sign where colours are shown, `slower` and `faster` have it in their text. `title`
    explains the cell on demand.
    """

    text: Text
    order: float | None = None
    chart: CellChart | None = None
    kind: Literal["", "bad", "good", "slower", "faster"] = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """`level` 1 is a group, 2 belongs to the group above; of a flat table all are 1.

    A group with a single cell is a title across the whole table.
    """

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
    chart: CellChart | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, one for each column; `kind` "grid" can be sorted, filtered and folded where scripts run.

    Columns without names have no headings. `empty` is said where there are no rows.
    """

    caption: Text
    columns: Sequence[Column]
    rows: Sequence[Row]
    kind: Literal["", "grid", "facts"] = ""
    empty: str = ""

    @property
    def has_headings(self) -> bool:
        """Whether there are headings to show."""
        return self.kind != "facts" and any(column.name for column in self.columns)


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that are shown on demand. Text leaves them out, unless they are `brief`."""

    title: Text
    blocks: Sequence[Block]
    anchor: str = ""
    kind: Literal["", "operation", "small"] = ""
    aside: str = ""
    #: Anchor of the section that links to it.
    up: str = "operations"
    brief: bool = False


@dataclass(frozen=True, slots=True)
class Beside:
    """Blocks side by side where there is room."""

    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Entries:
    """A list of entries: each is pairs of a term and its text, the most important pair first."""

    entries: Sequence[Sequence[tuple[str | Name, Text]]]


Block: TypeAlias = "Paragraph | Bullets | Figure | Icicle | Table | Fold | Beside | Entries"


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
