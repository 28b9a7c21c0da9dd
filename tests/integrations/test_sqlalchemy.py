"""Statements, rows and connections of SQLAlchemy's engines."""

import asyncio
import sqlite3
import threading
import time

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool

import quantum_pulse as qp
from quantum_pulse.integrations import sqlalchemy

ITEMS = sa.Table("items", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String))


class Store(qp.Operation):
    ORDER = qp.op()


def engine_of(tmp_path, **options):
    options = {"poolclass": QueuePool, "connect_args": {"check_same_thread": False}, **options}
    return sqlalchemy.instrument(sa.create_engine(f"sqlite:///{tmp_path / 'items.db'}", **options))


def counts(capture):
    return capture.stats().droplevel("category")["count"].to_dict()


def test_statements_and_rows_are_inside_of_what_asks(tmp_path):
    engine = engine_of(tmp_path)
    assert sqlalchemy.instrument(engine) is engine, "and not twice"
    with qp.record(tmp_path / "capture"), Store.ORDER, engine.begin() as connection:
        ITEMS.create(connection)
        connection.execute(ITEMS.insert(), [{"name": f"item {number}"} for number in range(100)])
        rows = connection.execute(sa.select(ITEMS)).fetchall()
        one = connection.execute(sa.select(ITEMS).where(ITEMS.c.id == 7)).scalar_one()
    engine.dispose()
    assert (len(rows), one) == (100, 7)
    capture = qp.open(tmp_path / "capture")
    found = counts(capture)
    assert found["Sql.WAIT"] == 1
    assert found["Sql.EXECUTE"] == 4
    assert found["Sql.FETCH"] >= 2
    samples = capture.samples()
    order = samples[samples["operation"] == "Store.ORDER"].iloc[0]
    inside = samples[samples["operation"].isin(["Sql.WAIT", "Sql.EXECUTE", "Sql.FETCH"])]
    assert (inside["parent"] == order["span"]).all()
    assert capture.unfinished().empty


def test_the_work_of_the_database_is_the_statement(tmp_path):
    engine = engine_of(tmp_path)

    @sa.event.listens_for(engine, "connect")
    def add_function(connection, _):
        connection.create_function("nap", 1, lambda seconds: time.sleep(seconds) or 1)

    with qp.record(tmp_path / "capture"), engine.connect() as connection:
        assert connection.execute(sa.text("select nap(0.05)")).scalar() == 1
    engine.dispose()
    stats = qp.open(tmp_path / "capture").stats().droplevel("category")
    assert stats.loc["Sql.EXECUTE", "max_us"] + stats.loc["Sql.FETCH", "max_us"] >= 50_000


def test_a_pool_that_is_exhausted_lets_wait(tmp_path):
    engine = engine_of(tmp_path, pool_size=1, max_overflow=0, pool_timeout=5)
    held = engine.connect()
    release = threading.Timer(0.2, held.close)
    with qp.record(tmp_path / "capture"):
        release.start()
        with engine.connect() as connection:
            connection.execute(sa.text("select 1"))
    release.join()
    engine.dispose()
    with qp.record(tmp_path / "again"), engine.connect():
        pass
    engine.dispose()
    stats = qp.open(tmp_path / "capture").stats().droplevel("category")
    assert stats.loc["Sql.WAIT", "count"] == 1
    assert stats.loc["Sql.WAIT", "max_us"] > 150_000
    assert counts(qp.open(tmp_path / "again"))["Sql.WAIT"] == 1, "the pool after a disposal is another one"


def test_a_statement_that_fails(tmp_path):
    engine = engine_of(tmp_path)
    with qp.record(tmp_path / "capture"), engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
        connection.execute(sa.text("select * from nowhere"))
    engine.dispose()
    capture = qp.open(tmp_path / "capture")
    assert list(capture.samples().query("operation == 'Sql.EXECUTE'")["error"]) == [sqlite3.OperationalError.__name__]
    assert capture.unfinished().empty


def test_an_asynchronous_engine(tmp_path):
    async def ask(engine, number):
        with Store.ORDER:
            async with engine.connect() as connection:
                result = await connection.execute(sa.text("select :number"), {"number": number})
                assert result.scalar() == number

    async def main():
        engine = sqlalchemy.instrument(create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'items.db'}"))
        await asyncio.gather(*(ask(engine, number) for number in range(20)))
        await engine.dispose()

    with qp.record(tmp_path / "capture"):
        asyncio.run(main())
    capture = qp.open(tmp_path / "capture")
    found = counts(capture)
    assert found["Sql.EXECUTE"] >= 20
    assert found["Sql.WAIT"] == found["Store.ORDER"] == 20
    samples = capture.samples()
    orders = set(samples["span"][samples["operation"] == "Store.ORDER"])
    waits = samples[samples["operation"] == "Sql.WAIT"]
    assert set(waits["parent"]) == orders, "each in its own task"
    assert capture.unfinished().empty


def test_what_is_no_engine():
    with pytest.raises(TypeError, match="Engine"):
        sqlalchemy.instrument("sqlite://")
