"""The corpus itself: its programs plant what they say, and its judge tells right answers from wrong ones."""

import json

import pandas as pd
import pytest

import quantum_pulse as qp
from tests.corpus import judging
from tests.corpus.judging import Named
from tests.corpus.registry import CLEAN, Program, cause, program, programs
from tests.corpus.running import TRUTH, Background, Run, Service, Truth, request

SECONDS = 1.5


def test_there_are_enough_programs():
    known = programs()
    planted = [one for one in known.values() if one.causes]
    assert len(planted) >= 24
    assert [one.name for one in known.values() if not one.causes] == [name for name in known if name.startswith(CLEAN)]


def test_answers_are_causes_that_can_be_named():
    from quantum_pulse.analysis import causes

    operations = {str(member) for one in (Service, Background) for member in one}
    for one in programs().values():
        for answer in (answer for planted in one.causes for answer in planted.answers):
            assert answer.kind in causes.KINDS, f"{one.name}: no cause has the kind {answer.kind!r}"
            if answer.kind in ("child", "concurrent"):
                assert set(answer.mentions) <= operations, f"{one.name}: {answer}"


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="two programs 'slow tenant'"):
        program("slow tenant")(programs()["slow tenant"].function)


@pytest.mark.parametrize("name", ["slow tenant", "cache miss path", "waiting outside of children"])
def test_what_is_planted_makes_requests_slow(tmp_path, name):
    judging.record(programs()[name], tmp_path / "capture", SECONDS)
    calls, _ = judging.slow_calls(tmp_path / "capture")
    is_planted = judging.planted_time(tmp_path / "capture", calls) > 0
    assert is_planted.sum() > 5
    assert calls["duration_ns"][is_planted].median() > 2 * calls["duration_ns"][~is_planted].median()


@pytest.mark.parametrize("name", list(programs()))
@pytest.mark.slow
def test_every_program_serves_requests(tmp_path, name):
    try:
        judging.record(programs()[name], tmp_path / "capture", SECONDS)
    except judging.ImpossibleError as reason:
        pytest.skip(str(reason))
    calls, _ = judging.slow_calls(tmp_path / "capture")
    assert len(calls) > 100
    assert not list(tmp_path.glob("corpus-*")), "its files are removed"


def test_a_program_that_fails_says_so(tmp_path):
    missing = Program("missing", Run.close, ())
    with pytest.raises(RuntimeError, match="no program 'missing'"):
        judging.record(missing, tmp_path / "capture", SECONDS)


def test_ranks_of_planted_causes():
    two = Program("two", Run.close, (cause("attribute: tenant=acme"), cause("child: LOAD", "waiting")))
    named = [Named("waiting", "waiting outside of calls", 0.5), Named("attribute", "size=large", 0.2)]
    verdict = judging.judge(two, named)
    assert verdict.ranks == [None, 1]
    assert verdict.share == 0.5
    assert verdict.is_first
    assert not verdict.is_among_three
    assert judging.judge(two, [*named, Named("attribute", "tenant=acme", 0.1)]).is_among_three


def test_a_pair_has_to_be_named_whole():
    pair = cause("attributes: route=/search; size=large")
    assert pair.fits("attributes", "size=large, route=/search")
    assert not pair.fits("attributes", "size=large, tenant=acme")
    assert not pair.fits("attribute", "size=large")


@pytest.fixture
def planted(tmp_path):
    """A capture of 200 requests, of which every tenth is slow: of "acme", in LOAD, by what is planted."""
    run = Run(1, 60, tmp_path / "capture")
    with qp.record(tmp_path / "capture"):
        for number in range(200):
            call = run.call()._replace(tenant="other" if number % 10 else "acme")
            with request(call), Service.LOAD:
                if number % 10 == 0:
                    with run.truth.planted():
                        run.hash(500)
    run.truth.write(tmp_path / "capture")
    run.close()
    return tmp_path / "capture"


def test_the_planted_share_is_what_was_measured(planted):
    assert judging.true_share(planted, 0.9) == pytest.approx(1, abs=0.15)
    rows = json.loads(planted.with_name(f"capture.{TRUTH}").read_text())
    assert len(rows) == 20
    halves = [[thread, began, length // 2] for thread, began, length in rows]
    planted.with_name(f"capture.{TRUTH}").write_text(json.dumps(halves))
    assert judging.true_share(planted, 0.9) == pytest.approx(0.5, abs=0.1)


def test_what_is_planted_twice_counts_once(planted):
    place = planted.with_name(f"capture.{TRUTH}")
    once = judging.true_share(planted, 0.9)
    rows = json.loads(place.read_text())
    inside = [[thread, began + length // 4, length // 2] for thread, began, length in rows]
    place.write_text(json.dumps([*rows, *inside]))
    assert judging.true_share(planted, 0.9) == pytest.approx(once, abs=1e-6)


def test_what_nobody_can_say(planted):
    truth = Truth()
    truth.unknown()
    truth.write(planted)
    assert judging.true_share(planted) is None


def test_time_on_another_thread_is_not_of_a_call(planted):
    place = planted.with_name(f"capture.{TRUTH}")
    place.write_text(
        json.dumps([[thread + 1, began, length] for thread, began, length in json.loads(place.read_text())])
    )
    assert judging.true_share(planted, 0.9) == 0


def test_the_simpler_ways(planted):
    first = judging.compared_attributes(planted, 0.9)[0]
    assert (first.kind, first.name) == ("attribute", "tenant=acme")
    assert first.share == pytest.approx(1, abs=0.2)
    child = judging.largest_child(planted, 0.9)[0]
    assert (child.kind, child.name) == ("child", "Service.LOAD")
    assert child.share > 0.8


def test_slow_calls_exceed_the_median(planted):
    calls, samples = judging.slow_calls(planted, 0.9)
    assert calls["is_slow"].sum() == 20
    assert set(samples["operation"].astype(str)) == {"Service.REQUEST", "Service.LOAD"}
    slow = calls[calls["is_slow"]]
    expected = slow["duration_ns"] - calls["duration_ns"].median()
    pd.testing.assert_series_equal(slow["excess"], expected, check_names=False)
    assert not calls.loc[~calls["is_slow"], "excess"].any()
