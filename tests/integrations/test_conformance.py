"""Twelve situations of a web service, in five frameworks under real servers: each request is counted once, under its
route, and took as long as its client has seen.

A client's time has more in it than the application: the system calls of both sides, the parsing of the request and the
waking of the server. That is the same for all requests. An endpoint that does next to nothing shows how long it is, and
it is taken off the others.
"""

import socket
import threading
import time
from statistics import median

import pytest
from websockets.sync.client import connect

from tests.integrations.apps.work import BACKGROUND_S, CHUNK_S, CHUNKS, STEP_S
from tests.integrations.serving import ASGI, FRAMEWORKS, Service

pytestmark = pytest.mark.alone

REQUESTS = 40
STORM = 300
#: So much earlier than asked for may a loop wake a task: uvloop's timers count in milliseconds.
EARLY_S = 0.001
#: Of the difference between the two views of a request.
BOUND_S = 50e-6
BOUND = 0.01

NAMES = {
    "plain": "Routes.PLAIN__BY_NUMBER",
    "streaming": "Routes.STREAM",
    "background task": "Routes.BACKGROUND",
    "error": "Routes.ERROR",
    "404 storm": "Http.UNMATCHED",
    "client disconnect": "Routes.ENDLESS",
    "websocket": "WebSockets.SOCKET__BY_ROOM",
    "thread-pool endpoint": "Routes.THREAD",
    "dependency": "Routes.DEPENDENCY",
    "nested mount": "Routes.SHOP__BY_TENANT__ITEMS__BY_ITEM",
}
PATHS = {
    "plain": "/plain/{}",
    "streaming": "/stream",
    "background task": "/background",
    "error": "/error",
    "404 storm": "/nowhere/{}",
    "thread-pool endpoint": "/thread",
    "dependency": "/dependency",
    "nested mount": "/shop/tenant-{0}/items/{0}",
}


class Traffic:
    """What clients have seen of a service, and what it has recorded."""

    def __init__(self, framework, folder):
        self.is_asgi = framework in ASGI
        self.answers = {}
        service = Service(framework, folder)
        try:
            client = service.client()
            for _ in range(10):  # until caches are warm
                client.get("/step")
            for situation, path in PATHS.items():
                count = STORM if situation == "404 storm" else REQUESTS
                self.answers[situation] = []
                for number in range(count):
                    self.answers[situation].append(client.get(path.format(number)))
                    time.sleep(1.2 * BACKGROUND_S if situation == "background task" else 0)
            self.answers["plain"] += [self._on_a_new_connection(service) for _ in range(REQUESTS)]
            for _ in range(5):
                with service.client() as leaving:
                    leaving.leave_during("/endless")
            self._talk(service)
            time.sleep(0.3)  # what follows a response
            client.close()
            service.terminate()
            self.capture = service.end()
        finally:
            service.kill()
        self.samples = self.capture.samples()
        self.log = service.log

    @staticmethod
    def _on_a_new_connection(service):
        with service.client() as client:
            return client.get("/plain/1")

    def _talk(self, service):
        for number in range(3):
            if self.is_asgi:
                with connect(f"ws://127.0.0.1:{service.port}/socket/{number}") as connection:
                    connection.send("hello")
                    assert connection.recv() == "hello"
                    time.sleep(0.05)
            else:  # to WSGI it is a request like any other
                with service.client() as client:
                    answer = client.get(f"/socket/{number}", "Upgrade: websocket\r\nConnection: Upgrade\r\n")
                assert answer.status == 404

    def of(self, situation):
        """The calls of its operation, in the order in which they started."""
        return self.named(NAMES[situation])

    def named(self, name):
        return self.samples[self.samples["operation"] == name].sort_values("start")

    def overhead_s(self, is_first):
        """By how much a client's time is longer, of the first requests on connections or of others."""
        pairs = zip(self.answers["plain"], self.of("plain")["duration_ns"], strict=True)
        return undisturbed(
            [answer.last_byte_s - duration / 1e9 for answer, duration in pairs if answer.is_first == is_first]
        )


