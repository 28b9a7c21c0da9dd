"""The programs of the corpus, and what a right answer about each of them is."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from tests.corpus import programs as folder
from tests.corpus.running import Run

#: Prefix of the names of programs in which nothing is planted.
CLEAN = "clean"


@dataclass(frozen=True)
class Answer:
    """A cause as `Capture.why` would name it: a kind, and what its name contains."""

    kind: str
    mentions: tuple[str, ...] = ()

    def fits(self, kind: str, name: str) -> bool:
        return kind == self.kind and all(mentioned in name for mentioned in self.mentions)

    def __str__(self) -> str:
        return f"{self.kind} {' and '.join(self.mentions)}".strip()


@dataclass(frozen=True)
class Cause:
    """A planted cause: any of these answers names it."""

    answers: tuple[Answer, ...]

    def fits(self, kind: str, name: str) -> bool:
        return any(one.fits(kind, name) for one in self.answers)

    def __str__(self) -> str:
        return " or ".join(map(str, self.answers))


@dataclass(frozen=True)
class Program:
    name: str
    function: Callable[[Run], None]
    #: None for a program without a cause.
    causes: tuple[Cause, ...]
    #: In which it runs, and is recorded.
    around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


_PROGRAMS: dict[str, Program] = {}


def cause(*answers: str) -> Cause:
    """A cause by its answers, each as ``kind: what its name contains; what else it contains``."""
    found = []
    for answer in answers:
        kind, _, rest = answer.partition(": ")
        found.append(Answer(kind, tuple(rest.split("; ")) if rest else ()))
    return Cause(tuple(found))


def program(
    name: str, *causes: Cause, around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register a program: it serves requests until `Run.calls` ends, and plants these causes in them."""

    def register(function: Callable[[Run], None]) -> Callable[[Run], None]:
        if name in _PROGRAMS:
            raise ValueError(f"there are two programs {name!r}")
        _PROGRAMS[name] = Program(name, function, causes, around)
        return function

    return register


def programs() -> dict[str, Program]:
    """All programs by name: each module in `programs/` is found by itself."""
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f"{folder.__name__}.{module.name}")
    return dict(_PROGRAMS)
