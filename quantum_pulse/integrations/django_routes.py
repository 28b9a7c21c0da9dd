"""Routes of Django, as it resolves them."""

from __future__ import annotations

import sys

from quantum_pulse.integrations.web import REQUEST_KEY

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any


def observe(app: Any) -> bool:
    """If `app` is Django's handler, WSGI or ASGI, let it say which route a request has. Returns whether it is."""
    base = sys.modules.get("django.core.handlers.base")
    if base is None or not isinstance(app, base.BaseHandler):
        return False
    resolve = app.resolve_request

    def resolve_request(request: Any) -> Any:
        match = resolve(request)
        own = (request.scope if hasattr(request, "scope") else request.environ).get(REQUEST_KEY)
        if own is not None and not own.is_over:
            own.routed(request.resolver_match.route)
        return match

    app.resolve_request = resolve_request
    return True
