"""The ASGI integration, message by message, and in the tasks that frameworks make."""

import asyncio
import gc

import pandas as pd
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Host, Mount, Route, Router

import quantum_pulse as qp
from quantum_pulse.integrations import asgi, web


class Steps(qp.Operation):
    INSIDE = qp.op()
    AFTERWARDS = qp.op()
    OUTLIVING = qp.op()


class Server:
    """Calls an application as a server does."""

    def __init__(self, app, path, *, method="GET", kind="http", received=(), fails=False):
        self.app = app
        self.sent = []
        self.fails = fails
        self.received = [{"type": "http.request", "body": b"", "more_body": False}, *received]
        self.scope = {
            "type": kind, "method": method, "path": path, "raw_path": path.encode(), "root_path": "", "headers": [],
            "query_string": b"", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        }  # fmt: skip

    async def receive(self):
        if not self.received:
            await asyncio.sleep(3600)
        return self.received.pop(0)

    async def send(self, message):
        if self.fails and message["type"] == "http.response.body":
            raise OSError("the client has left")
        self.sent.append(message)

    async def run(self):
        await self.app(self.scope, self.receive, self.send)


def recorded(tmp_path, app, *requests, **options):
    """The samples of requests, one after the other."""
    with qp.record(tmp_path / "capture"):
        for path in requests:
            asyncio.run(Server(app, path, **options).run())
    capture = qp.open(tmp_path / "capture")
    assert capture.unfinished().empty
    return capture.samples().sort_values("start")


