"""The demo: that it does what it says, and that a recording of it has each of its calls, at the right time."""

import json
import subprocess
import sys
import threading

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.demo import engine, feed, market, orders, store
from quantum_pulse.demo.exchange import Exchange
from quantum_pulse.demo.operations import Engine

MESSAGES = 2_000
PARENTS = {
    Engine.PARSE: Engine.FEED_MESSAGE,
    Engine.VALIDATE: Engine.FEED_MESSAGE,
    Engine.UPDATE_BOOK: Engine.FEED_MESSAGE,
    Engine.RISK_EXPOSURE: Engine.RISK,
    Engine.RISK_VAR: Engine.RISK,
    Engine.ENCODE: Engine.ORDER,
    Engine.SUBMIT: Engine.ORDER,
    Engine.ACK_DECODE: Engine.ORDER,
    Engine.LEDGER_LOCK: Engine.STORE,
    Engine.SQL_UPSERT: Engine.STORE,
    Engine.SQL_COMMIT: Engine.STORE,
}


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("demo-")]
    assert not exchanges()


def exchanges():
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE and any("demo.exchange" in word for word in child.cmdline())
    ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "capture"
    progress = []
    with qp.record(path):
        result = engine.run(messages=MESSAGES, progress=progress.append, checks=1_000)
    assert sum(progress) == MESSAGES
    return result, qp.open(path)


def test_every_call_is_in_the_capture(recorded):
    result, capture = recorded
    counts = capture.stats()["count"]
    assert counts.droplevel("category").to_dict() == result.calls
    assert capture.losses().empty
    assert set(result.calls) == {str(operation) for operation in Engine}
    assert len(counts) >= 11
    assert counts.index.get_level_values("category").nunique() >= 4
    assert result.calls["Engine.FEED_MESSAGE"] == MESSAGES
    assert 0 < result.fills <= result.orders == result.calls["Engine.ORDER"]
    assert result.fills == result.calls["Engine.STORE"]


def test_spans_stand_in_those_that_enclose_them(recorded):
    _, capture = recorded
    samples = capture.samples(columns=["operation", "span", "parent"])
    assert samples["span"].is_unique
    names = dict(zip(samples["span"], samples["operation"].astype(str), strict=True))
    for operation in Engine:
        own = samples[samples["operation"] == str(operation)]
        parents = {names[span] if span else None for span in own["parent"]}
        assert parents == {str(PARENTS[operation]) if operation in PARENTS else None}, operation


def test_broken_messages_and_breached_limits_are_errors(recorded):
    _, capture = recorded
    samples = capture.samples(columns=["operation", "error"]).dropna()
    kinds = samples.astype(str).groupby("operation")["error"].agg(set).to_dict()
    for operation in (Engine.RISK, Engine.RISK_VAR):
        # Two thousand messages may be too few to get near a limit.
        assert kinds.pop(str(operation), {"LimitBreached"}) == {"LimitBreached"}
    assert kinds == {
        "Engine.PARSE": {"JSONDecodeError"},
        "Engine.VALIDATE": {"InvalidMessage"},
        "Engine.FEED_MESSAGE": {"JSONDecodeError", "InvalidMessage"},
    }


def test_a_second_clock_agrees(recorded):
    result, capture = recorded
    assert len(result.clock_checks) == 1_000
    part = pq.read_metadata(next(capture.path.glob("samples/*.parquet")))
    anchor = json.loads(part.metadata[schema.FOOTER_KEY.encode()])["clock_anchor_ns"]
    samples = capture.samples(Engine.FEED_MESSAGE, columns=["start", "duration_ns", "thread"])
    starts = samples["start"].astype("int64").to_numpy() - anchor
    durations, threads = samples["duration_ns"].to_numpy(), samples["thread"].to_numpy()
    differences = []
    for check in result.clock_checks:
        assert check.operation == "Engine.FEED_MESSAGE"
        inside = (
            (threads == check.thread)
            & (starts >= check.start_ns)
            & (starts + durations <= check.start_ns + check.duration_ns)
        )
        assert inside.sum() == 1
        differences.append(check.duration_ns - durations[inside][0])
    assert 0 <= np.median(differences) <= 5_000


def test_threads_and_tasks_are_told_apart(recorded):
    _, capture = recorded
    samples = capture.samples(columns=["operation", "thread", "task"])
    grouped = samples.astype({"operation": str}).groupby("operation")
    assert grouped["thread"].nunique()["Engine.PARSE"] == engine.DESKS
    assert grouped["task"].nunique()["Engine.SUBMIT"] == orders.SESSIONS
    assert grouped["thread"].nunique()["Engine.SUBMIT"] == 1
    assert (samples.loc[samples["operation"] == "Engine.SUBMIT", "task"] > 0).all()


