"""Routes of Starlette and FastAPI, as their routers choose them.

Each kind of route has a method `handle`, which a router calls once it has chosen the route. There the request learns
about it, before the endpoint runs, so that one that hangs is known by its route too.
"""

from __future__ import annotations

import functools
import sys

from quantum_pulse.integrations.web import REQUEST_KEY

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from typing import Any


def is_application(app: object) -> bool:
    """Whether `app` is an application of Starlette, or of what is built on it."""
    starlette = sys.modules.get("starlette.applications")
    return starlette is not None and isinstance(app, starlette.Starlette)


def observe() -> None:
    """Let all kinds of routes that there are say which one was chosen."""
    from starlette.routing import BaseRoute

    for kind in _kinds(BaseRoute):
        handle = vars(kind).get("handle")
        if handle is not None and not hasattr(handle, "_quantum_pulse"):
            kind.handle = _observed(handle, may_enclose=hasattr(kind, "routes"))


def _kinds(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _kinds(derived)


def _observed(handle: Any, *, may_enclose: bool) -> Any:
    @functools.wraps(handle)
    def observed(self: Any, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        request = scope.get(REQUEST_KEY)
        if request is not None:
            if may_enclose or "fastapi" in scope:
                _note(request, self, scope)
            elif (template := getattr(self, "path", None)) is not None:
                request.routed(template)
        return handle(self, scope, receive, send)  # type: ignore[no-any-return]

    observed._quantum_pulse = True  # type: ignore[attr-defined]
    return observed


def _note(request: Any, route: Any, scope: Any) -> None:
    # FastAPI keeps a route that an included router has once, and what the inclusion makes of it apart.
    included = scope.get("fastapi")
    effective = None if included is None else included.get("effective_route_context")
    if effective is not None and effective.original_route is route:
        route = effective.starlette_route or effective
    template = getattr(route, "path", None)
    if template is None:  # a host, or a router that is included: what it encloses has a path
        return
    if getattr(route, "routes", None):
        request.mounted(template)
    else:
        request.routed(template)
