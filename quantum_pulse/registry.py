"""Registries whose entries are modules of a package: a new module is a new entry, and nothing else lists it."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def entries(package: str, name: str) -> list[Any]:
    """The attribute `name` of each module of `package`, by its own attribute `rank`, the smallest first.

    Raises AttributeError for a module without it: whatever is in the package must be an entry.
    """
    modules = sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))
    found = [getattr(importlib.import_module(f"{package}.{module}"), name) for module in modules]
    return sorted(found, key=lambda entry: entry.rank)
