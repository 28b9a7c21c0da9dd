"""The two cores, and the choice between them.

`core` is the one in use: the native core where it was built, the Python core otherwise. ``QUANTUM_PULSE_CORE=python``
or ``=native`` decides by hand. `FALLBACK_REASON` says why the native core is not in use when nobody asked for that.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["FALLBACK_REASON", "core"]

FALLBACK_REASON: str | None = None


def _choose() -> Any:
    global FALLBACK_REASON
    wanted = os.environ.get("QUANTUM_PULSE_CORE", "")
    if wanted not in ("", "native", "python"):
        raise ValueError(f"QUANTUM_PULSE_CORE must be 'native' or 'python', not {wanted!r}")
    if wanted != "python":
        try:
            return importlib.import_module("quantum_pulse.core._native")
        except ImportError as error:
            if wanted == "native":
                raise
            FALLBACK_REASON = str(error)
    return importlib.import_module("quantum_pulse.core.pure")


core = _choose()
