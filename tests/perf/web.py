"""What the ASGI integration costs a request, beside OpenTelemetry's: applications that do next to nothing, in turns."""

from __future__ import annotations

import asyncio
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import quantum_pulse as qp
from quantum_pulse.integrations import asgi
from tests.perf.race import table

#: µs a request.
BAR_US = 3.0
REQUESTS = 500
ROUNDS = 40

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"hello", "more_body": False}


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    pass


def scope(path: str = "/plain/7") -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http",
        "headers": [(b"host", b"127.0.0.1")], "query_string": b"", "http_version": "1.1", "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 5000), "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def plain(request: Any) -> PlainTextResponse:
        return PlainTextResponse("plain")

    return Starlette(routes=[Route("/plain/{number:int}", plain)])


def opentelemetry(app: Any) -> Any:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - as the processor calls it
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return OpenTelemetryMiddleware(app, tracer_provider=provider)


async def spent_us(app: Callable[..., Awaitable[None]]) -> float:
    """Time of a request, in µs. Each has a task of its own, as servers give it."""

    async def request() -> None:
        await app(scope(), receive, send)

    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    for _ in range(REQUESTS):
        await loop.create_task(request())
    return (time.perf_counter() - begin) / REQUESTS * 1e6


def compare(apps: dict[str, Any]) -> dict[str, float]:
    """What each app takes longer than the first in its best round, in µs; all take turns.

    Other processes make a round longer and never shorter.
    """

    async def turns() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {name: [] for name in apps}
        for _ in range(ROUNDS):
            for name, app in apps.items():
                found[name].append(await spent_us(app))
        return found

    found = asyncio.run(turns())
    first = min(next(iter(found.values())))
    return {name: min(times) - first for name, times in found.items()}


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenTelemetry's own
        bare = {"plain": nothing, "integration": asgi.instrument(nothing), "OpenTelemetry": opentelemetry(nothing)}
        routed = {"plain": starlette(), "integration": asgi.instrument(starlette())}
        routed["OpenTelemetry"] = opentelemetry(starlette())
        off = compare({name: app for name, app in bare.items() if name != "OpenTelemetry"})
        with tempfile.TemporaryDirectory() as folder, qp.record(Path(folder) / "capture"):
            on, on_routed = compare(bare), compare(routed)
    rows = [
        ("quantum_pulse, nothing recorded", f"{off['integration']:.2f}", ""),
        (f"quantum_pulse (bar: {BAR_US:g} µs)", f"{on['integration']:.2f}", f"{on_routed['integration']:.2f}"),
        ("OpenTelemetry (batch, exported nowhere)", f"{on['OpenTelemetry']:.2f}", f"{on_routed['OpenTelemetry']:.2f}"),
    ]
    print("\nµs a request, beyond those of the application alone\n")
    print(table(("", "an application that does nothing", "a route of Starlette"), rows))
