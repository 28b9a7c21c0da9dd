"""Read large JSON piece by piece: named values of a document are decoded, and nothing else is held in memory.

Numbers with a fraction or an exponent stay text: a time in microseconds has more digits than a float holds.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import json
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

from quantum_pulse.errors import TraceError

#: In a path, each element of an array.
EACH: Final = "*"
#: Bytes that are read at once.
CHUNK_BYTES: Final = 1 << 20
#: The largest value that is decoded whole, in characters.
MOST_CHARACTERS: Final = 1 << 26
#: What a value may lack when the text has been cut off inside of it: the rest of a literal, or of an escape.
_LONGEST_TOKEN: Final = 8
#: Places at the end of a chunk at which an array is cut before its elements are decoded one by one.
_MOST_CUTS: Final = 4

Path: TypeAlias = tuple[str, ...]


class Found(NamedTuple):
    """Values at a path: several of an array, one of an object; None where an object or array on the way begins."""

    path: Path
    values: list[Any] | None


class CutOffError(Exception):
    """The text ends before it is complete; `is_within`: within an element of an array of leaves."""

    def __init__(self, is_within: bool = False) -> None:
        super().__init__()
        self.is_within = is_within


def walk(file: BinaryIO, leaves: Collection[Path]) -> Iterator[Found]:
    """Read the JSON documents in `file`, one after the other, and yield the values at the paths `leaves`.

    Parameters
    ----------
    file
        Is read in chunks, and never sought in.
    leaves
        Paths of keys, with `EACH` for the elements of an array. Other values are skipped.

    Raises
    ------
    CutOffError
        The file ends within a document. What came before has been yielded.
    TraceError
        It is not JSON, or a value is larger than `MOST_CHARACTERS`.
    """
    text = _Text(file)
    ways = {path[:length] for path in leaves for length in range(len(path))}
    while text.peek():
        yield from _value(text, (), leaves, ways)


def _value(text: _Text, path: Path, leaves: Collection[Path], ways: Collection[Path]) -> Iterator[Found]:
    first = text.peek()
    if path in leaves:
        yield Found(path, [text.value()])
    elif path in ways and first == "{":
        yield Found(path, None)
        for key in text.members():
            yield from _value(text, (*path, key), leaves, ways)
    elif path in ways and first == "[":
        inner = (*path, EACH)
        if inner in leaves:
            for values in text.elements():
                yield Found(inner, values)
        else:
            for _ in text.places():
                yield from _value(text, inner, leaves, ways)
    else:
        text.value()


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """What is decoded has no cycles, and looking for some takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Text:
    """A window on a text that is read chunk by chunk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._scan = json.JSONDecoder(parse_float=str, strict=False).raw_decode
        self._text = ""
        self._at = 0
        #: Characters before the window.
        self._before = 0
        self._is_whole = False

    def _more(self) -> bool:
        """Read on, at least as much as is waiting, so that a long value is tried a few times only."""
        if self._is_whole:
            return False
        waiting = self._text[self._at :]
        if len(waiting) > MOST_CHARACTERS:
            raise TraceError(f"a value at character {self._place():,} is longer than {MOST_CHARACTERS:,} characters")
        content = self._file.read(max(CHUNK_BYTES, len(waiting)))
        self._is_whole = not content
        self._before += self._at
        self._text, self._at = waiting + self._decoder.decode(content, self._is_whole), 0
        return True

    def _place(self) -> int:
        return self._before + self._at

    def peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in " \t\r\n\0\x1e":
                    return character
                self._at += 1
            if not self._more():
                return ""

    def value(self) -> Any:
        """Decode the value that comes next."""
        if not self.peek():
            raise CutOffError
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                self._check_cut(error)
            except RecursionError:
                raise TraceError(f"the value at character {self._place():,} is nested too deeply") from None
            else:
                # A number may go on in the next chunk.
                if end < len(self._text) or self._is_whole:
                    self._at = end
                    return value
            if not self._more():
                raise CutOffError

    def _check_cut(self, error: json.JSONDecodeError) -> None:
        """Raise TraceError unless `error` may come from the end of what has been read so far."""
        is_at_end = error.pos >= len(self._text.rstrip()) - _LONGEST_TOKEN
        if not is_at_end and not error.msg.startswith("Unterminated string"):
            raise TraceError(f"it is not JSON: {error.msg} at character {self._before + error.pos:,}") from None

    def _take(self, wanted: str) -> None:
        found = self.peek()
        if not found:
            raise CutOffError
        if found != wanted:
            raise TraceError(f"it is not JSON: {wanted!r} expected at character {self._place():,}, not {found!r}")
        self._at += 1

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; the caller takes each value."""
        self._take("{")
        while (found := self.peek()) != "}":
            if found == ",":
                self._at += 1
                continue
            key = self.value()
            if not isinstance(key, str):
                raise TraceError(f"it is not JSON: a key expected at character {self._place():,}")
            self._take(":")
            yield key
        self._at += 1

    def places(self) -> Iterator[None]:
        """Each element of the array that comes next; the caller takes it."""
        self._take("[")
        while (found := self.peek()) != "]":
            if found == ",":
                self._at += 1
                continue
            if not found:
                raise CutOffError
            yield None
        self._at += 1

    def elements(self) -> Iterator[list[Any]]:
        """The elements of the array that comes next, many at a time."""
        for _ in self.places():
            try:
                values = self._many() or [self.value()]
            except CutOffError:
                raise CutOffError(is_within=True) from None
            yield values

    def _many(self) -> list[Any]:
        """The objects that end within the window; none where that is not clear at once."""
        end = len(self._text)
        for _ in range(_MOST_CUTS):
            end = self._text.rfind("},", self._at, end)
            if end < 0:
                break
            try:
                # Only a cut between two elements makes an array of the text before it.
                with _without_collections():
                    values, length = self._scan(f"[{self._text[self._at : end + 1]}]", 0)
            except (json.JSONDecodeError, RecursionError):
                continue
            if length == end + 1 - self._at + 2:
                self._at = end + 1
                found: list[Any] = values
                return found
        return []
