"""Every error that quantum_pulse raises on purpose. One root, so that one ``except`` is enough."""


class QuantumPulseError(Exception):
    """Root of all errors of this package."""


class CaptureError(QuantumPulseError):
    """A capture cannot be read."""


class NotACaptureError(CaptureError):
    """The path exists but holds no capture, or does not exist at all."""


class EmptyCaptureError(CaptureError):
    """The capture is sound but no operation has run in it."""


class FormatVersionError(CaptureError):
    """The capture was written in a format that this version does not know."""


class UnknownOperationError(QuantumPulseError, KeyError):
    """There is no operation of that name."""

    # A KeyError shows the name that it is about, in quotes; this one says more.
    __str__ = Exception.__str__


class RecordingError(QuantumPulseError):
    """A recording cannot be started or stopped as asked."""


class DefinitionError(QuantumPulseError, TypeError):
    """An operation or a category is defined in a way that cannot work."""


class TraceError(QuantumPulseError):
    """A file cannot be imported: it is no trace of a known format, or it is damaged."""
