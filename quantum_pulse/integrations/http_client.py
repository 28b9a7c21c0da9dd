"""What clients of HTTP have in common: a request lasts to the last byte of its response."""

from __future__ import annotations

from quantum_pulse.integrations.web import failure
from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from quantum_pulse.core._native import Block


class HttpClient(Operation):
    """What is recorded of a client."""

    REQUEST = op(
        "A request, redirects included, to the last byte of its response",
        category="HTTP client",
        attributes={"method": str, "host": str | None, "status": int | None},
    )


def describe(block: Block, method: str, host: str | None, status: int | None = None) -> type[BaseException] | None:
    """Say what is known of a request. Returns its failure, if the status is one."""
    block.annotate(method=method, host=host, status=status)
    return None if status is None or status < 500 else failure("HTTP", status)
