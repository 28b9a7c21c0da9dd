"""Stacks and icicles: no time is lost or counted twice, and the files are those that other tools read."""

import json

import pytest

import quantum_pulse as qp
from quantum_pulse import stacks
from quantum_pulse.stacks import Stack


def stack(path, self_us, calls=1):
    return Stack(tuple(("c", name) for name in path.split()), self_us, calls)


CURRENT = [stack("A", 10, 2), stack("A B", 20, 4), stack("A B C", 30, 4), stack("D", 5, 1), stack("D C", 15, 3)]


def shape(frame):
    return [(one.name, one.total_us, one.self_us, one.count, shape(one)) for one in frame.children]


def test_frames_are_as_wide_as_their_time_and_all_inside():
    whole = stacks.icicle(CURRENT)
    assert whole.total_us == 80
    assert shape(whole) == [
        ("A", 60, 10, 2, [("B", 50, 20, 4, [("C", 30, 30, 4, [])])]),
        ("D", 20, 5, 1, [("C", 15, 15, 3, [])]),
    ]


def test_the_other_way_round_operations_have_their_own_time_and_their_callers():
    whole = stacks.icicle(CURRENT, by="self")
    assert [(one.name, one.total_us, one.self_us, one.count) for one in whole.children] == [
        ("C", 45, 45, 7), ("B", 20, 20, 4), ("A", 10, 10, 2), ("D", 5, 5, 1),
    ]  # fmt: skip
    callers = whole.children[0].children
    assert [(one.name, one.total_us, [inner.name for inner in one.children]) for one in callers] == [
        ("B", 30, ["A"]),
        ("D", 15, []),
    ]


@pytest.mark.parametrize("by", stacks.KINDS)
def test_a_baseline_is_scaled_to_as_many_calls(by):
    twice = [one._replace(self_us=2 * one.self_us, calls=2 * one.calls) for one in CURRENT]
    before = stacks.scaled([*twice, stack("GONE", 99)], CURRENT)
    assert all(frame.change_us == 0 for frame in stacks.frames(stacks.icicle(CURRENT, before, by)))
    slower = [one._replace(self_us=one.self_us * (3 if one.path[-1][1] == "B" else 1)) for one in CURRENT]
    whole = stacks.icicle(slower, stacks.scaled(CURRENT, slower), by)
    changes = {frame.name: frame.change_us for frame in whole.children}
    assert changes == ({"A": 40, "D": 0} if by == "total" else {"A": 0, "B": 40, "C": 0, "D": 0})


def test_what_did_not_run_before_is_new():
    whole = stacks.icicle(CURRENT, stacks.scaled(CURRENT[:3], CURRENT))
    assert {frame.name: frame.baseline_us for frame in whole.children} == {"A": 60, "D": 0}


def test_the_stacks_of_a_tree_add_up_to_it():
    for name in ("engine", "slow_exchange"):
        tree = qp.sample(name).tree()
        own = stacks.of_tree(tree)
        assert sum(one.self_us for one in own) == pytest.approx(tree["self_us"].sum())
        assert [" > ".join(operation for _, operation in one.path) for one in own] == tree.index.tolist()


def test_unknown_self_time_is_what_calls_inside_leave():
    tree = qp.sample("engine").tree()
    tree.loc[tree["depth"] == 0, "self_us"] = float("nan")
    own = {one.path: one.self_us for one in stacks.of_tree(tree)}
    assert all(value >= 0 for value in own.values())


def test_folded_stacks_and_speedscope():
    own = [
        stack("A", 10),
        Stack((("c", "A"), ("c", "odd;na\nme")), 0.0004, 1),
        Stack((("c", "A"), ("c", "B;")), 2.5, 1),
    ]
    assert stacks.folded(own) == "A 10000\nA;B 2500\n"
    content = json.loads(stacks.speedscope(own, "title"))
    (profile,) = content["profiles"]
    names = [frame["name"] for frame in content["shared"]["frames"]]
    assert [[names[place] for place in sample] for sample in profile["samples"]] == [
        ["A"],
        ["A", "odd;na\nme"],
        ["A", "B;"],
    ]
    assert profile["weights"] == [10000, 0, 2500]
    assert profile["endValue"] == sum(profile["weights"])


def test_what_speedscope_gets_comes_back_as_the_same_stacks(tmp_path):
    flame = qp.sample("engine").flame()
    flame.write(tmp_path / "calls.speedscope.json")
    made = qp.import_trace(tmp_path / "calls.speedscope.json", tmp_path / "c")
    again = made.capture.flame()
    assert again.table["total_us"].sum() == pytest.approx(flame.table["total_us"].sum(), rel=1e-3)
