"""A capture that is still being recorded, read anew for each question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantum_pulse.facade import opening
from quantum_pulse.facade.capture import Capture
from quantum_pulse.reading import reader, several

if TYPE_CHECKING:
    from quantum_pulse.facade.operations import RecordedOperations


class LiveCapture(Capture):
    """A capture that sees what has been written since it was opened, as `open` returns it with ``follow=True``.

    Each method reads what is there when it is called; what is final is not read again. What a method returns
    does not change any more.

    See Also
    --------
    open : Open a capture.

    Examples
    --------
    >>> class Trading(qp.Operation):
    ...     SUBMIT = qp.op("Submit an order")
    >>> with qp.record("captures/live") as recorder:
    ...     live = qp.open("captures/live", follow=True)
    ...     for count in (1, 2):
    ...         with Trading.SUBMIT:
    ...             pass
    ...         recorder.flush()
    ...         print(live.stats()["count"].item())
    1
    2
    """

    def __init__(self, path: several.Paths) -> None:
        self._paths = path
        self._known: opening.Known = {}
        super().__init__(self._source)

    @property
    def _source(self) -> reader.Source:
        return opening.source(self._paths, may_be_empty=True, known=self._known)

    @property
    def operations(self) -> RecordedOperations:
        """The operations by name, as far as they are known by now; see `Capture.operations`."""
        from quantum_pulse.facade.operations import RecordedOperations
        from quantum_pulse.reading import definitions

        return RecordedOperations(definitions.frame(self._source))
