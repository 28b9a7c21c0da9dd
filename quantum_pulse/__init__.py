"""quantum_pulse: microsecond performance work in Jupyter. Every sample of named operations, at a cost nobody notices.

The names below are the whole face. What needs numpy, pandas, pyarrow or IPython is imported when first used, so that
``import quantum_pulse`` costs a service nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quantum_pulse._version import __version__
from quantum_pulse.errors import QuantumPulseError
from quantum_pulse.facade import Capture, last, open  # noqa: A004 - qp.open is the name that reads best
from quantum_pulse.operations import Category, Operation, op
from quantum_pulse.recorder.recording import Recorder
from quantum_pulse.recorder.session import record, start, start_from_environment, stop
from quantum_pulse.timers import PausableTimer

if TYPE_CHECKING:
    from quantum_pulse import analysis as analysis
    from quantum_pulse.history import History as History

__all__ = [
    "Capture",
    "Category",
    "History",
    "Operation",
    "PausableTimer",
    "QuantumPulseError",
    "Recorder",
    "__version__",
    "analysis",
    "last",
    "op",
    "open",
    "record",
    "start",
    "stop",
]


start_from_environment()


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext quantum_pulse`` calls."""
    from quantum_pulse.notebook import load_ipython_extension as load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext quantum_pulse`` calls."""
    from quantum_pulse.notebook import unload_ipython_extension as unload

    unload(shell)


def __getattr__(name: str) -> Any:
    import importlib

    if name == "analysis":  # once: the import puts the package among the module's names
        return importlib.import_module("quantum_pulse.analysis")
    if name == "History":
        return importlib.import_module("quantum_pulse.history").History
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
