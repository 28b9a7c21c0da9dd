"""The two cores, and the choice between them.

`core` is the one in use: the native core where it was built, the Python core otherwise. ``QUANTUM_PULSE_CORE=python``
or ``=native`` decides by hand, and ``QUANTUM_PULSE_CLOCK=monotonic`` that the native core does not read the
processor's counter. `FALLBACK_REASON` says why the native core is not in use when nobody asked for that.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["FALLBACK_REASON", "core"]

FALLBACK_REASON: str | None = None


def _wanted(variable: str, *choices: str) -> str:
    value = os.environ.get(variable, "")
    if value not in ("", *choices):
        raise ValueError(f"{variable} must be {' or '.join(map(repr, choices))}, not {value!r}")
    return value


def _choose() -> Any:
    global FALLBACK_REASON
    wanted = _wanted("QUANTUM_PULSE_CORE", "native", "python")
    _wanted("QUANTUM_PULSE_CLOCK", "counter", "monotonic")  # which the native core reads itself
    if wanted != "python":
        try:
            return importlib.import_module("quantum_pulse.core._native")
        except ImportError as error:
            if wanted == "native":
                raise
            FALLBACK_REASON = str(error)
    return importlib.import_module("quantum_pulse.core.pure")


core = _choose()
