"""Whether numpydoc accepts the docstring of everything public: ``python -m tests.docs.docstrings``."""

from __future__ import annotations

import enum
import inspect
import json
import sys
from typing import Any

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import quantum_pulse as qp
from quantum_pulse.core import core
from tests.docs import face

#: Checks that are not applied, and why.
NOT_CHECKED = {
    "GL01": "text begins right after the quotes, as in the rest of the code",
    "GL02": "a docstring of one line ends in it",
    "ES01": "a summary that says everything needs no second paragraph",
    "SA01": "not everything has a relative",
}
#: Nobody but the package makes instances of other classes, so these describe attributes in place of parameters.
MADE_BY_USERS = (qp.Alert, qp.Category, qp.History, qp.PausableTimer, qp.SLO, qp.op)


def problems() -> list[str]:
    """What is wrong with the docstrings of the face, one line each."""
    return [f"{name}: {problem}" for name, value in face.objects().items() for problem in _problems(name, value)]


def _problems(name: str, value: Any) -> list[str]:
    found = validate(get_doc_object(value if inspect.isclass(value) else face.function_of(value)))
    skipped = set(NOT_CHECKED)
    is_property = isinstance(value, property) or type(value).__name__ == "cached_property"
    if is_property:
        # Read without parentheses: the example of its class, or of what returns that, shows how.
        skipped |= {"EX01", "RT01", "SS05"}
    if inspect.isclass(value) and value not in MADE_BY_USERS:
        skipped |= {"PR01", "PR02", "PR03"}
    wrong = [f"{code} {text}" for code, text in found["errors"] if code not in skipped]
    if inspect.isclass(value) and value not in MADE_BY_USERS:
        return wrong + [f"the attribute {one} is not documented" for one in _undocumented(value)]
    return wrong if is_property else wrong + _wrong_defaults(value)


def _wrong_defaults(value: Any) -> list[str]:
    """Parameters whose documented default is not the one that they have."""
    documented = {
        name.strip(): kind.rpartition(", default ")[2] if ", default " in kind else None
        for names, kind, _ in get_doc_object(value if inspect.isclass(value) else face.function_of(value))["Parameters"]
        for name in names.split(",")
        if "optional" not in kind
    }
    wrong = []
    for name, parameter in inspect.signature(value).parameters.items():
        has_default = parameter.default not in (inspect.Parameter.empty, None)
        if name in documented and documented[name] != (_written(parameter.default) if has_default else None):
            wrong.append(f"the default of {name} is {parameter.default!r}, documented as {documented[name]}")
    return wrong


def _written(default: object) -> str:
    """A default as docstrings have it."""
    return json.dumps(default) if isinstance(default, str) else repr(default).replace("'", '"')


def _undocumented(owner: type) -> list[str]:
    """Fields of a class of results, and attributes that its instances get, that no Attributes section has."""
    bases = [base for base in owner.__mro__ if base.__module__.startswith("quantum_pulse")]
    if issubclass(owner, enum.Enum | core.Probe | Exception):
        return []
    names = [one for base in bases for one in (*vars(base).get("__annotations__", {}), *getattr(base, "_fields", ()))]
    known = {
        one.strip()
        for base in bases
        for names_of_one, *_ in get_doc_object(base)["Attributes"]
        for one in names_of_one.split(",")
    }
    return [name for name in dict.fromkeys(names) if not name.startswith("_") and name not in known]


def main() -> int:
    """Print what is wrong. The exit code is 1 if there is something."""
    found = problems()
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