def respond(*messages):
    """An application that sends these messages."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


def start(status=200, **more):
    return {"type": "http.response.start", "status": status, "headers": [], **more}


def body(data=b"", more_body=False):
    return {"type": "http.response.body", "body": data, "more_body": more_body}


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([start(), body(b"all")], None),
        ([start(404), body()], None),
        ([start(500), body()], "HTTP 500"),
        ([start(503), body(b"a", True), body()], "HTTP 503"),
        ([start(), {"type": "http.response.pathsend", "path": "/"}], None),
        ([start(trailers=True), body(), {"type": "http.response.trailers", "headers": []}], None),
        ([start(trailers=True), body()], "IncompleteResponse"),
        ([start(), body(b"a", True)], "IncompleteResponse"),
        ([start()], "IncompleteResponse"),
        ([], "IncompleteResponse"),
    ],
)
def test_how_responses_end(tmp_path, messages, error):
    app = asgi.instrument(respond(*messages))
    samples = recorded(tmp_path, app, "/anything")
    assert list(samples["operation"]).count("Http.UNMATCHED") == 1
    found = samples["error"][samples["operation"] == "Http.UNMATCHED"].iloc[0]
    assert (found if isinstance(found, str) else None) == error


def attributes(samples):
    """Those of requests."""
    return [given for given in samples["attributes"] if isinstance(given, dict)]


def test_requests_have_a_method_a_route_and_a_status(tmp_path):
    async def order(request):
        return PlainTextResponse("an order", 201)

    routes = [Mount("/shop", routes=[Route("/orders/{number:int}", order, methods=["GET", "POST"])])]
    app = asgi.instrument(Starlette(routes=routes))
    for name, method in (("posts", "POST"), ("invented", "BREW")):
        samples = recorded(tmp_path / name, app, "/shop/orders/7", "/nowhere", method=method)
        known = {"method": "POST" if name == "posts" else "other"}
        status = "201" if name == "posts" else "405"
        assert attributes(samples) == [
            {**known, "route": "/shop/orders/{number}", "status": status},
            {**known, "status": "404"},
        ]
    grouped = qp.open(tmp_path / "posts" / "capture").stats(by=["route", "status"])
    assert grouped["count"].sum() == 2
    assert attributes(recorded(tmp_path / "nothing", asgi.instrument(respond()), "/")) == [{"method": "GET"}]


def test_an_application_that_raises_before_and_after_its_response(tmp_path):
    async def before(scope, receive, send):
        raise KeyError("before")

    async def after(scope, receive, send):
        await respond(start(), body())(scope, receive, send)
        raise KeyError("after")

    with qp.record(tmp_path / "capture"):
        for app in (before, after):
            with pytest.raises(KeyError):
                asyncio.run(Server(asgi.instrument(app), "/").run())
    errors = qp.open(tmp_path / "capture").samples()["error"]
    assert [error if isinstance(error, str) else None for error in errors] == ["KeyError", None]


def test_a_client_that_leaves_is_named(tmp_path):
    async def waits(scope, receive, send):
        await send(start())
        while (await receive())["type"] != "http.disconnect":
            await send(body(b"part", True))

    samples = recorded(tmp_path, asgi.instrument(waits), "/", received=[{"type": "http.disconnect"}])
    assert samples["error"][samples["operation"] == "Http.UNMATCHED"].item() == "ClientDisconnected"
    app = asgi.instrument(respond(start(), body()))
    with qp.record(tmp_path / "sends"), pytest.raises(OSError, match="left"):
        asyncio.run(Server(app, "/", fails=True).run())
    assert list(qp.open(tmp_path / "sends").samples()["error"]) == ["ClientDisconnected"]


def test_other_scopes_pass_through(tmp_path):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    with qp.record(tmp_path / "capture"):
        asyncio.run(Server(asgi.instrument(app), "/", kind="lifespan").run())
        with qp.Operation("Other", {"STEP": qp.op()})["STEP"]:
            pass
    assert seen == ["lifespan"]
    assert list(qp.open(tmp_path / "capture").samples()["operation"]) == ["Other.STEP"]


async def later():
    with Steps.AFTERWARDS:
        await asyncio.sleep(0.01)


async def answer(request):
    with Steps.INSIDE:
        pass
    return PlainTextResponse("answer", background=BackgroundTask(later))


async def parts():
    for _ in range(3):
        with Steps.INSIDE:
            await asyncio.sleep(0.001)
        yield b"part"


async def stream(request):
    return StreamingResponse(parts(), background=BackgroundTask(later))


class PassedOn(BaseHTTPMiddleware):
    """Middleware that runs what is below in a task of its own."""

    async def dispatch(self, request, call_next):
        return await call_next(request)


@pytest.mark.parametrize("path", ["/answer", "/stream"])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_background_tasks_are_roots_in_whatever_task_they_run(tmp_path, path, layers):
    app = asgi.instrument(Starlette(routes=[Route("/answer", answer), Route("/stream", stream)]))
    for _ in range(layers):
        app.add_middleware(PassedOn)
    samples = recorded(tmp_path, app, path)
    request = samples[samples["operation"] == f"Routes.{path[1:].upper()}"].iloc[0]
    assert (samples["parent"][samples["operation"] == "Steps.INSIDE"] == request["span"]).all()
    afterwards = samples[samples["operation"] == "Steps.AFTERWARDS"].iloc[0]
    assert afterwards["start"] >= request["start"] + pd.Timedelta(request["duration_ns"], "ns")
    assert afterwards["parent"] == 0
    assert request["parent"] == 0


def test_a_task_that_outlives_its_request_is_marked_in_the_tree(tmp_path):
    async def outlives(started):
        with Steps.OUTLIVING:
            started.set()
            await asyncio.sleep(0.03)

    tasks = []

    async def spawn(request):
        started = asyncio.Event()
        tasks.append(asyncio.create_task(outlives(started)))
        await started.wait()
        return PlainTextResponse("spawned")

    app = asgi.instrument(Starlette(routes=[Route("/spawn", spawn)]))

    async def main():
        await Server(app, "/spawn").run()
        await asyncio.gather(*tasks)

    with qp.record(tmp_path / "capture"):
        asyncio.run(main())
    tree = qp.open(tmp_path / "capture").tree()
    assert tree.loc["Routes.SPAWN > Steps.OUTLIVING", "detached"] > 0.5
    assert tree.loc["Routes.SPAWN", "total_us"] < tree.loc["Routes.SPAWN > Steps.OUTLIVING", "total_us"]
    assert 0 <= tree.loc["Routes.SPAWN", "self_us"] <= tree.loc["Routes.SPAWN", "total_us"]


async def plain(request):
    return PlainTextResponse("plain")


def test_routes_of_starlette_by_where_they_are_mounted(tmp_path):
    shared = Router([Route("/items/{item}", plain)])
    app = Starlette(
        routes=[
            Mount("/a/{tenant}", app=shared),
            Mount("/b", app=shared),
            Mount("/files", app=respond(start(), body())),
            Host("api.example", Router([Route("/hosted", plain)])),
            Route("/posted", plain, methods=["POST"]),
        ]
    )
    assert asgi.instrument(asgi.instrument(app)) is app
    samples = recorded(
        tmp_path, app, "/a/1/items/2", "/a/3/items/4", "/b/items/5", "/files/x", "/a/1/nowhere", "/nowhere", "/posted"
    )
    assert samples["operation"].value_counts().to_dict() == {
        "Routes.A__BY_TENANT__ITEMS__BY_ITEM": 2,
        "Routes.B__ITEMS__BY_ITEM": 1,
        "Routes.FILES": 1,
        "Http.UNMATCHED": 2,
        "Routes.POSTED": 1,
    }


def test_routes_of_fastapi_that_are_included_more_than_once(tmp_path):
    items = APIRouter()

    @items.get("/{item}")
    async def item(item: str):
        return item

    inner = APIRouter(prefix="/inner")
    inner.include_router(items, prefix="/items")
    app = asgi.instrument(FastAPI())
    app.include_router(inner, prefix="/v1")
    app.include_router(inner, prefix="/v2")
    app.include_router(items, prefix="/things")
    samples = recorded(tmp_path, app, "/v1/inner/items/1", "/v2/inner/items/2", "/v2/inner/items/3", "/things/4", "/v3")
    assert samples["operation"].value_counts().to_dict() == {
        "Routes.V2__INNER__ITEMS__BY_ITEM": 2,
        "Routes.V1__INNER__ITEMS__BY_ITEM": 1,
        "Routes.THINGS__BY_ITEM": 1,
        "Http.UNMATCHED": 1,
    }


def test_middleware_that_copies_the_scope_hides_no_route(tmp_path):
    class Copies:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(dict(scope), receive, send)

    app = asgi.instrument(Starlette(routes=[Route("/plain", plain)]))
    app.add_middleware(Copies)
    assert list(recorded(tmp_path, app, "/plain")["operation"]) == ["Routes.PLAIN"]


def test_a_request_that_hangs_is_known_by_its_route(tmp_path):
    async def hang(request):
        await asyncio.sleep(3600)

    app = asgi.instrument(Starlette(routes=[Route("/hang/{number}", hang)]))

    async def main(recorder):
        task = asyncio.create_task(Server(app, "/hang/1").run())
        await asyncio.sleep(0.05)
        recorder.flush()
        found = qp.last().unfinished()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return found

    with qp.record(tmp_path / "capture") as recorder:
        with Steps.INSIDE:
            pass
        found = asyncio.run(main(recorder))
    assert list(found["operation"]) == ["Routes.HANG__BY_NUMBER"]
    samples = qp.open(tmp_path / "capture").samples()
    assert samples["error"][samples["operation"] == "Routes.HANG__BY_NUMBER"].item() == "CancelledError"


def test_operations_are_members_with_a_name_of_their_own():
    operation = web.route("/orders/{order_id}")
    assert isinstance(operation, qp.Operation)
    assert type(operation).__name__ == "Routes"
    assert type(operation)["ORDERS__BY_ORDER_ID"] is operation
    assert (operation.name, operation.description) == ("ORDERS__BY_ORDER_ID", "/orders/{order_id}")
    assert operation.category.name == "HTTP"
    assert web.route("/orders/{order_id:int}") is operation


def test_a_request_leaves_nothing_for_the_garbage_collector(tmp_path):
    app = asgi.instrument(respond(start(), body()))

    async def main():
        for _ in range(50):
            await Server(app, "/").run()

    with qp.record(tmp_path / "capture"):
        gc.collect()
        gc.disable()
        try:
            asyncio.run(main())
            # By its type: other libraries' proxies do a lot where they are asked for their class.
            left = [one for one in gc.get_objects() if type(one) is web.Request]
        finally:
            gc.enable()
    assert left == []


def test_what_is_no_application():
    with pytest.raises(TypeError, match="ASGI application"):
        asgi.instrument("app:app")
