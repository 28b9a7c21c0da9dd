"""What all web frameworks have in common: a request is a block that learns its route and how it ended."""

from __future__ import annotations

from quantum_pulse.core import core
from quantum_pulse.integrations.naming import FoundOperations, member_name, normalized
from quantum_pulse.operations import Operation, op

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Final, NamedTuple
else:
    from quantum_pulse.tuples import NamedTuple

#: Where a request is found by what it passes through: the key in an ASGI scope and in a WSGI environment.
REQUEST_KEY: Final = "quantum_pulse.request"

#: What is known of each request. The route is None where the path has none, the status where no response was begun.
_ATTRIBUTES: Final = {"method": str, "route": str | None, "status": int | None}
#: Methods of RFC 9110, part 9, and RFC 5789. A client may send any text; all others are recorded as one.
_METHODS: Final = {
    name: name for name in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE")
}
_OTHER_METHOD: Final = "other"


class Http(Operation):
    """Operations of web services that are not routes."""

    UNMATCHED = op("Requests whose path has no route", category="HTTP", attributes=_ATTRIBUTES)
    STREAMING = op("From the first part of a streamed response to its last byte", category="HTTP")
    CONNECTION = op("WebSocket connections whose path has no route", category="WebSocket")


class ClientDisconnected(Exception):  # noqa: N818 - names what happened, in the column `error`
    """The client left before the last byte of the response."""


class IncompleteResponse(Exception):  # noqa: N818 - as above
    """The application returned without a complete response."""


class _Route(NamedTuple):
    operation: Operation
    template: str  # normalized


_routes = FoundOperations("Routes", __name__, "HTTP", member_name, _ATTRIBUTES)
_sockets = FoundOperations("WebSockets", __name__, "WebSocket", member_name)
#: By template as the framework has it, because to normalize one takes longer than all the rest.
_of_route: dict[str, _Route] = {}
_of_socket: dict[str, Operation] = {}
_failures: dict[int, type[BaseException]] = {}


def route(template: str) -> Operation:
    """The operation of the route `template`: a member of an enum called `Routes`, the same one each time.

    Parameters
    ----------
    template
        A path as any of the frameworks writes it. Types of parameters make no difference.

    Returns
    -------
    Operation
        The member, under a name that depends on the template alone.

    Examples
    --------
    >>> from quantum_pulse.integrations import web
    >>> web.route("/orders/{order_id}")
    <Routes.ORDERS__BY_ORDER_ID: /orders/{order_id}>
    >>> web.route("/orders/<int:order_id>") is web.route("/orders/{order_id}")
    True
    """
    return _route(template).operation


def _route(template: str) -> _Route:
    found = _of_route.get(template)
    if found is None:
        text = normalized(template)
        found = _of_route[template] = _Route(_routes[text], text)
    return found


def websocket_route(template: str) -> Operation:
    """The operation of connections to the WebSocket route `template`: a member of an enum called `WebSockets`.

    Parameters
    ----------
    template
        A path as any of the frameworks writes it.

    Returns
    -------
    Operation
        The member, under a name that depends on the template alone.
    """
    found = _of_socket.get(template)
    if found is None:
        found = _of_socket[template] = _sockets[normalized(template)]
    return found


def failure(kind: str, status: int) -> type[BaseException]:
    """What names a status that is a failure, such as "HTTP 503", in the column `error`."""
    found = _failures.get(status)
    if found is None:
        found = _failures[status] = type(f"{kind} {status}", (Exception,), {})
    return found


class Request:
    """A request that is being answered.

    It begins as one of no known route, because only the framework's router knows better, and middleware runs before it.
    """

    # What most requests leave as it is costs nothing that way, as it would if each set it.
    status = 0
    is_over = False
    _prefix = ""
    _first_byte_ns = 0
    _template: str | None = None

    def __init__(self, method: str, root: str = "") -> None:
        self._method = method
        self.root = root  # what the server has taken off the path
        self._block = core.Block(Http.UNMATCHED)

    def routed(self, template: str) -> None:
        """The router has chosen a route, inside of those that have been mounted."""
        if not self.is_over:
            operation, self._template = _route(self._prefix + template if self._prefix else template)
            self._block.become(operation)

    def mounted(self, prefix: str) -> None:
        """The router has handed the request on to the router that is mounted at `prefix`."""
        self._prefix += prefix

    def streams(self, since_ns: int) -> None:
        """More of the response follows what was sent first, at `since_ns` on the core's clock."""
        if not self._first_byte_ns:
            self._first_byte_ns = since_ns

    def finish(self) -> None:
        """The last byte of the response was sent."""
        self.end(failure("HTTP", self.status) if self.status >= 500 else None)

    def end(self, error: type[BaseException] | None) -> None:
        """The request is over, if it was not before."""
        if self.is_over:
            return
        self.is_over = True
        if self._first_byte_ns:
            core.add(Http.STREAMING, self._first_byte_ns, core.now() - self._first_byte_ns, error)
        self._block.annotate(
            method=_METHODS.get(self._method, _OTHER_METHOD), route=self._template, status=self.status or None
        )
        self._block.end(error)


class Connection:
    """A WebSocket connection, from the handshake to its end."""

    __slots__ = ("_block", "_prefix", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self._prefix = ""
        self._block = core.Block(Http.CONNECTION)

    def routed(self, template: str) -> None:
        """As `Request.routed`."""
        if not self.is_over:
            self._block.become(websocket_route(self._prefix + template))

    def mounted(self, prefix: str) -> None:
        """As `Request.mounted`."""
        self._prefix += prefix

    def end(self, error: type[BaseException] | None) -> None:
        """The connection is closed, if it was not before."""
        if not self.is_over:
            self.is_over = True
            self._block.end(error)
