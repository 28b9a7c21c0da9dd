"""Requests that are slow by a part of their own."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

from tests.corpus.registry import cause, program
from tests.corpus.running import Run, Service, request


@program("cache miss path", cause("child: Service.LOAD"))
def cache_misses(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.02):
                with Service.LOAD, run.truth.planted():
                    run.hash(400)


@program("cache miss path, three levels deep", cause("child: Service.QUERY"))
def deep_miss(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.02):
                with Service.LOAD, Service.CALL, Service.QUERY, run.truth.planted():
                    run.hash(400)


@program("N+1 queries", cause("child: Service.QUERY"))
def many_queries(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.02):
                with run.truth.planted():
                    for _ in range(60):
                        run.query()


@program("work outside of children", cause("child: Service.REQUEST", "computing"))
def own_work(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.02):
                with run.truth.planted():
                    run.hash(400)


@program("waiting outside of children", cause("waiting"))
def own_wait(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.02):
                with run.truth.planted():
                    time.sleep(0.004)


@program("logging to a slow disk", cause("child: Service.LOG"))
def slow_log(run: Run) -> None:
    """Each line is written; one in fifty waits until it, and two megabytes before it, are on the disk."""
    with open(run.folder / "log", "wb", buffering=0) as log:
        for call in run.calls():
            with request(call):
                run.serve()
                with Service.LOG:
                    log.write(b"a line of the log\n")
                    if run.often(0.02):
                        with run.truth.planted():
                            log.write(bytes(2 << 20))
                            os.fsync(log.fileno())


@program("page cache misses", cause("child: Service.READ", "memory"))
def cold_reads(run: Run) -> None:
    """Each request reads a block; the kernel has dropped what one in fifty reads."""
    path = run.folder / "data"
    path.write_bytes(os.urandom(16 << 20))
    with open(path, "rb", buffering=0) as data:
        os.fsync(data.fileno())
        for call in run.calls():
            is_cold = run.often(0.02)
            if is_cold:
                os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with request(call):
                run.serve()
                with Service.READ:
                    if is_cold:
                        with run.truth.planted():
                            os.pread(data.fileno(), 8 << 20, run.random.randrange(8 << 20))
                    else:
                        os.pread(data.fileno(), 4096, 0)


@program("fresh memory", cause("child: Service.LOAD"))
def fresh_memory(run: Run) -> None:
    """One in fifty fills a buffer that the kernel has to map page by page."""
    for call in run.calls():
        with request(call):
            run.serve()
            with Service.LOAD:
                if run.often(0.02):
                    with run.truth.planted():
                        bytearray(b"x") * (24 << 20)


@program("a name server that does not answer", cause("child: Service.RESOLVE"))
def lost_queries(run: Run) -> None:
    """A datagram to loopback; one in fifty is dropped, and asked again after 5 ms."""
    with _name_server(run) as address, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.005)
        for call in run.calls():
            with request(call):
                run.serve()
                with Service.RESOLVE:
                    resolve(run, asking, address)


def resolve(run: Run, asking: socket.socket, address: tuple[str, int]) -> None:
    number = run.random.randrange(1 << 30)
    while True:
        is_lost = run.often(0.02)
        began = time.time_ns()
        asking.sendto(b"lost" if is_lost else b"name %d" % number, address)
        try:
            while asking.recv(100) != b"name %d" % number:
                pass
            return
        except TimeoutError:
            run.truth.add(began, time.time_ns() - began)


@contextlib.contextmanager
def _name_server(run: Run) -> Iterator[tuple[str, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)

        def answer() -> None:
            while not run.is_over:
                with contextlib.suppress(TimeoutError):
                    asked, who = server.recvfrom(100)
                    if asked != b"lost":
                        server.sendto(asked, who)

        with run.beside(answer):
            yield server.getsockname()


@program("slow upstream", cause("child: Service.CALL"))
def slow_upstream(run: Run) -> None:
    """A server on loopback, which takes its time with one request in fifty."""
    with _upstream(run, slow=0.02) as connection:
        for call in run.calls():
            with request(call):
                run.serve()
                with Service.CALL:
                    ask(run, connection)


@program("retry storm", cause("child: Service.CALL"))
def retries(run: Run) -> None:
    """The server fails for 30 ms every 500 ms; each request asks up to 20 times, with a pause in between."""
    with _upstream(run, fails=True) as connection:
        for call in run.calls():
            with request(call):
                run.serve()
                for _ in range(20):
                    with Service.CALL:
                        began = time.time_ns()
                        is_served = ask(run, connection) == b"ok"
                        if not is_served:
                            time.sleep(0.0005)
                            run.truth.add(began, time.time_ns() - began)
                    if is_served:
                        break


def ask(run: Run, connection: socket.socket) -> bytes:
    connection.sendall(b"?")
    answer = connection.recv(2)
    if answer == b"sl":
        with run.truth.planted():
            answer = connection.recv(2)
    return answer


@contextlib.contextmanager
def _upstream(run: Run, *, slow: float = 0, fails: bool = False) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        while theirs.recv(1):
            if slow and run.often(slow):
                theirs.sendall(b"sl")
                time.sleep(0.005)
            theirs.sendall(b"no" if fails and time.monotonic() % 0.5 < 0.03 else b"ok")

    thread = threading.Thread(target=serve, name="upstream")
    thread.start()
    try:
        yield ours
    finally:
        ours.close()
        thread.join()
        theirs.close()
