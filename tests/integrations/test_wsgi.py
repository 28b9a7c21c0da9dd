"""The WSGI integration, as servers call it."""

import io
import time
from wsgiref.util import FileWrapper, setup_testing_defaults

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import quantum_pulse as qp
from quantum_pulse.integrations import wsgi


class Calls(qp.Operation):
    INSIDE = qp.op()
    CLOSING = qp.op()


def serve(app, path="/", *, parts=None, **more):
    """What a server does: ask for all parts, or for so many, then close the response."""
    environ = {"PATH_INFO": path, "SCRIPT_NAME": "", **more}
    setup_testing_defaults(environ)
    response = app(environ, lambda *_: None)
    found = []
    try:
        for part in response:
            found.append(part)
            if len(found) == parts:
                break
    finally:
        if hasattr(response, "close"):
            response.close()
    return b"".join(found)


def recorded(tmp_path, calls):
    with qp.record(tmp_path / "capture"):
        calls()
    capture = qp.open(tmp_path / "capture")
    assert capture.unfinished().empty
    return capture.samples().sort_values("start")


def respond(status="200 OK", parts=(b"part",)):
    def app(environ, start_response):
        start_response(status, [])
        return list(parts)

    return app


@pytest.mark.parametrize(("status", "error"), [("200 OK", None), ("404 No", None), ("503 Not now", "HTTP 503")])
def test_statuses(tmp_path, status, error):
    samples = recorded(tmp_path, lambda: serve(wsgi.instrument(respond(status))))
    assert list(samples["operation"]) == ["Http.UNMATCHED"]
    assert [one if isinstance(one, str) else None for one in samples["error"]] == [error]
    assert list(samples["attributes"]) == [{"method": "GET", "status": status[:3]}]


def test_a_streamed_response(tmp_path):
    class Parts:
        def __iter__(self):
            for _ in range(4):
                with Calls.INSIDE:
                    time.sleep(0.005)
                yield b"part"

        def close(self):
            with Calls.CLOSING:
                time.sleep(0.02)

    def app(environ, start_response):
        start_response("200 OK", [])
        return Parts()

    samples = recorded(tmp_path, lambda: serve(wsgi.instrument(app)))
    request = samples[samples["operation"] == "Http.UNMATCHED"].iloc[0]
    assert 20e6 <= request["duration_ns"] < 38e6, "what follows the response is no part of it"
    assert (samples["parent"][samples["operation"] == "Calls.INSIDE"] == request["span"]).all()
    assert samples["parent"][samples["operation"] == "Calls.CLOSING"].item() == 0
    streaming = samples[samples["operation"] == "Http.STREAMING"].iloc[0]
    assert streaming["parent"] == request["span"]
    assert 15e6 <= streaming["duration_ns"] <= request["duration_ns"] - 5e6


def test_one_part_is_not_streamed(tmp_path):
    samples = recorded(tmp_path, lambda: serve(wsgi.instrument(respond())))
    assert list(samples["operation"]) == ["Http.UNMATCHED"]


def test_a_client_that_leaves(tmp_path):
    samples = recorded(tmp_path, lambda: serve(wsgi.instrument(respond(parts=[b"a", b"b", b"c"])), parts=2))
    assert set(samples["error"]) == {"ClientDisconnected"}


def test_applications_that_raise(tmp_path):
    def at_once(environ, start_response):
        raise KeyError("at once")

    def amid(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("amid")

    def calls():
        with pytest.raises(KeyError):
            serve(wsgi.instrument(at_once))
        with pytest.raises(ValueError, match="amid"):
            serve(wsgi.instrument(amid))

    assert list(recorded(tmp_path, calls)["error"]) == ["KeyError", "ValueError"]


def test_a_file_is_given_to_the_server_as_it_is(tmp_path):
    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"content"))

    def calls():
        environ = {"wsgi.file_wrapper": FileWrapper}
        setup_testing_defaults(environ)
        response = wsgi.instrument(app)(environ, lambda *_: None)
        assert type(response) is FileWrapper
        time.sleep(0.005)
        response.close()
        assert response.filelike.closed

    samples = recorded(tmp_path, calls)
    assert (samples["duration_ns"] >= 5e6).all()
    assert len(samples) == 1


def test_flask_by_rule_wherever_it_is_mounted(tmp_path):
    shop = flask.Flask("shop")
    assert wsgi.instrument(wsgi.instrument(shop)) is shop

    @shop.get("/items/<int:item>/")
    def show(item):
        return f"{item}"

    whole = wsgi.instrument(DispatcherMiddleware(respond("404 No"), {"/shop": shop}))

    def calls():
        assert serve(shop, "/items/1/") == b"1"
        assert serve(shop, "/items/2/", SCRIPT_NAME="/behind/a/proxy") == b"2"
        assert serve(whole, "/shop/items/3/") == b"3"
        serve(shop, "/items/none/")
        serve(whole, "/nowhere")

    assert recorded(tmp_path, calls)["operation"].value_counts().to_dict() == {
        "Routes.ITEMS__BY_ITEM": 2,
        "Routes.SHOP__ITEMS__BY_ITEM": 1,
        "Http.UNMATCHED": 2,
    }


def test_what_is_no_application():
    with pytest.raises(TypeError, match="WSGI application"):
        wsgi.instrument(None)
