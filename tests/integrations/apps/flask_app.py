import time

from apps.work import BACKGROUND_S, CHUNK_S, CHUNKS, STEP_S, Work
from flask import Blueprint, Flask, Response, request

from quantum_pulse.integrations import wsgi

app = Flask("flask_app")
wsgi.instrument(app)


@app.before_request
def authenticate():
    if request.path == "/dependency":
        with Work.DEPENDENCY:
            time.sleep(STEP_S)


@app.get("/plain/<int:number>")
def plain(number):
    return "plain"


@app.get("/dependency")
def dependency():
    return "dependency"


@app.get("/step")
@app.get("/thread", endpoint="thread")
def step():
    with Work.STEP:
        time.sleep(STEP_S)
    return "step"


def chunks(count):
    for _ in range(count):
        with Work.CHUNK:
            time.sleep(CHUNK_S)
        yield b"chunk" * 100


@app.get("/stream")
def stream():
    return Response(chunks(CHUNKS))


@app.get("/endless")
def endless():
    return Response(chunks(1_000_000))


@app.get("/background")
def background():
    def later():
        with Work.BACKGROUND:
            time.sleep(BACKGROUND_S)

    response = Response("soon")
    response.call_on_close(later)
    return response


@app.get("/error")
def error():
    raise ValueError("it fails")


@app.get("/slow")
def slow():
    time.sleep(0.5)
    return "slow"


items = Blueprint("items", __name__)


@items.get("/<item>")
def item(tenant, item):
    return step()


shop = Blueprint("shop", __name__)
shop.register_blueprint(items, url_prefix="/items")
app.register_blueprint(shop, url_prefix="/shop/<tenant>")
