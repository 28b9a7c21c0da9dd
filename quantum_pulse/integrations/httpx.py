"""httpx: requests that a program sends, from its call to the last byte of the response."""

from __future__ import annotations

import functools

import httpx

from quantum_pulse.core import core
from quantum_pulse.integrations.http_client import HttpClient, describe

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any, TypeVar

    from quantum_pulse.core._native import Block

    C = TypeVar("C", httpx.Client, httpx.AsyncClient)


def instrument(client: C) -> C:
    """Record each request of a client as a call of `HttpClient.REQUEST`.

    Parameters
    ----------
    client
        An `httpx.Client` or an `httpx.AsyncClient`.

    Returns
    -------
    client
        The same client.

    Raises
    ------
    TypeError
        If `client` is neither.

    Notes
    -----
    A request has the attributes ``method``, ``host`` and ``status``. A response that is streamed ends when it is
    closed. Its error is that of httpx, such as `ConnectTimeout`, or "HTTP 503" for a status of 500 and more.

    Examples
    --------
    >>> import httpx as client_library
    >>> client = httpx.instrument(client_library.Client())
    >>> client.close()
    """
    if not isinstance(client, httpx.Client | httpx.AsyncClient):
        raise TypeError(f"httpx.instrument takes an httpx.Client or an httpx.AsyncClient, not {client!r}")
    if not hasattr(client.send, "_quantum_pulse"):
        send = _send_async(client.send) if isinstance(client, httpx.AsyncClient) else _send(client.send)
        send._quantum_pulse = True
        client.send = send  # type: ignore[method-assign]
    return client


def _send(send: Any) -> Any:
    @functools.wraps(send)
    def observed(request: httpx.Request, **options: Any) -> httpx.Response:
        block = core.Block(HttpClient.REQUEST)
        try:
            response: httpx.Response = send(request, **options)
        except BaseException as error:
            describe(block, request.method, request.url.host)
            block.end(type(error))
            raise
        _finish(response, block)
        return response

    return observed


def _send_async(send: Any) -> Any:
    @functools.wraps(send)
    async def observed(request: httpx.Request, **options: Any) -> httpx.Response:
        block = core.Block(HttpClient.REQUEST)
        try:
            response: httpx.Response = await send(request, **options)
        except BaseException as error:
            describe(block, request.method, request.url.host)
            block.end(type(error))
            raise
        _finish(response, block)
        return response

    return observed


def _finish(response: httpx.Response, block: Block) -> None:
    """End the block, now or with the response."""
    request = response.request
    error = describe(block, request.method, request.url.host, response.status_code)
    if response.is_closed:
        block.end(error)
    elif isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _AsyncStream(response.stream, block, error)
    else:
        response.stream = _Stream(response.stream, block, error)


class _Stream(httpx.SyncByteStream):
    def __init__(self, stream: Any, block: Block, error: type[BaseException] | None) -> None:
        self._stream = stream
        self._block = block
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            self._error = type(error)
            raise

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._block.end(self._error)


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, stream: Any, block: Block, error: type[BaseException] | None) -> None:
        self._stream = stream
        self._block = block
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except Exception as error:
            self._error = type(error)
            raise

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._block.end(self._error)
