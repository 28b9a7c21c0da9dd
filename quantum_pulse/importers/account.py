"""Count what becomes of the events of a trace: each is a sample, or is refused for a reason."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple


class Reason(NamedTuple):
    """Why an event is no sample. `is_loss`: it describes a call, which the capture now lacks."""

    text: str
    is_loss: bool = False


NAMES_ONLY: Final = Reason("names a process or thread")
ENDS_A_CALL: Final = Reason("ends a call: part of its sample")
OPEN: Final = Reason("begins a call that the trace does not end: an unfinished call")
INSTANT: Final = Reason("an instant, without a duration")
COUNTER: Final = Reason("a counter")
FLOW: Final = Reason("an arrow between calls")
OTHER_RECORD: Final = Reason("no call: another kind of record")
ROW_OF_METRICS: Final = Reason("a metric: in the table of metrics")
ROW_OF_EVENTS: Final = Reason("a pause or clock step: in the table of events")
NO_BEGIN: Final = Reason("ends a call that the trace does not begin", is_loss=True)
NO_NAME: Final = Reason("has no name", is_loss=True)
NO_TIME: Final = Reason("has no time, or none that is a number", is_loss=True)
NEGATIVE: Final = Reason("ends before it begins", is_loss=True)
OUT_OF_RANGE: Final = Reason("its time or number is out of range", is_loss=True)
MALFORMED: Final = Reason("is not an event of this format", is_loss=True)
TWICE: Final = Reason("its span has occurred before", is_loss=True)
CUT_OFF: Final = Reason("the trace is cut off within it", is_loss=True)


class Account:
    """How many events there were, and what became of them."""

    def __init__(self) -> None:
        #: As the reader of the format has counted them.
        self.events = 0
        self.samples = 0
        self.refused: Counter[Reason] = Counter()

    def refuse(self, reason: Reason, events: int = 1) -> None:
        """Count events that are no samples."""
        if events:
            self.refused[reason] += events

    @property
    def lost(self) -> Counter[Reason]:
        """Those that described calls."""
        return Counter({reason: events for reason, events in self.refused.items() if reason.is_loss})
