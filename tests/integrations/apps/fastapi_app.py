import asyncio
import time

from apps.starlette_app import chunks, later
from apps.work import CHUNKS, STEP_S, Work
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse

from quantum_pulse.integrations import asgi

app = FastAPI()
asgi.instrument(app)


async def resource():
    with Work.DEPENDENCY:
        await asyncio.sleep(STEP_S)
    yield "resource"


@app.get("/plain/{number}", response_class=PlainTextResponse)
async def plain(number: int):
    return "plain"


@app.get("/step", response_class=PlainTextResponse)
async def step():
    with Work.STEP:
        await asyncio.sleep(STEP_S)
    return "step"


@app.get("/thread", response_class=PlainTextResponse)
def thread():
    with Work.STEP:
        time.sleep(STEP_S)
    return "thread"


@app.get("/stream")
async def stream():
    return StreamingResponse(chunks(CHUNKS))


@app.get("/endless")
async def endless():
    return StreamingResponse(chunks(1_000_000))


@app.get("/background", response_class=PlainTextResponse)
async def background(tasks: BackgroundTasks):
    tasks.add_task(later)
    return "soon"


@app.get("/error")
async def error():
    raise ValueError("it fails")


@app.get("/dependency", response_class=PlainTextResponse)
async def dependency(found: str = Depends(resource)):
    return found


@app.get("/slow", response_class=PlainTextResponse)
async def slow():
    await asyncio.sleep(0.5)
    return "slow"


@app.websocket("/socket/{room}")
async def socket(websocket: WebSocket, room: str):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


items = APIRouter()


@items.get("/{item}", response_class=PlainTextResponse)
async def item(item: str):
    return await step()


shop = FastAPI()
shop.include_router(items, prefix="/items")
app.mount("/shop/{tenant}", shop)
