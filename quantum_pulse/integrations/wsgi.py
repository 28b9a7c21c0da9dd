"""WSGI: Flask, Django, and any other application.

A request lasts from the call of the application until the server has taken the last part of the response. What the
application does when the response is closed is no part of it.
"""

from __future__ import annotations

import sys

from quantum_pulse.core import core
from quantum_pulse.integrations import django_routes
from quantum_pulse.integrations.web import REQUEST_KEY, ClientDisconnected, Request

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self, TypeVar

    Environment = dict[str, Any]
    StartResponse = Callable[..., Any]
    A = TypeVar("A")


def instrument(app: A) -> A:
    """Record each request to a WSGI application as a call of its route's operation.

    Parameters
    ----------
    app
        Any WSGI application. Of Flask and Django the routes are known.

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
    Operations, attributes and errors are those of `asgi.instrument`. A client has left (`ClientDisconnected`) where the
    server closes the response before its end.

    Examples
    --------
    >>> def app(environ, start_response):
    ...     start_response("200 OK", [])
    ...     return [b"hello"]
    >>> app = wsgi.instrument(app)
    """
    if not callable(app):
        raise TypeError(f"wsgi.instrument takes a WSGI application, not {app!r}")
    if isinstance(app, Instrumented):
        return app
    flask = sys.modules.get("flask")
    if flask is not None and isinstance(app, flask.Flask):
        first = app.before_request_funcs.setdefault(None, [])
        if _note_flask_rule not in first:
            # First of all that runs once the route is known. `before_request` would put it last.
            first.insert(0, _note_flask_rule)
            app.wsgi_app = Instrumented(app.wsgi_app)
        return app
    django_routes.observe(app)
    return Instrumented(app)  # type: ignore[return-value]


def _note_flask_rule() -> None:
    import flask

    request = flask.request.environ.get(REQUEST_KEY)
    rule = flask.request.url_rule
    if request is not None and rule is not None:
        # Where another application hands requests on, it has taken its part off the path.
        request.routed(flask.request.environ.get("SCRIPT_NAME", "")[len(request.root) :] + rule.rule)


class Instrumented:
    """A WSGI application whose requests are recorded."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as the protocol has it."""
        if REQUEST_KEY in environ:
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        request = environ[REQUEST_KEY] = Request(environ["REQUEST_METHOD"], environ.get("SCRIPT_NAME", ""))

        def start(status: str, *arguments: Any) -> Any:
            request.status = int(status[:3])
            return start_response(status, *arguments)

        try:
            parts = self.app(environ, start)
        except BaseException as error:
            request.end(type(error))
            raise
        sends_files = environ.get("wsgi.file_wrapper")
        if isinstance(sends_files, type) and isinstance(parts, sends_files):
            return _observed_file(parts, request)
        return _Parts(parts, request)

    def __getattr__(self, name: str) -> Any:
        """What is not known here is an attribute of the application."""
        if name == "app":  # it is being copied, and has none yet
            raise AttributeError(name)
        return getattr(self.app, name)


def _observed_file(parts: Any, request: Request) -> Iterable[bytes]:
    """A file that the server may send by itself, if it is given the very object: it has done so when it closes it."""
    close = getattr(parts, "close", None)

    def finish() -> None:
        request.finish()
        if close is not None:
            close()

    parts.close = finish
    return parts  # type: ignore[no-any-return]


class _Parts:
    """The parts of a response. When the server asks for another one it has sent those before."""

    __slots__ = ("_all", "_is_first", "_parts", "_request")

    def __init__(self, parts: Iterable[bytes], request: Request) -> None:
        self._all = parts
        self._parts: Iterator[bytes] | None = None
        self._is_first = True
        self._request = request

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        asked_ns = 0 if self._is_first else core.now()
        try:
            if self._parts is None:
                self._parts = iter(self._all)
            part = next(self._parts)
        except StopIteration:
            self._request.finish()
            raise
        except BaseException as error:
            self._request.end(type(error))
            raise
        if not self._is_first:
            self._request.streams(asked_ns)
        self._is_first = False
        return part

    def close(self) -> None:
        """The server is done with the response, to whatever end."""
        self._request.end(ClientDisconnected)
        close = getattr(self._all, "close", None)
        if close is not None:
            close()
