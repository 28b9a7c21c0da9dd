"""What explains what: calls of our own choice that enclose each other."""

import numpy as np
import pytest

from quantum_pulse import analysis
from quantum_pulse.analysis.compared import directed
from quantum_pulse.evidence import Calls

CALLS = 3000
RUN_NS = 10**10


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def around(mean_ns, rng, size=CALLS):
    return mean_ns * np.exp(0.2 * rng.standard_normal(size))


def run(own, inside, calls=None):
    """A run of operations whose own times are `own`; `inside`: operation -> those that each of its calls calls once.

    Operations come with those that they call before them.
    """
    found = {}
    for name, times in own.items():
        children = inside.get(name, [])
        duration = times + sum(found[child].duration for child in children)
        start = np.linspace(0, RUN_NS, times.size, endpoint=False).astype(np.int64)
        outer = {
            parent: float(duration.sum()) for parent, children in inside.items() if name in children and parent in own
        }
        found[name] = Calls(start, duration, times, outer)
    return found


def explained(before, after, **options):
    sides = [[side] if isinstance(side, dict) else side for side in (before, after)]
    durations = [[{name: calls.duration for name, calls in one.items()} for one in side] for side in sides]
    found = analysis.compare_samples(*durations, **options)
    return found, analysis.explain(found, *sides)


def slower(found):
    """Operations that got slower, be it in these two runs."""
    table = directed(found.table)
    return set(table.loc[table["verdict"] == "regressed", "operation"])


def two(rng, outer=50_000, inner=50_000, **more):
    """OUTER calls INNER, and the others are by themselves."""
    times = {"INNER": around(inner, rng), "OUTER": around(outer, rng)}
    return run(times | {name: around(mean, rng) for name, mean in more.items()}, {"OUTER": ["INNER"]})


def test_nothing_to_explain(rng):
    _, found = explained(two(rng), two(rng))
    assert found.causes.empty
    assert found.shifts.empty
    assert found.groups.empty


def test_what_is_slower_because_of_a_call_inside_is_one_finding(rng):
    table, found = explained(two(rng), two(rng, inner=80_000))
    assert slower(table) == {"INNER", "OUTER"}
    causes = found.causes.set_index("operation")
    assert causes.loc["OUTER", ["reason", "inside"]].tolist() == ["slower inside", "INNER"]
    assert causes.loc["OUTER", "own_us"] == pytest.approx(0, abs=2)
    assert causes.loc["OUTER", "inside_us"] == pytest.approx(30, abs=3)
    assert causes.loc["INNER", "reason"] == "own"
    (group,) = found.groups.to_dict("records")
    assert (group["lead"], group["with"], group["reason"]) == ("INNER", ("OUTER",), "nested")
    assert group["change"] == pytest.approx(0.6, abs=0.1)


def test_a_chain_is_led_by_the_innermost(rng):
    def chain(innermost):
        times = {"C": around(innermost, rng), "B": around(20_000, rng), "A": around(20_000, rng)}
        return run(times, {"B": ["C"], "A": ["B"]})

    _, found = explained(chain(30_000), chain(60_000))
    assert found.groups[["lead", "with"]].to_numpy().tolist() == [["C", ("A", "B")]]


def test_a_parent_that_is_slower_by_itself_too(rng):
    _, found = explained(two(rng), two(rng, inner=60_000, outer=90_000))
    assert set(found.causes["reason"]) == {"own"}
    assert set(found.groups["lead"]) == {"INNER", "OUTER"}


def test_a_cost_that_moved_is_no_regression(rng):
    table, found = explained(two(rng, outer=60_000, inner=20_000), two(rng, outer=30_000, inner=50_000))
    assert slower(table) == {"INNER"}
    (shift,) = found.shifts.to_dict("records")
    assert (shift["operation"], shift["from"], shift["verdict"]) == ("INNER", "OUTER", "regressed")
    assert shift["gained_us"] == pytest.approx(30, abs=3)
    assert shift["given_us"] == pytest.approx(30, abs=3)
    assert found.causes.empty
    assert found.groups.empty


def test_a_cost_that_moved_into_something_new(rng):
    before = run({"OUTER": around(80_000, rng)}, {})
    _, found = explained(before, two(rng, outer=40_000, inner=40_000))
    assert found.shifts[["operation", "from", "verdict"]].to_numpy().tolist() == [["INNER", "OUTER", "added"]]


