"""What a section of a report is: its title, its place, and the function that builds its content from findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.view.document import Block


class Links(NamedTuple):
    """The anchors that names of operations link to, and what all anchors of the report begin with."""

    to: Mapping[str, str]
    prefix: str = ""


class ReportSection(NamedTuple):
    """A section. One whose `build` returns nothing is left out."""

    anchor: str
    title: str
    build: Callable[[Findings, Links], list[Block]]
    #: Its place in the report, the smallest first.
    rank: int
    #: Whether it is in the short forms, Markdown and text, too.
    brief: bool = True
