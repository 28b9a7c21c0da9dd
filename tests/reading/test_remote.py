"""Captures in object stores: what they say is what the same captures on disk say, from few requests."""

import shutil
import threading
import time
import uuid

import fsspec
import pytest

import quantum_pulse as qp
from quantum_pulse.errors import CaptureError, NotACaptureError
from quantum_pulse.reading import remote

#: What each request of a store elsewhere takes.
LATENCY_S = 0.05


class Counter:
    """A WSGI application that delays the requests of another one, and counts them by method and path."""

    def __init__(self, application):
        self.application = application
        self.requests = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self._lock:
            self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(LATENCY_S)
        try:
            return self.application(environ, start_response)
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture(scope="session")
def s3():
    """A server that speaks S3, on loopback."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    counter = Counter(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, counter, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    counter.url = f"http://127.0.0.1:{server.server_port}"
    yield counter
    server.shutdown()
    thread.join()


@pytest.fixture
def bucket(s3, monkeypatch):
    """A bucket of its own, as an fsspec file system and a URL."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"captures-{uuid.uuid4().hex[:8]}"
    system = fsspec.filesystem("s3")
    system.mkdir(name)
    return system, f"s3://{name}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(remote.CACHE, str(folder))
    return folder


@pytest.fixture
def memory():
    """A folder in memory, as an fsspec file system and a URL."""
    system = fsspec.filesystem("memory")
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    yield system, f"memory://{name}"
    if system.exists(f"/{name}"):
        system.rm(f"/{name}", recursive=True)


def put(system, capture, url):
    system.put(str(capture), url, recursive=True)


def same(one, other):
    assert one.stats().equals(other.stats())
    assert one.timeline("1s").equals(other.timeline("1s"))
    assert one.tree().equals(other.tree())
    assert one.samples(columns=["start", "duration_ns"]).equals(other.samples(columns=["start", "duration_ns"]))
    assert one.losses().equals(other.losses())


def test_a_capture_in_memory_says_what_the_one_on_disk_says(memory):
    system, url = memory
    put(system, qp.sample("engine").path, f"{url}/engine")
    found = qp.open(f"{url}/engine")
    same(found, qp.sample("engine"))
    assert repr(found) == f"<Capture {url}/engine: 33,479 samples>"


def test_several_by_a_pattern(memory):
    system, url = memory
    for name in ("engine", "slow_exchange"):
        put(system, qp.sample(name).path, f"{url}/{name}")
    both = [qp.sample(name).path for name in ("engine", "slow_exchange")]
    by = ["capture", "operation"]
    assert qp.open(f"{url}/*").stats(by).equals(qp.open(both).stats(by))
    assert qp.open([f"{url}/engine", f"{url}/engine/"]).stats()["count"].sum() == 33_479
    with pytest.raises(NotACaptureError, match=f"nothing matches {url}/none"):
        qp.open(f"{url}/none*")


def test_a_file_url():
    same(qp.open(f"file://{qp.sample('engine').path}"), qp.sample("engine"))


def test_s3_is_asked_little_and_not_twice(s3, bucket):
    system, url = bucket
    put(system, qp.sample("engine").path, f"{url}/engine")
    s3.requests.clear()
    qp.open(f"{url}/engine").stats(approximate=True)
    first = [path.partition("/engine/")[2] for method, path in s3.requests if method == "GET"]
    # A listing, the manifest, a process file, and the end of each of three parts.
    assert len(first) <= 7, s3.requests
    s3.requests.clear()
    same(qp.open(f"{url}/engine"), qp.sample("engine"))
    fetched = [path for method, path in s3.requests if method == "GET" and path.endswith(".parquet")]
    assert sorted(fetched) == sorted(set(fetched))
    s3.requests.clear()
    same(qp.open(f"{url}/engine"), qp.sample("engine"))
    assert not [path for _, path in s3.requests if path.endswith(".parquet")]


def test_footers_are_read_side_by_side_and_no_more_than_so_many(s3, bucket, tmp_path):
    system, url = bucket
    capture = tmp_path / "many"
    shutil.copytree(qp.sample("engine").path, capture)
    part = next((capture / "samples").iterdir())
    for number in range(2, 100):
        shutil.copy(part, part.with_name(part.name.replace("-000001.", f"-1{number:05d}.")))
    put(system, capture, f"{url}/many")
    s3.most_at_once = 0
    qp.open(f"{url}/many")
    assert 8 <= s3.most_at_once <= remote.CONNECTIONS


def test_what_was_added_since_is_seen_and_what_was_deleted_is_gone(memory):
    system, url = memory
    put(system, qp.sample("engine").path, f"{url}/engine")
    qp.open(f"{url}/engine").stats()
    part = system.glob(f"{url}/engine/samples/*.parquet")[0]
    system.copy(part, part.replace("-000001.", "-000009."))
    assert qp.open(f"{url}/engine").stats()["count"].sum() == 2 * 33_479
    system.rm(part)
    assert qp.open(f"{url}/engine").stats()["count"].sum() == 33_479


def test_a_part_that_vanishes_after_it_was_listed_is_not_an_endless_wait(memory, monkeypatch):
    system, url = memory
    put(system, qp.sample("engine").path, f"{url}/engine")
    part = system.glob(f"{url}/engine/samples/*.parquet")[0]
    system.copy(part, part.replace("-000001.", "-000009."))
    listed = remote.Store.listed
    listings = []

    def then_deleted(store):
        listings.append(listed(store))
        if len(listings) == 1:
            system.rm(part)
        return listings[-1]

    monkeypatch.setattr(remote.Store, "listed", then_deleted)
    found = qp.open(f"{url}/engine")
    assert len(listings) == 2
    assert found.stats()["count"].sum() == 33_479
    assert found.losses().empty


def test_an_interrupted_read_leaves_nothing(memory, cache, monkeypatch):
    system, url = memory
    put(system, qp.sample("engine").path, f"{url}/engine")
    found = qp.open(f"{url}/engine")
    read = remote.Store.read

    def interrupted(store, name, start=None):
        read(store, name, start)
        raise KeyboardInterrupt

    monkeypatch.setattr(remote.Store, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        found.stats()
    assert not list(cache.rglob("samples/*"))[1:]  # of the footers
    monkeypatch.undo()
    monkeypatch.setenv(remote.CACHE, str(cache))
    same(found, qp.sample("engine"))


def test_a_store_that_fails_is_an_error_and_no_loss(memory, monkeypatch):
    system, url = memory
    put(system, qp.sample("engine").path, f"{url}/engine")
    found = qp.open(f"{url}/engine")

    def fails(*_, **__):
        raise TimeoutError("timed out")

    monkeypatch.setattr(type(system), "cat_file", fails)
    with pytest.raises(CaptureError, match=f"{url}/engine cannot be read: timed out"):
        found.stats()


def test_what_is_no_capture(memory):
    _, url = memory
    with pytest.raises(NotACaptureError, match=r"is not a capture: there is no capture\.json at that URL"):
        qp.open(f"{url}/nothing")
    with pytest.raises(CaptureError, match="unknown://captures cannot be opened: Protocol not known"):
        qp.open("unknown://captures")
