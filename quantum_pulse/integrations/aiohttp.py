"""aiohttp: requests that a program sends, from its call to the last byte of the response."""

from __future__ import annotations

import asyncio
import functools
import sys

import aiohttp

from quantum_pulse.core import core
from quantum_pulse.integrations.http_client import HttpClient, describe

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace
    from typing import Any

    from quantum_pulse.core._native import Block


def instrument(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Record each request of a client as a call of `HttpClient.REQUEST`.

    Parameters
    ----------
    session
        An `aiohttp.ClientSession`.

    Returns
    -------
    session
        The same session.

    Raises
    ------
    TypeError
        If `session` is something else.

    Notes
    -----
    A request has the attributes ``method``, ``host`` and ``status``. It ends with the last byte of its response, or
    when the response is released or closed. Its error is that of aiohttp, such as `ClientConnectorError`, or "HTTP 503"
    for a status of 500 and more. Of a WebSocket connection the handshake is recorded.

    Examples
    --------
    >>> import asyncio
    >>> import aiohttp as client_library
    >>> async def main():
    ...     async with aiohttp.instrument(client_library.ClientSession()) as session:
    ...         return len(session.trace_configs)
    >>> asyncio.run(main())
    1
    """
    if not isinstance(session, aiohttp.ClientSession):
        raise TypeError(f"aiohttp.instrument takes an aiohttp.ClientSession, not {session!r}")
    if not any(isinstance(one, _Observer) for one in session.trace_configs):
        observer = _Observer()
        observer.freeze()
        session.trace_configs.append(observer)
    return session


class _Observer(aiohttp.TraceConfig):
    """What a session tells of its requests, known by its type."""

    def __init__(self) -> None:
        super().__init__()
        self.on_request_start.append(_begin)
        self.on_request_end.append(_answered)
        self.on_request_exception.append(_failed)


async def _begin(_session: aiohttp.ClientSession, context: SimpleNamespace, _: aiohttp.TraceRequestStartParams) -> None:
    context.block = core.Block(HttpClient.REQUEST)


async def _failed(
    _session: aiohttp.ClientSession, context: SimpleNamespace, known: aiohttp.TraceRequestExceptionParams
) -> None:
    error = known.exception
    status = error.status if isinstance(error, aiohttp.ClientResponseError) and error.status else None
    failed = describe(context.block, known.method, known.url.host, status)
    context.block.end(failed or type(error))


async def _answered(
    _session: aiohttp.ClientSession, context: SimpleNamespace, known: aiohttp.TraceRequestEndParams
) -> None:
    response, block = known.response, context.block
    error = describe(block, known.method, known.url.host, response.status)
    if response.status == 101:  # what follows is no response any more
        block.end(error)
        return
    # The program may give up what it does not read.
    response.release = _observed(response.release, response, block, error)  # type: ignore[method-assign]
    response.close = _observed(response.close, response, block, error)  # type: ignore[method-assign]
    response.content.on_eof(functools.partial(block.end, error))


def _observed(
    give_up: Callable[[], Any], response: aiohttp.ClientResponse, block: Block, error: type[BaseException] | None
) -> Callable[[], Any]:
    @functools.wraps(give_up)
    def observed() -> Any:
        block.end(_failure(response) or error)
        return give_up()

    return observed


def _failure(response: aiohttp.ClientResponse) -> type[BaseException] | None:
    """What kept the response from being read to its end, where that is not the program's own affair."""
    found = response.content.exception() or sys.exc_info()[1]
    return type(found) if isinstance(found, aiohttp.ClientError | OSError | asyncio.CancelledError) else None
