"""Requests that are slow by what other threads do."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.corpus.registry import cause, program
from tests.corpus.running import Background, Call, Run, Service, request


@program("lock convoy", cause("concurrent: Background.REPORT"))
def lock_convoy(run: Run) -> None:
    """Three threads need a lock for a moment, and a report keeps it for 8 ms every 150 ms."""
    lock = threading.Lock()

    def report() -> None:
        while not run.is_over:
            time.sleep(0.15)
            with lock, Background.REPORT:
                time.sleep(0.008)

    def serve() -> None:
        for call in run.calls(0.001):
            with request(call):
                run.serve(between=lambda: take(run, lock))

    with run.beside(report), run.beside(serve, 3):
        pass


def take(run: Run, lock: threading.Lock) -> None:
    if lock.acquire(blocking=False):
        lock.release()
        return
    with run.truth.planted():
        lock.acquire()
    lock.release()


@program("lock convoy and slow tenant", cause("concurrent: Background.REPORT"), cause("attribute: tenant=acme"))
def convoy_and_tenant(run: Run) -> None:
    lock = threading.Lock()

    def report() -> None:
        while not run.is_over:
            time.sleep(0.1)
            with lock, Background.REPORT:
                time.sleep(0.006)

    def serve() -> None:
        for call in run.calls(0.001):
            with request(call):
                run.serve(between=lambda: take(run, lock))
                if call.tenant == "acme":
                    with run.truth.planted():
                        time.sleep(0.004)

    with run.beside(report), run.beside(serve, 2):
        pass


@program("SQLite writer lock", cause("concurrent: Background.COMPACT"))
def writer_lock(run: Run) -> None:
    """Requests insert a row each; maintenance keeps the database locked for 10 ms every 200 ms."""
    path = run.folder / "orders.db"
    with sqlite3.connect(path) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("create table orders (id integer primary key, tenant text)")
    database.close()
    # Only one that waits shows that the database is locked: what an insert takes beyond the usual.
    run.truth.unknown()

    def compact() -> None:
        own = sqlite3.connect(path, isolation_level=None, timeout=5)
        while not run.is_over:
            time.sleep(0.2)
            with Background.COMPACT:
                own.execute("begin immediate")
                own.execute("delete from orders")
                time.sleep(0.01)
                own.execute("commit")
        own.close()

    def serve() -> None:
        own = sqlite3.connect(path, isolation_level=None, timeout=5)
        own.execute("pragma synchronous = off")
        for call in run.calls(0.001):
            with request(call):
                run.serve()
                with Service.WRITE:
                    own.execute("insert into orders (tenant) values (?)", (call.tenant,))
        own.close()

    with run.beside(compact), run.beside(serve):
        pass


@program("thread pool starvation", cause("concurrent: Background.REPORT"))
def starved_pool(run: Run) -> None:
    """Requests need a thread of a pool of two, which reports occupy for 8 ms every 150 ms."""
    with ThreadPoolExecutor(2) as pool:

        def report() -> None:
            with Background.REPORT:
                time.sleep(0.008)

        def schedule() -> None:
            while not run.is_over:
                time.sleep(0.15)
                for _ in range(2):
                    pool.submit(report)

        def serve(call: Call) -> None:
            with request(call):
                run.serve()
                asked = time.time_ns()
                begun = pool.submit(time.time_ns).result()
                if begun - asked > 1_000_000:
                    run.truth.add(asked, begun - asked)

        with run.beside(schedule):
            for call in run.calls():
                serve(call)


@program("interpreter lock", cause("concurrent: Background.REPORT"))
def interpreter_lock(run: Run) -> None:
    """A report computes in Python for 20 ms every 200 ms, and gives the interpreter lock away every 5 ms only."""
    run.truth.unknown()

    def report() -> None:
        while not run.is_over:
            time.sleep(0.2)
            with Background.REPORT:
                until = time.thread_time() + 0.02
                while time.thread_time() < until:
                    sum(range(200))

    with run.beside(report):
        for call in run.calls(0.001):
            with request(call):
                run.serve()
