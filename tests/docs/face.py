"""The public face of the package: what a user can reach from ``import quantum_pulse``, name by name.

It begins with `dir(quantum_pulse)`, `analysis.__all__` and the errors, and follows what functions, methods, properties
and fields return.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import quantum_pulse as qp
from quantum_pulse import analysis, errors
from quantum_pulse.notebook.answers import Pulse

PACKAGE = Path(qp.__file__).parent
#: What `--as` of a magic binds is not returned by any function.
ROOTS = {"quantum_pulse.notebook.answers.Pulse": Pulse}


@cache
def objects() -> dict[str, Any]:
    """Everything in the face by its full name: functions, classes, and their methods and properties."""
    found: dict[str, Any] = {}
    waiting = dict(_roots())
    while waiting:
        name, value = waiting.popitem()
        if name in found:
            continue
        found[name] = value
        members = dict(_members(name, value)) if inspect.isclass(value) else {}
        found |= members
        for one in (value, *members.values()):
            waiting |= dict(_returned(one))
    return dict(sorted(found.items()))


def _roots() -> Iterator[tuple[str, Any]]:
    yield from ROOTS.items()
    for module in (qp, analysis):
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                yield _name(value), value
    yield from ((_name(value), value) for _, value in inspect.getmembers(errors, inspect.isclass))


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _members(name: str, owner: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that the package defines, also in base classes."""
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("quantum_pulse"):
            for member, value in vars(base).items():
                code = getattr(function_of(value), "__code__", None)
                is_ours = code is not None and Path(code.co_filename).is_relative_to(PACKAGE)
                if is_ours and (not member.startswith("_") or member == "__getitem__"):
                    yield f"{name}.{member}", value


def function_of(value: Any) -> Any:
    """The function behind a method or a property, or the value itself."""
    for attribute in ("fget", "func", "__func__"):
        value = getattr(value, attribute, value)
    return value


def _returned(value: Any) -> Iterator[tuple[str, Any]]:
    """Classes of the package in what a function returns, or in the fields of a class."""
    if inspect.isclass(value):
        fields = (field for one in value.__mro__ for field in vars(one).get("__annotations__", {}).items())
        annotations = [note for name, note in fields if not name.startswith("_")]
    else:
        annotations = [getattr(function_of(value), "__annotations__", {}).get("return", "")]
    for note in annotations:
        for word in re.findall(r"[A-Z]\w+", str(note)):
            if module := _modules().get(word):
                found = getattr(importlib.import_module(module), word)
                yield _name(found), found


@cache
def _modules() -> dict[str, str]:
    """Public classes of the package, and the module of each."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("quantum_pulse", *file.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name] = module
    return found
