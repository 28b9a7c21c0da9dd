"""Every error that quantum_pulse raises on purpose. They share a base class, so one ``except`` is enough."""


class QuantumPulseError(Exception):
    """Base class of all errors of quantum_pulse.

    Invalid arguments of an analysis raise `TypeError` or `ValueError` instead.

    Examples
    --------
    >>> try:
    ...     qp.open("nowhere")
    ... except qp.QuantumPulseError as error:
    ...     print(type(error).__name__)
    NotACaptureError
    """


class CaptureError(QuantumPulseError):
    """A capture cannot be read.

    Examples
    --------
    >>> from quantum_pulse.errors import CaptureError
    >>> try:
    ...     qp.open("nowhere")
    ... except CaptureError as error:
    ...     print(type(error).__name__)
    NotACaptureError
    """


class NotACaptureError(CaptureError):
    """The path does not exist, or it holds no capture.

    Examples
    --------
    >>> qp.open("nowhere")
    Traceback (most recent call last):
    ...
    quantum_pulse.errors.NotACaptureError: ...
    """


class EmptyCaptureError(CaptureError):
    """The capture is valid, but no operation has run in it.

    The message says why, as far as the recording knows.

    Examples
    --------
    >>> with qp.record("captures/empty"):
    ...     pass
    >>> qp.open("captures/empty")
    Traceback (most recent call last):
    ...
    quantum_pulse.errors.EmptyCaptureError: ...
    """


class FormatVersionError(CaptureError):
    """The capture was written in a format that this version of quantum_pulse cannot read.

    Examples
    --------
    >>> from quantum_pulse.errors import CaptureError, FormatVersionError
    >>> issubclass(FormatVersionError, CaptureError)
    True
    """


class UnknownOperationError(QuantumPulseError, KeyError):
    """There is no operation of that name. The message names the nearest one.

    It is a `KeyError` too.

    Examples
    --------
    >>> capture = qp.sample("engine")
    >>> capture.operations["Engine.ORDR"]
    Traceback (most recent call last):
    ...
    quantum_pulse.errors.UnknownOperationError: no operation 'Engine.ORDR' is in this capture...
    """

    # A KeyError shows the name that it is about, in quotes; this one says more.
    __str__ = Exception.__str__


class RecordingError(QuantumPulseError):
    """A recording cannot be started or stopped as requested.

    Examples
    --------
    >>> qp.stop()
    Traceback (most recent call last):
    ...
    quantum_pulse.errors.RecordingError: nothing is being recorded; start a recording with qp.start(path)
    """


class DefinitionError(QuantumPulseError, TypeError):
    """The definition of an operation or a category is invalid.

    It is a `TypeError` too.

    Examples
    --------
    >>> qp.op("Submit an order", budget=100)
    Traceback (most recent call last):
    ...
    quantum_pulse.errors.DefinitionError: op() got an unexpected keyword argument 'budget'; did you mean budget_us?
    """


class TraceError(QuantumPulseError):
    """A file cannot be imported: it is no trace of a known format, or it is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("notes.txt").write_text("no trace")
    >>> qp.import_trace("notes.txt", "captures/notes")
    Traceback (most recent call last):
    ...
    quantum_pulse.errors.TraceError: notes.txt is of no format that can be imported; there are chrome, ...
    """
