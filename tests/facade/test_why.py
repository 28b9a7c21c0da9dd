"""What is planted into a real program is named as the cause of its slow calls."""

import gc
import random
import threading
import time

import pytest

import quantum_pulse as qp


class Planted(qp.Operation):
    REQUEST = qp.op("One request", attributes={"tenant": str, "size": str})
    QUERY = qp.op("A query")
    LOAD = qp.op("What a miss of the cache takes")


class Beside(qp.Operation):
    REBUILD = qp.op("Something beside")


CALLS = 1500


def sleep_ms(length):
    time.sleep(length / 1000)


def slow_tenant(chance):
    tenant = chance.choice("abcdefgh")
    with Planted.REQUEST(tenant=tenant, size="s"), Planted.QUERY:
        sleep_ms(20 if tenant == "c" and chance.random() < 0.3 else 0.3)


def slow_tenant_with_large_orders(chance):
    tenant, size = chance.choice("abcdefgh"), chance.choice("sml")
    with Planted.REQUEST(tenant=tenant, size=size), Planted.QUERY:
        sleep_ms(20 if (tenant, size) == ("c", "l") else 0.3)


def cache_misses(chance):
    with Planted.REQUEST(tenant=chance.choice("abcdefgh"), size="s"):
        with Planted.QUERY:
            sleep_ms(0.3)
        if chance.random() < 0.03:
            with Planted.LOAD:
                sleep_ms(20)


def many_queries(chance):
    with Planted.REQUEST(tenant=chance.choice("abcdefgh"), size="s"):
        for _ in range(40 if chance.random() < 0.03 else 1):
            with Planted.QUERY:
                sleep_ms(0.5)


def collections(chance, held=[[{} for _ in range(300)] for _ in range(1500)]):  # noqa: B006 - garbage to look at
    with Planted.REQUEST(tenant=chance.choice("abcdefgh"), size="s"):
        sleep_ms(0.3)
        if chance.random() < 0.02:
            gc.collect()


def timeouts(chance):
    try:
        with Planted.REQUEST(tenant=chance.choice("abcdefgh"), size="s"):
            sleep_ms(0.3)
            if chance.random() < 0.04:
                sleep_ms(25)
                raise TimeoutError
    except TimeoutError:
        pass


def first_calls():
    seen = iter(range(CALLS))

    def call(chance):
        with Planted.REQUEST(tenant=chance.choice("abcdefgh"), size="s"):
            sleep_ms(30 if next(seen) < 20 else 0.3)

    return call


def lock_that_a_rebuild_holds(path):
    lock, is_over = threading.Lock(), threading.Event()

    def rebuild():
        chance = random.Random(2)
        while not is_over.wait(chance.expovariate(40)):
            with lock, Beside.REBUILD:
                sleep_ms(25)

    with qp.record(path):
        beside = threading.Thread(target=rebuild)
        beside.start()
        for _ in range(CALLS):
            with Planted.REQUEST(tenant="a", size="s"), lock:
                sleep_ms(0.3)
        is_over.set()
        beside.join()


def recorded(path, call):
    chance = random.Random(1)
    with qp.record(path):
        for _ in range(CALLS):
            call(chance)
    return qp.open(path)


@pytest.mark.parametrize(
    ("call", "cause", "kind"),
    [
        (slow_tenant, "tenant=c", "attribute"),
        (slow_tenant_with_large_orders, {"tenant=c", "size=l"}, "attributes"),
        (cache_misses, "Planted.LOAD", "child"),
        (many_queries, "Planted.QUERY", "child"),
        (collections, "garbage collection", "garbage collection"),
        (timeouts, "the call failed", "error"),
        (first_calls(), "the first 30 calls", "start-up"),
    ],
)
def test_what_was_planted_comes_first(tmp_path, call, cause, kind):
    causes = recorded(tmp_path / "capture", call).why(Planted.REQUEST)
    first = causes.table.iloc[0]
    named = set(first["cause"].split(", ")) if isinstance(cause, set) else first["cause"]
    assert (named, first["kind"]) == (cause, kind), causes
    assert first["share_of_excess"] > 0.5
    assert first["quantile_without_us"] < causes.threshold_us
    assert causes.table["share_of_excess"].sum() == pytest.approx(1)
    shown = causes.calls()
    assert (shown["operation"] == "Planted.REQUEST").all()
    assert (shown["duration_ns"] > causes.threshold_us * 1000).all()


def test_what_runs_beside_slow_calls(tmp_path):
    lock_that_a_rebuild_holds(tmp_path / "capture")
    first = qp.open(tmp_path / "capture").why(Planted.REQUEST).table.iloc[0]
    assert (first["cause"], first["kind"]) == ("Beside.REBUILD", "concurrent")


def test_calls_that_are_all_alike_have_no_cause(tmp_path):
    def call(chance):
        length = chance.lognormvariate(0, 0.8)
        with Planted.REQUEST(tenant=chance.choice("abcdefgh"), size=chance.choice("sml")):
            sleep_ms(0.2 * length)
            with Planted.QUERY:
                sleep_ms(0.4 * length)

    causes = recorded(tmp_path / "capture", call).why(Planted.REQUEST, alpha=0.001)
    assert causes.found.empty, causes
    assert causes.table["cause"].tolist() == ["unexplained"]
    assert "Nothing stands out" in causes.summary


def test_a_part_of_the_calls(tmp_path):
    capture = recorded(tmp_path / "capture", slow_tenant)
    assert capture.why(Planted.REQUEST, where={"tenant": "c"}).count < 0.2 * CALLS
    with pytest.raises(ValueError, match=r"no call of Planted\.LOAD is among those selected"):
        capture.why(Planted.LOAD)
    with pytest.raises(ValueError, match="quantile"):
        capture.why(Planted.REQUEST, quantile=1.5)
    with pytest.raises(TypeError, match=r"Planted\.REQUEST"):
        capture.why("Planted.REQUEST")
    causes = capture.why(Planted.REQUEST)
    with pytest.raises(KeyError, match="tenant=c"):
        causes.calls("tenant=x")


def test_it_shows_itself(tmp_path):
    causes = recorded(tmp_path / "capture", slow_tenant).why(Planted.REQUEST)
    assert "goes with tenant=c" in repr(causes)
    assert "<table" in causes._repr_html_()
    assert causes.found["cause"].tolist() == ["tenant=c"]


def test_few_calls_are_not_explained(tmp_path):
    with qp.record(tmp_path / "capture"):
        for _ in range(20):
            with Planted.REQUEST(tenant="a", size="s"):
                pass
    causes = qp.open(tmp_path / "capture").why(Planted.REQUEST)
    assert causes.table["share_of_excess"].tolist() == [1.0]
