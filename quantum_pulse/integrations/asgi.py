"""ASGI: Starlette, FastAPI, Litestar, Django, and any other application.

A request lasts from the call of the application to the last byte of its response. What the application does after that,
such as background tasks, is no part of it.
"""

from __future__ import annotations

from quantum_pulse.core import core
from quantum_pulse.integrations import django_routes, starlette_routes
from quantum_pulse.integrations.web import (
    REQUEST_KEY,
    ClientDisconnected,
    Connection,
    IncompleteResponse,
    Request,
    failure,
)

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any, Final, TypeVar

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]
    A = TypeVar("A")

#: Close codes of a client that said so. Without one the connection was cut, which is 1006.
_GOOD_BYES: Final = (1000, 1001, 1005)
_INTERNAL_ERROR: Final = 1011


def instrument(app: A) -> A:
    """Record each request to an ASGI application as a call of its route's operation.

    Parameters
    ----------
    app
        Any ASGI 3 application. Of Starlette, FastAPI, Litestar and Django the routes are known; any other may say
        ``scope["route"]`` or ``scope["path_template"]``.

    Returns
    -------
    application
        What is to be served: `app` itself, where it can be instrumented in place, or else what wraps it.

    Raises
    ------
    TypeError
        If `app` is not callable.

    Notes
    -----
    A route is a member of an enum called `Routes`; see `web.route`. Requests whose path has no route are calls of one
    operation, `Http.UNMATCHED`. Each request has the attributes ``method``, ``route`` and ``status``; methods that HTTP
    does not define are "other". A status of 500 and more is an error ("HTTP 503"), and so are a client that has left
    (`ClientDisconnected`), as far as the server tells the application, and an exception that leaves the application.
    Of a streamed response, the time from its first part to its last byte is a call of `Http.STREAMING`. A WebSocket
    connection is one call, of a member of `WebSockets`.

    Examples
    --------
    >>> async def app(scope, receive, send):
    ...     await send({"type": "http.response.start", "status": 204, "headers": []})
    ...     await send({"type": "http.response.body", "body": b""})
    >>> app = asgi.instrument(app)
    """
    if not callable(app):
        raise TypeError(f"asgi.instrument takes an ASGI application, not {app!r}")
    if isinstance(app, Instrumented):
        return app
    if starlette_routes.is_application(app):
        _wrap_starlette(app)
        return app
    if hasattr(app, "asgi_handler") and hasattr(app, "asgi_router"):  # Litestar
        if not isinstance(app.asgi_handler, Instrumented):
            app.asgi_handler = Instrumented(app.asgi_handler)
        return app
    django_routes.observe(app)
    return Instrumented(app)  # type: ignore[return-value]


def _wrap_starlette(app: Any) -> None:
    """Put the integration around all middleware of a Starlette application, also what is added later."""
    starlette_routes.observe()
    build = app.build_middleware_stack
    if hasattr(build, "_quantum_pulse"):
        return

    def build_instrumented() -> Instrumented:
        return Instrumented(build())

    build_instrumented._quantum_pulse = True  # type: ignore[attr-defined]
    app.build_middleware_stack = build_instrumented
    if getattr(app, "middleware_stack", None) is not None:  # it has been called before
        app.middleware_stack = Instrumented(app.middleware_stack)


class Instrumented:
    """An ASGI application whose requests are recorded."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as the protocol has it."""
        kind = scope["type"]
        if REQUEST_KEY in scope or kind not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send) if kind == "http" else _Socket(scope, receive, send)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.end(type(error))
            raise
        finally:
            scope.pop(REQUEST_KEY, None)  # or the two would keep each other alive until the next collection
        if not exchange.is_over:
            exchange.give_up()

    def __getattr__(self, name: str) -> Any:
        """What is not known here is an attribute of the application."""
        if name == "app":  # it is being copied, and has none yet
            raise AttributeError(name)
        return getattr(self.app, name)


class _Exchange(Request):
    """A request, as the application sees it. There is one coroutine for each message, because each costs."""

    _has_left = False
    _has_trailers = False

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        scope[REQUEST_KEY] = self
        super().__init__(scope["method"])

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.is_over:
            self._has_left = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            if "trailers" in message:
                self._has_trailers = message["trailers"]
            template = self._scope.get("path_template")
            if template:
                self.routed(template)
        try:
            await self._send(message)
        except OSError:  # how a server says it, since version 2.4 of the protocol
            self.end(ClientDisconnected)
            raise
        if kind == "http.response.body":
            if message.get("more_body", False):
                self.streams(core.now())
            elif not self._has_trailers:
                self._finish()
        elif (kind == "http.response.pathsend" and not self._has_trailers) or (
            kind == "http.response.trailers" and not message.get("more_trailers", False)
        ):
            self._finish()

    def _finish(self) -> None:
        if self._has_left:
            self.end(ClientDisconnected)
        else:
            self.finish()

    def give_up(self) -> None:
        """The application has returned before the last byte."""
        self.end(ClientDisconnected if self._has_left else IncompleteResponse)


class _Socket(Connection):
    """A WebSocket connection, as the application sees it."""

    __slots__ = ("_receive", "_scope", "_send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        scope[REQUEST_KEY] = self
        super().__init__()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.end(None if message.get("code", 1005) in _GOOD_BYES else ClientDisconnected)
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("websocket.accept", "websocket.close"):
            template = self._scope.get("path_template")
            if template:
                self.routed(template)
        try:
            await self._send(message)
        except OSError:
            self.end(ClientDisconnected)
            raise
        if kind == "websocket.close":
            code = message.get("code", 1000)
            self.end(failure("WebSocket", code) if code == _INTERNAL_ERROR else None)

    def give_up(self) -> None:
        """The application has returned, which closes the connection."""
        self.end(None)
