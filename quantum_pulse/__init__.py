"""quantum_pulse: microsecond performance work in Jupyter. Every sample of named operations, at a cost nobody notices.

The names below are the whole face. What reads and analyses captures is imported when its name is first used, so that
``import quantum_pulse`` costs a service next to nothing.
"""

from __future__ import annotations

from quantum_pulse._version import __version__
from quantum_pulse.errors import QuantumPulseError
from quantum_pulse.operations import Category, Operation, annotate, op
from quantum_pulse.recorder.recording import Recorder
from quantum_pulse.recorder.session import record, start, start_from_environment, stop
from quantum_pulse.timers import PausableTimer

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any

    from quantum_pulse import analysis as analysis
    from quantum_pulse.alerts.rules import SLO as SLO
    from quantum_pulse.alerts.rules import Alert as Alert
    from quantum_pulse.facade import Capture as Capture
    from quantum_pulse.facade import last as last
    from quantum_pulse.facade import open as open  # noqa: A004 - qp.open is the name that reads best
    from quantum_pulse.facade import sample as sample
    from quantum_pulse.facade.importing import import_trace as import_trace
    from quantum_pulse.history import History as History

__all__ = [
    "SLO",
    "Alert",
    "Capture",
    "Category",
    "History",
    "Operation",
    "PausableTimer",
    "QuantumPulseError",
    "Recorder",
    "__version__",
    "analysis",
    "annotate",
    "import_trace",
    "last",
    "op",
    "open",
    "record",
    "sample",
    "start",
    "stop",
]

#: Names that are imported when they are first used, and the modules that have them.
_LAZY = {
    "Alert": "quantum_pulse.alerts.rules",
    "Capture": "quantum_pulse.facade",
    "History": "quantum_pulse.history",
    "SLO": "quantum_pulse.alerts.rules",
    "import_trace": "quantum_pulse.facade.importing",
    "last": "quantum_pulse.facade",
    "open": "quantum_pulse.facade",
    "sample": "quantum_pulse.facade",
}


start_from_environment()


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext quantum_pulse`` calls."""
    from quantum_pulse.notebook import load_ipython_extension as load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext quantum_pulse`` calls."""
    from quantum_pulse.notebook import unload_ipython_extension as unload

    unload(shell)


if not TYPE_CHECKING:  # for type checkers, a name that is not listed above is a mistake

    def __getattr__(name: str) -> Any:
        import importlib

        if name == "analysis":  # the import puts the package among the module's names
            return importlib.import_module("quantum_pulse.analysis")
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
