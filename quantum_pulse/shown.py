"""Texts that others chose, such as names in a capture, fit to be shown: on a terminal, in Markdown, in a spreadsheet.

HTML has `html.escape`. Every other writer takes names through this module.
"""

from __future__ import annotations

import codecs
import re
import sys
from typing import IO, Final

#: Joiners, which some scripts need.
_JOINERS: Final = "\u200c\u200d"
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&@-])")
#: What GitHub makes a link of without any markup.
_LINKS: Final = re.compile(r"(?<=www)\.|:(?=//)", re.IGNORECASE)
#: What a terminal obeys; all else of a name is data.
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
#: What a spreadsheet takes for the begin of a formula, in a file that another one has quoted.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
#: Signs that terminals of few letters lack, and what replaces them.
_PLAIN: Final = str.maketrans(
    {
        **dict.fromkeys("─–—−", "-"), "═": "=", "µ": "u", "×": "x", "→": "->", "←": "<-", "…": "...", "’": "'",
        "▲": "^", "▼": "v", "⇄": "<>", "✗": "x", "✓": "ok", "○": "o", "●": "*", "·": ".", "⟨": "<", "⟩": ">",
        "σ": "s", "≤": "<=", "≥": ">=", "∞": "inf", "│": "|",
    }
)  # fmt: skip


def visible(text: str) -> str:
    """`text` with what cannot be seen, or changes what is around it, spelled out: U+202E becomes ⟨U+202E⟩."""
    return "".join(char if _is_harmless(char) or char == "\n" else f"⟨U+{ord(char):04X}⟩" for char in text)


def clean(text: str) -> str:
    """`text` on one line, without what could steer a terminal, as wide as it was."""
    return "".join(char if _is_harmless(char) else "\ufffd" for char in text)


def markdown(text: str) -> str:
    """`text` as Markdown in which it is text: neither markup, nor HTML, nor a link, nor somebody's handle."""
    return _LINKS.sub(r"\\\g<0>", _MARKDOWN.sub(r"\\\1", visible(text).replace("\n", " ")))


def cell(text: str) -> str:
    """`text` as a spreadsheet shows it: no formula, which it would evaluate as it opens the file."""
    shown = "".join(f"⟨U+{ord(char):04X}⟩" if _CONTROL.match(char) else char for char in text)
    return f"'{shown}" if text.startswith(_FORMULA) else shown


def say(text: object = "", file: IO[str] | None = None, end: str = "\n") -> None:
    """Print to a terminal, which nothing in `text` steers, and which may not know all its characters."""
    stream = sys.stdout if file is None else file
    if stream is None:  # it may have been closed
        return
    shown = visible(str(text))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        shown.encode(encoding)
    except UnicodeEncodeError:
        shown = shown.encode(encoding, "quantum_pulse.plain").decode(encoding)
    stream.write(shown + end)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return error.object[error.start : error.end].translate(_PLAIN).encode(
        "ascii", "backslashreplace"
    ).decode(), error.end


codecs.register_error("quantum_pulse.plain", _plain)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in _JOINERS