def test_no_excuse_for_what_nobody_gave(rng):
    """The parent's own time did not fall, or fell by something else, or the parent is slower as well."""
    for outer, inner in ((50_000, 5_000), (20_000, 5_000), (40_000, 40_000)):
        table, found = explained(two(rng, outer=50_000, inner=3_000), two(rng, outer=outer, inner=inner))
        assert "INNER" in slower(table)
        assert found.shifts.empty
        assert "INNER" in set(found.groups["lead"])


def test_more_calls_inside(rng):
    before = two(rng, outer=50_000, inner=50_000)
    inner, own = around(50_000, rng, 2 * CALLS), around(50_000, rng)
    start = np.linspace(0, RUN_NS, 2 * CALLS, endpoint=False).astype(np.int64)
    after = {
        "INNER": Calls(start, inner, inner, {"OUTER": float(inner.sum())}),
        "OUTER": Calls(start[::2], own + inner[::2] + inner[1::2], own, {}),
    }
    _, found = explained(before, after)
    assert found.causes[["operation", "reason", "inside"]].to_numpy().tolist() == [
        ["OUTER", "more calls inside", "INNER"]
    ]


def calling(rng, times, each):
    """OUTER calls INNER so many times, `each` ns long."""
    inner, own = around(each, rng, times * CALLS), around(1000, rng)
    start = np.linspace(0, RUN_NS, times * CALLS, endpoint=False).astype(np.int64)
    outer = own + inner.reshape(CALLS, times).sum(axis=1)
    return {
        "INNER": Calls(start, inner, inner, {"OUTER": float(inner.sum())}),
        "OUTER": Calls(start[::times], outer, own, {}),
    }


def test_fewer_and_larger_calls_are_no_regression(rng):
    table, found = explained(calling(rng, 8, 10_000), calling(rng, 1, 25_000))
    assert slower(table) == {"INNER"}
    (batch,) = found.batches.to_dict("records")
    assert (batch["operation"], batch["around"]) == ("INNER", "OUTER")
    assert (batch["baseline_calls"], batch["current_calls"]) == pytest.approx((8, 1))
    assert batch["current_us"] < batch["baseline_us"] / 2
    assert found.causes.empty
    assert found.groups.empty


def test_no_excuse_for_larger_calls_that_cost_more(rng):
    """Fewer calls that take more time in all, and slower ones that are as many."""
    for times, each in ((2, 60_000), (8, 20_000)):
        table, found = explained(calling(rng, 8, 10_000), calling(rng, times, each))
        assert "INNER" in slower(table)
        assert found.batches.empty
        assert "INNER" in set(found.groups["lead"])


def test_slow_at_the_same_times(rng):
    """Three operations that do not enclose each other: two are slow at the same times, again and again."""
    before = run({name: around(50_000, rng) for name in "ABC"}, {})
    places = np.arange(CALLS) * 40 // CALLS
    moments, others = np.split(rng.permutation(40)[:20], 2)
    after = {
        name: around(50_000, rng) * np.where(np.isin(places, when), factor, 1)
        for name, when, factor in (("A", moments, 4), ("B", moments, 3), ("C", others, 3))
    }
    table, found = explained(before, run(after, {}))
    assert slower(table) == set("ABC")
    groups = {(row["lead"], *row["with"]): row["reason"] for row in found.groups.to_dict("records")}
    assert groups == {("A", "B"): "same time", ("C",): ""}


def test_slow_all_the_time_is_not_slow_at_the_same_time(rng):
    names = [str(number) for number in range(6)]
    before = run({name: around(50_000, rng) for name in names}, {})
    _, found = explained(before, run({name: around(70_000, rng) for name in names}, {}))
    assert len(found.groups) == 6
    assert set(found.groups["reason"]) == {""}


def test_calls_that_enclose_each_other_in_turn(rng):
    def circle(mean):
        times = around(mean, rng)
        start = np.arange(CALLS)
        return {name: Calls(start, times, times * 0.01, {other: float(times.sum())}) for name, other in ("AB", "BA")}

    _, found = explained(circle(50_000), circle(90_000))
    assert found.groups[["lead", "with"]].to_numpy().tolist() == [["A", ("B",)]]


def test_own_times_that_are_not_known_explain_nothing(rng):
    def vague(side):
        return {name: Calls(one.start, one.duration, one.self_time[:0], one.inside) for name, one in side.items()}

    _, found = explained(vague(two(rng, outer=60_000, inner=20_000)), vague(two(rng, outer=30_000, inner=50_000)))
    assert found.shifts.empty
    assert found.groups["lead"].tolist() == ["INNER"]