def test_it_works_unrecorded():
    result = engine.run(messages=1)
    assert result.calls["Engine.FEED_MESSAGE"] == 1
    assert not result.clock_checks
    for wrong in ({"messages": 0}, {"messages": 1, "checks": -1}):
        with pytest.raises(ValueError, match="at least"):
            engine.run(**wrong)


def test_an_exchange_that_dies_is_an_error():
    def kill(_):
        for child in exchanges():
            child.kill()

    with pytest.raises(orders.ExchangeError, match="went away"):
        engine.run(messages=100_000, progress=kill)


def test_an_exchange_that_does_not_start_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(orders.ExchangeError, match="did not start"):
        engine.run(messages=10)


@pytest.mark.parametrize("broken", ["market.parse", "store.Ledger.store", "risk.Portfolio.reserve"])
def test_what_goes_wrong_in_a_thread_comes_out(monkeypatch, broken):
    def fail(*_):
        raise OSError("no such luck")

    monkeypatch.setattr(f"quantum_pulse.demo.{broken}", fail)
    with pytest.raises(OSError, match="no such luck"):
        engine.run(messages=20_000)


def test_an_interrupt_ends_it():
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run(messages=100_000, progress=interrupt)


def test_the_feed_is_the_same_for_the_same_seed():
    first, again, other = (list(feed.packets(seed=seed, messages=1_234)) for seed in (1, 1, 2))
    assert first == again != other
    assert sum(len(list(market.lines(packet))) for packet in first) == 1_234


def test_a_book_keeps_what_the_feed_has_not_contradicted():
    book = market.Book()
    book.update({"bids": [[100, 5], [99, 5], [98, 5]], "asks": [[102, 5], [103, 5]]})
    assert (book.middle, book.stretch) == (101, 0)
    book.update({"bids": [[99, 1]], "asks": [[101, 1]]})
    assert book.middle == 100
    assert book.stretch == pytest.approx(-1 + 1 / 16)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": "????"}, "unknown symbol"),
        ({"bids": []}, "empty"),
        ({"asks": [[103, 0]]}, "not positive"),
        ({"bids": [[104, 1]]}, "crossed"),
    ],
)
def test_messages_that_make_no_sense_are_refused(change, reason):
    message = {"symbol": "ACRE", "bids": [[100, 5]], "asks": [[103, 5]]}
    market.validate(message, {"ACRE"})
    with pytest.raises(market.InvalidMessage, match=reason):
        market.validate(message | change, {"ACRE"})


def test_the_exchange_keeps_its_books():
    exchange = Exchange()
    answers = [
        exchange.handle({"id": number, "symbol": "ACRE", "quantity": quantity, "price": 1_000})
        for number, quantity in enumerate([100, -100] * 600)
    ]
    assert [answer["id"] for answer in answers] == list(range(1_200))
    for answer, quantity in zip(answers, [100, -100] * 600, strict=True):
        assert 0 <= answer["filled"] * quantity <= 10_000
        # Nobody pays more than they said, or gets less.
        assert (answer["money"] - 1_000 * abs(answer["filled"])) * quantity <= 0


def test_the_exchange_ends_with_its_input():
    with subprocess.Popen(
        [sys.executable, "-m", "quantum_pulse.demo.exchange"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert int(process.stdout.readline()) > 0
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_ledger_adds_up(tmp_path):
    calls = engine.Counter()
    with store.Ledger(tmp_path / "positions.sqlite") as ledger:
        for number in range(120):
            ledger.store(store.Fill("ACRE", 100 if number % 3 else -100, 1_000), calls)
        assert ledger.fills() == 120
    assert calls[Engine.SQL_COMMIT] == 2


def test_an_incident_is_slow_for_a_while(tmp_path):
    with qp.record(tmp_path / "capture"):
        result = engine.run(messages=MESSAGES, incident=True)
    submit = qp.open(tmp_path / "capture").samples(Engine.SUBMIT)["duration_ns"].to_numpy()
    assert len(submit) == result.calls[str(Engine.SUBMIT)]
    parts = [np.median(part) for part in np.array_split(submit, 20)]
    slowest = max(parts[8:16])
    assert slowest > 3 * np.median(parts), "the auditors have come"
    assert parts[-1] < slowest / 2, "and gone"
