"""The two cores, and the choice between them.

`core` is the one in use: the native core where it was built, the Python core otherwise. ``QUANTUM_PULSE_CORE=python``
or ``=native`` decides by hand (``native`` where there is none is an ImportError), and ``QUANTUM_PULSE_CLOCK=monotonic``
that the native core does not read the processor's counter. `FALLBACK_REASON` says why the native core is not in use
when nobody asked for that.
"""

from __future__ import annotations

import importlib

from quantum_pulse import variables

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from quantum_pulse.core.contract import Core

__all__ = ["FALLBACK_REASON", "core"]

FALLBACK_REASON: str | None = None


def _choose() -> Core:
    global FALLBACK_REASON
    wanted = variables.chosen("QUANTUM_PULSE_CORE", ("native", "python"))
    # The native core reads it itself; this only reports an invalid value.
    variables.chosen("QUANTUM_PULSE_CLOCK", ("counter", "monotonic"))
    if wanted != "python":
        try:
            return importlib.import_module("quantum_pulse.core._native")
        except ImportError as error:
            if wanted == "native":
                raise
            FALLBACK_REASON = str(error)
    return importlib.import_module("quantum_pulse.core.pure")


core: Core = _choose()
