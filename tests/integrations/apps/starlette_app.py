import asyncio
import time

from apps.work import BACKGROUND_S, CHUNK_S, CHUNKS, STEP_S, Work
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from quantum_pulse.integrations import asgi


class Authenticated:
    """Middleware on which some endpoints depend."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope.get("path") == "/dependency":
            with Work.DEPENDENCY:
                await asyncio.sleep(STEP_S)
        await self.app(scope, receive, send)


async def plain(request):
    return PlainTextResponse("plain")


async def step(request):
    with Work.STEP:
        await asyncio.sleep(STEP_S)
    return PlainTextResponse("step")


def thread(request):
    with Work.STEP:
        time.sleep(STEP_S)
    return PlainTextResponse("thread")


async def chunks(count):
    for _ in range(count):
        with Work.CHUNK:
            await asyncio.sleep(CHUNK_S)
        yield b"chunk" * 100


async def stream(request):
    return StreamingResponse(chunks(CHUNKS))


async def endless(request):
    return StreamingResponse(chunks(1_000_000))


async def later():
    with Work.BACKGROUND:
        await asyncio.sleep(BACKGROUND_S)


async def background(request):
    return PlainTextResponse("soon", background=BackgroundTask(later))


async def error(request):
    raise ValueError("it fails")


async def slow(request):
    await asyncio.sleep(0.5)
    return PlainTextResponse("slow")


async def socket(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(
    routes=[
        Route("/plain/{number:int}", plain),
        Route("/step", step),
        Route("/stream", stream),
        Route("/background", background),
        Route("/error", error),
        Route("/endless", endless),
        Route("/thread", thread),
        Route("/dependency", plain),
        Route("/slow", slow),
        WebSocketRoute("/socket/{room}", socket),
        Mount("/shop/{tenant}", routes=[Mount("/items", routes=[Route("/{item}", step)])]),
    ],
    middleware=[Middleware(Authenticated)],
)
app = asgi.instrument(app)
