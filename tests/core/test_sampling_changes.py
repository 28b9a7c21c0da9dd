"""Sampling and levels that change while blocks are recorded: weights stay right, and blocks stay paired."""

import pytest

from quantum_pulse.core import contract
from tests.core.rig import by_operation


def weights(rig, operation):
    return [row.weight for row in by_operation(rig.drain()).get(operation, [])]


def run(rig, probe, count):
    for _ in range(count):
        with probe:
            pass


def test_weights_are_unbiased_where_the_rate_changes_in_the_middle_of_a_round(rig):
    """The expectation of what a call adds to the sum of weights is 1, whatever the rate is and was."""
    probe = rig.probe(1)
    total, calls = 0, 0
    for number in range(4_000):
        probe.probe_every = (7, 1, 50, 3)[number % 4]
        run(rig, probe, 5)
        calls += 5
        if number % 200 == 0:
            total += sum(weights(rig, 1))
    total += sum(weights(rig, 1))
    # Of 1,000 times five calls at one in fifty: 100 samples of 50, with a deviation of 500.
    assert abs(total - calls) < 6 * 520


def test_a_sample_has_the_weight_of_the_round_that_it_was_chosen_in(rig):
    probe = rig.probe(1)
    for every in (10, 4, 10, 1):
        probe.probe_every = every
        run(rig, probe, 3 * 20)
        found = weights(rig, 1)
        assert set(found) == {every}
        assert len(found) == 60 // every


def test_what_is_muted_is_not_recorded_and_encloses_nothing(rig):
    plain, detail = rig.probe(1), rig.probe(2)
    detail.probe_detail = True
    for muted, expected in (
        (contract.DETAILS, {1}),
        (contract.ALL, set()),
        (contract.NOTHING, {1, 2}),
    ):
        rig.core.mute(muted)
        with plain, detail, plain:
            pass
        rig.core.Block(plain).end()
        rig.core.add(plain, 1, 2, None)
        rows = rig.drain()
        assert {row.operation for row in rows} == expected
        if muted == contract.DETAILS:
            inner, outer = rows[0], rows[1]
            assert inner.parent == outer.span


def test_blocks_that_are_open_while_the_level_changes(rig, restart):
    restart(production=True)
    detail, plain = rig.probe(1), rig.probe(2)
    detail.probe_detail = True
    with detail:  # not entered at all
        rig.core.mute(contract.NOTHING)
        with detail:
            rig.core.mute(contract.DETAILS)
            with detail, plain:
                rig.core.mute(contract.ALL)
                with plain:
                    rig.core.mute(contract.NOTHING)
            with detail:
                pass
    rows = by_operation(rig.drain())
    assert [len(rows[1]), len(rows[2])] == [2, 1]
    outer = max(rows[1], key=lambda row: row.end - row.start)
    (inner,) = (row for row in rows[1] if row is not outer)
    assert inner.parent == rows[2][0].parent == outer.span
    assert outer.parent == 0
    assert outer.start <= rows[2][0].start <= rows[2][0].end <= inner.start <= inner.end <= outer.end


def test_what_cannot_be_muted(rig):
    with pytest.raises(ValueError, match="0, 1 or 2"):
        rig.core.mute(3)
    with pytest.raises(TypeError):
        rig.core.mute("details")
