"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

#: A fence, indented where it is in an admonition or a list, with its language and the rest of its first line.
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<options>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r'title="([^"]+)"')


class Block(NamedTuple):
    """A block of code. `file` is the name that it has as a title, if it is shown as a file."""

    language: str
    code: str
    line: int
    file: str | None


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        indent = len(fence["indent"])
        code = "".join(line[indent:] if line.strip() else line for line in fence["code"].splitlines(keepends=True))
        title = _TITLE.search(fence["options"])
        line = text.count("\n", 0, fence.start("code")) + 1
        found.append(Block(fence["language"], code, line, title and title[1]))
    return found


def pages() -> list[Path]:
    """All pages, by name."""
    return sorted(DOCS.rglob("*.md"))
