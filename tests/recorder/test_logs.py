"""What the recorder logs, in programs that load `logging` at any time."""

import sys
import types

import pytest

from quantum_pulse.recorder import logs


@pytest.mark.parametrize("module", [None, types.ModuleType("logging")], ids=["not loaded", "half loaded"])
def test_nobody_listens_before_logging_is_loaded(monkeypatch, module):
    """Another thread of the program may be importing it, and a child may be forked in the middle of that."""
    if module is None:
        monkeypatch.delitem(sys.modules, "logging")
    else:
        monkeypatch.setitem(sys.modules, "logging", module)
    logs.debug("recording into %s", "captures/monday")


def test_what_is_said_is_formatted(caplog):
    caplog.set_level("DEBUG", logger="quantum_pulse")
    logs.debug("recording into %s", "captures/monday")
    logs.warning("%d of %d", 1, 2)
    assert caplog.messages == ["recording into captures/monday", "1 of 2"]
