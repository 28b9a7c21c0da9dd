import asyncio
import time

from apps.starlette_app import chunks, later
from apps.work import CHUNKS, STEP_S, Work
from litestar import Litestar, MediaType, Response, Router, get, websocket
from litestar.background_tasks import BackgroundTask
from litestar.di import Provide
from litestar.response import Stream

from quantum_pulse.integrations import asgi


async def resource() -> str:
    with Work.DEPENDENCY:
        await asyncio.sleep(STEP_S)
    return "resource"


@get("/plain/{number:int}", media_type=MediaType.TEXT)
async def plain(number: int) -> str:
    return "plain"


async def a_step() -> str:
    with Work.STEP:
        await asyncio.sleep(STEP_S)
    return "step"


@get("/step", media_type=MediaType.TEXT)
async def step() -> str:
    return await a_step()


@get("/thread", media_type=MediaType.TEXT, sync_to_thread=True)
def thread() -> str:
    with Work.STEP:
        time.sleep(STEP_S)
    return "thread"


@get("/stream")
async def stream() -> Stream:
    return Stream(chunks(CHUNKS))


@get("/endless")
async def endless() -> Stream:
    return Stream(chunks(1_000_000))


@get("/background", media_type=MediaType.TEXT)
async def background() -> Response[str]:
    return Response("soon", background=BackgroundTask(later))


@get("/error")
async def error() -> str:
    raise ValueError("it fails")


@get("/dependency", media_type=MediaType.TEXT, dependencies={"found": Provide(resource)})
async def dependency(found: str) -> str:
    return found


@get("/slow", media_type=MediaType.TEXT)
async def slow() -> str:
    await asyncio.sleep(0.5)
    return "slow"


@websocket("/socket/{room:str}")
async def socket(socket: object, room: str) -> None:
    await socket.accept()
    async for text in socket.iter_data():
        await socket.send_text(text)


@get("/{item:str}", media_type=MediaType.TEXT)
async def item(tenant: str, item: str) -> str:
    return await a_step()


items = Router("/items", route_handlers=[item])
shop = Router("/shop/{tenant:str}", route_handlers=[items])
app = asgi.instrument(
    Litestar([plain, step, thread, stream, endless, background, error, dependency, slow, socket, shop])
)
