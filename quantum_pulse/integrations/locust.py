"""Locust: the requests of a load test, as its users have seen them."""

from __future__ import annotations

from quantum_pulse.core import core
from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any, TypeVar

    E = TypeVar("E")


class LoadClient(Operation):
    """What is recorded of a load generator."""

    REQUEST = op(
        "A request of a load test, as its user has seen it",
        category="Load test",
        attributes={"method": str, "name": str},
    )


def instrument(environment: E) -> E:
    """Record each request of a load test as a call of `LoadClient.REQUEST`.

    Parameters
    ----------
    environment
        Locust's `Environment`, which a locustfile gets from the event ``init``.

    Returns
    -------
    environment
        The same environment.

    Raises
    ------
    TypeError
        For anything else.

    Notes
    -----
    A request has the attributes ``method`` and ``name``, as Locust's statistics do. Its error is the type of the
    exception that it failed by.

    Examples
    --------
    In a locustfile::

        from locust import events
        from quantum_pulse.integrations import locust

        @events.init.add_listener
        def record(environment, **_):
            locust.instrument(environment)
    """
    request: Any = getattr(getattr(environment, "events", None), "request", None)
    if not hasattr(request, "add_listener"):
        raise TypeError(f"locust.instrument takes an Environment of Locust, not {environment!r}")
    if _record not in request._handlers:
        request.add_listener(_record)
    return environment


def _record(
    request_type: str, name: str, response_time: float | None, exception: BaseException | None = None, **_: Any
) -> None:
    duration_ns = round((response_time or 0) * 1e6)
    timing = LoadClient.REQUEST(method=str(request_type), name=str(name))
    core.add(timing, core.now() - duration_ns, duration_ns, None if exception is None else type(exception))