@pytest.fixture(scope="module", params=FRAMEWORKS)
def traffic(request, tmp_path_factory):
    return Traffic(request.param, tmp_path_factory.mktemp(request.param))


def undisturbed(differences):
    """What disturbs a request makes its client wait for longer, and never for less, so that the best of them tell."""
    return sorted(differences)[len(differences) // 10]


def check_durations(traffic, situation):
    """Requests took as long as the client has seen, within the bound: those that other processes disturbed least."""
    rest = {is_first: traffic.overhead_s(is_first) for is_first in (False, True)}
    seen_s = [answer.last_byte_s for answer in traffic.answers[situation]]
    differences = [
        answer.last_byte_s - rest[answer.is_first] - duration / 1e9
        for answer, duration in zip(traffic.answers[situation], traffic.of(situation)["duration_ns"], strict=True)
    ]
    assert abs(undisturbed(differences)) <= max(BOUND_S, BOUND * median(seen_s)), (rest, sorted(differences))


def in_ns(start):
    """A column of starts as integers."""
    return start.astype("datetime64[ns, UTC]").astype("int64").to_numpy()


def check_parents(traffic, name, situation):
    """Each call of `name` that belongs to the situation is inside of one of its requests."""
    requests = traffic.of(situation)
    children = traffic.named(name)
    inside = children[children["parent"].isin(set(requests["span"]))]
    assert len(inside) >= len(requests)
    ends = dict(zip(requests["span"], in_ns(requests["start"]) + requests["duration_ns"], strict=True))
    own_ends = in_ns(inside["start"]) + inside["duration_ns"]
    assert all(end <= ends[parent] for parent, end in zip(inside["parent"], own_ends, strict=True))
    return inside


def test_plain(traffic):
    calls = traffic.of("plain")
    assert len(calls) == 2 * REQUESTS
    assert [answer.status for answer in traffic.answers["plain"]] == [200] * 2 * REQUESTS
    assert calls["error"].isna().all()
    assert (calls["parent"] == 0).all()


def test_attributes(traffic):
    """What a client has asked for and seen is what its calls say."""
    for situation, path in PATHS.items():
        answers = traffic.answers[situation]
        found = list(traffic.of(situation)["attributes"])[: len(answers)]
        assert [given["status"] for given in found] == [str(answer.status) for answer in answers]
        assert {given["method"] for given in found} == {"GET"}
        (route,) = {given.get("route", "") for given in found}
        assert route.count("/") == (0 if situation == "404 storm" else path.count("/"))


def test_streaming(traffic):
    calls = traffic.of("streaming")
    assert len(calls) == REQUESTS
    assert (calls["duration_ns"] >= CHUNKS * (CHUNK_S - EARLY_S) * 1e9).all()
    check_parents(traffic, "Work.CHUNK", "streaming")
    parts = traffic.named("Http.STREAMING")
    parts = parts[parts["parent"].isin(set(calls["span"]))]
    assert len(parts) == REQUESTS
    assert (parts["duration_ns"] >= (CHUNKS - 1) * (CHUNK_S - EARLY_S) * 1e9).all()
    first_bytes = in_ns(parts["start"]) - in_ns(calls["start"])
    assert CHUNK_S / 2 < median(first_bytes) / 1e9 < median(calls["duration_ns"]) / 2e9


def test_background_task(traffic):
    calls = traffic.of("background task")
    assert len(calls) == REQUESTS
    assert calls["duration_ns"].median() < BACKGROUND_S * 1e9 / 2
    tasks = traffic.named("Work.BACKGROUND")
    assert len(tasks) == REQUESTS
    assert (tasks["parent"] == 0).all()
    assert (in_ns(tasks["start"]) >= in_ns(calls["start"]) + calls["duration_ns"].to_numpy()).all()


def test_error(traffic):
    calls = traffic.of("error")
    assert [answer.status for answer in traffic.answers["error"]] == [500] * REQUESTS
    assert list(calls["error"]) == ["HTTP 500"] * REQUESTS


def test_404_storm(traffic):
    calls = traffic.of("404 storm")
    assert len(calls) == STORM + (0 if traffic.is_asgi else 3)
    assert calls["error"].isna().all()
    assert [answer.status for answer in traffic.answers["404 storm"]] == [404] * STORM
    names = {name for name in traffic.samples["operation"].unique() if name.startswith(("Routes.", "Http."))}
    assert names == {"Http.STREAMING", "Routes.STEP", *NAMES.values()} - {NAMES["websocket"]}


def test_client_disconnect(traffic):
    calls = traffic.of("client disconnect")
    assert list(calls["error"]) == ["ClientDisconnected"] * 5
    assert (calls["duration_ns"] < 5e9).all()


def test_websocket(traffic):
    calls = traffic.of("websocket")
    assert len(calls) == (3 if traffic.is_asgi else 0)
    assert calls["error"].isna().all()
    assert ((calls["duration_ns"] > 50e6) & (calls["duration_ns"] < 5e9)).all()


def test_thread_pool_endpoint(traffic):
    assert len(traffic.of("thread-pool endpoint")) == REQUESTS
    inside = check_parents(traffic, "Work.STEP", "thread-pool endpoint")
    assert len(inside) == REQUESTS
    assert (inside["duration_ns"] >= STEP_S * 1e9).all()


def test_dependency(traffic):
    assert len(traffic.of("dependency")) == REQUESTS
    assert len(check_parents(traffic, "Work.DEPENDENCY", "dependency")) == REQUESTS


def test_nested_mount(traffic):
    calls = traffic.of("nested mount")
    assert len(calls) == REQUESTS
    assert len(check_parents(traffic, "Work.STEP", "nested mount")) == REQUESTS


@pytest.mark.slow  # microseconds between two processes, on a machine that does nothing else
@pytest.mark.parametrize(
    "situation",
    ["plain", "streaming", "background task", "error", "thread-pool endpoint", "dependency", "nested mount"],
)
def test_requests_take_as_long_as_their_client_has_seen(traffic, situation):
    check_durations(traffic, situation)


def test_everything_is_counted_once(traffic):
    requests = traffic.samples[traffic.samples["operation"].str.startswith(("Routes.", "Http.UNMATCHED"))]
    sent = 10 + 5 + sum(len(answers) for answers in traffic.answers.values()) + (0 if traffic.is_asgi else 3)
    assert len(requests) == sent
    assert traffic.capture.unfinished().empty


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_recycled_worker(framework, tmp_path):
    service = Service(framework, tmp_path, recycles=15)
    try:
        answered = 0
        give_up = time.monotonic() + 60
        while answered < 100 and time.monotonic() < give_up:
            with service.client() as client:
                try:
                    answered += client.get("/step").status == 200
                except OSError:
                    time.sleep(0.05)  # it was sent to a worker that had ended
        service.terminate()
        capture = service.end()
    finally:
        service.kill()
    assert answered == 100
    calls = capture.samples()
    calls = calls[calls["operation"] == "Routes.STEP"]
    assert calls["process"].nunique() >= 5
    assert len(calls) == 100
    assert calls["error"].isna().all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_graceful_sigterm(framework, tmp_path):
    service = Service(framework, tmp_path)
    answers = []

    def ask(path):
        with service.client() as client:
            answers.append(client.get(path))

    try:
        ask("/step")
        threads = [threading.Thread(target=ask, args=["/slow"]) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.25)
        service.terminate()
        for thread in threads:
            thread.join(20)
        capture = service.end()
    finally:
        service.kill()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", service.port), timeout=1)
    assert [answer.status for answer in answers] == [200] * 4
    calls = capture.samples()
    calls = calls[calls["operation"] == "Routes.SLOW"]
    assert len(calls) == 3
    assert calls["error"].isna().all()
    assert (calls["duration_ns"] >= (0.5 - EARLY_S) * 1e9).all()
