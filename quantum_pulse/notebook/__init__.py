"""Magics for notebooks. IPython is imported when the extension is loaded."""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext quantum_pulse`` calls: registers ``%%pulse``, ``%pulse`` and ``%pulse_record``."""
    from quantum_pulse.notebook.magics import register

    register(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext quantum_pulse`` calls: ends the recording of the session and takes the magics away."""
    from quantum_pulse.notebook.magics import unregister

    unregister(shell)
