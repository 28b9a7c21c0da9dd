"""Where a category's time went."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_pulse import analysis
from quantum_pulse.analysis import decomposition


def frame(*rows):
    """Rows of (category, operation, count, mean in µs)."""
    index = pd.MultiIndex.from_tuples([row[:2] for row in rows], names=["category", "operation"])
    data = [(count, 0, count * mean) for _, _, count, mean in rows]
    return pd.DataFrame(data, index=index, columns=["count", "errors", "total_us"], dtype="float64")


def parts(before, after, category="C"):
    return analysis.decompose(before, after).loc[category, ["calls_us", "mix_us", "durations_us"]].tolist()


def test_one_reason_at_a_time():
    before = frame(("C", "fast", 90, 1.0), ("C", "slow", 10, 11.0))
    assert parts(before, frame(("C", "fast", 180, 1.0), ("C", "slow", 20, 11.0))) == pytest.approx([200, 0, 0])
    assert parts(before, frame(("C", "fast", 80, 1.0), ("C", "slow", 20, 11.0))) == pytest.approx([0, 100, 0])
    assert parts(before, frame(("C", "fast", 90, 2.0), ("C", "slow", 10, 11.0))) == pytest.approx([0, 0, 90])


def test_what_is_new_or_gone_is_mix():
    before = frame(("C", "old", 100, 2.0))
    after = frame(("C", "new", 100, 3.0))
    assert parts(before, after) == pytest.approx([0, 100, 0])
    assert analysis.decompose(frame(("A", "a", 1, 1.0)), frame(("B", "b", 1, 3.0)))["change_us"].to_dict() == {
        "B": 3.0,
        "A": -1.0,
    }


rows = st.dictionaries(
    st.tuples(st.sampled_from("AB"), st.sampled_from("xyz")),
    st.tuples(st.integers(1, 1000), st.floats(0.1, 1000)),
    min_size=1,
)


@given(rows, rows)
def test_the_parts_add_up(before, after):
    sides = [frame(*((*key, *value) for key, value in side.items())) for side in (before, after)]
    found = analysis.decompose(*sides)
    sums = found[["calls_us", "mix_us", "durations_us"]].sum(axis=1)
    assert sums.to_numpy() == pytest.approx(found["change_us"].to_numpy(), rel=1e-9, abs=1e-6)
    assert found["current_us"].sum() == pytest.approx(sides[1]["total_us"].sum())


def test_runs_are_averaged():
    both = decomposition.average([frame(("C", "a", 10, 1.0)), frame(("C", "a", 30, 2.0), ("C", "b", 4, 1.0))], 2)
    assert both.loc[("C", "a")].tolist() == [20, 0, 35, 1.75]
    assert both.loc[("C", "b"), "count"] == 2
    with pytest.raises(ValueError, match="at least one run"):
        decomposition.average([], 0)
