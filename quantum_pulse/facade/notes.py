"""What is said below the statistics of a whole capture, in a terminal and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantum_pulse.diagnosis import budgets as checks
from quantum_pulse.diagnosis import open_calls
from quantum_pulse.reading import expired, saves
from quantum_pulse.reading import validation as limits
from quantum_pulse.view import budgets, validation
from quantum_pulse.view import open_calls as hanging

if TYPE_CHECKING:
    from quantum_pulse.facade.capture import Capture


def below(capture: Capture) -> list[str]:
    """Unfinished calls, budgets, implausible durations, and what has expired, where there are any: lines of text."""
    source = capture._source
    found = (
        hanging.lines(open_calls.find(source)),
        budgets.lines(checks.rows(source, is_tested=None)),
        validation.lines(capture.validate(expected_only=True)) if limits.expected(source) else "",
        expired.sentence(source),
        saves.sentence(source),
    )
    return [text for text in found if text]
