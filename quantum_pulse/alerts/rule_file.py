"""Read rules from a TOML file: tables ``[[alert]]`` and ``[[slo]]`` with the parameters of `Alert` and `SLO`."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path
from typing import Any, Final

from quantum_pulse.alerts.rules import SLO, Alert, Rule
from quantum_pulse.arguments import nearest
from quantum_pulse.operations import Category
from quantum_pulse.reading.selection import Recorded

_KINDS: Final[dict[str, type[Alert] | type[SLO]]] = {"alert": Alert, "slo": SLO}


def read(path: str | os.PathLike[str]) -> list[Rule]:
    """The rules in the file `path`. Raises OSError, and ValueError that says what is wrong in which rule."""
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _refuse_unknown(str(path), content, list(_KINDS))
    rules = []
    for kind, make in _KINDS.items():
        tables = content.get(kind, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ValueError(f"{path}: write [[{kind}]], with two brackets, before each rule")
        rules += [_rule(f"{path}: {kind} {number}", make, table) for number, table in enumerate(tables, 1)]
    if not rules:
        raise ValueError(f"{path} has no rules; begin one with [[alert]] or [[slo]]")
    titles = [rule.title for rule in rules]
    for title in titles:
        if titles.count(title) > 1:
            raise ValueError(f"{path}: two rules are called {title!r}; give one of them a name")
    return rules


def _rule(where: str, make: type[Alert] | type[SLO], table: dict[str, Any]) -> Rule:
    own = [field.name for field in dataclasses.fields(make) if field.name != "of"]
    _refuse_unknown(where, table, [*own, "operation", "category"])
    given = dict(table)
    operation, category = given.pop("operation", None), given.pop("category", None)
    if (operation is None) == (category is None):
        raise ValueError(f'{where}: say what is watched, as operation = "Api.REQUEST" or category = "Requests"')
    if not isinstance(operation or category, str):
        raise ValueError(f"{where}: the name must be text, not {operation or category!r}")
    try:
        return make(Category(category) if operation is None else Recorded(operation), **given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _refuse_unknown(where: str, given: dict[str, Any], known: list[str]) -> None:
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{where}: there is no {name!r}; {hint}")
