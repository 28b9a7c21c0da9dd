"""On which lane each sample is drawn: what overlaps on one is nested, and lies in its parent where it can."""

import random
from collections import defaultdict

import pytest

from quantum_pulse.export.tracks import MOST_TASKS, OTHER_TASKS, Track, Tracks


def placed(samples):
    """Where each of (thread, task, span, parent, start, end) goes, the operation being the span's."""
    tracks = Tracks()
    return [
        tracks.place(thread, task, span, parent, 0, start, end) for thread, task, span, parent, start, end in samples
    ]


def assert_nested(samples, places):
    """Of two on one lane that overlap, one lies within the other. By comparing all with all."""
    lanes = defaultdict(list)
    for sample, place in zip(samples, places, strict=True):
        lanes[place].append(sample[4:])
    for own in lanes.values():
        for first, (start, end) in enumerate(own):
            for other_start, other_end in own[first + 1 :]:
                apart = end <= other_start or other_end <= start
                inside = start <= other_start and other_end <= end
                around = other_start <= start and end <= other_end
                assert apart or inside or around, own


def test_calls_nest_on_one_lane():
    samples = [
        (7, 0, 1, 0, 0, 100),
        (7, 0, 2, 1, 10, 50),
        (7, 0, 3, 2, 10, 20),
        (7, 0, 4, 1, 50, 100),
        (7, 0, 5, 0, 100, 110),
    ]
    assert placed(samples) == [(Track(7, 0), 0)] * 5


def test_what_is_open_beside_others_has_a_lane_of_its_own():
    # A timer that was paused: nobody's parent, and it ends within what began after it.
    samples = [(7, 0, 1, 0, 0, 30), (7, 0, 2, 0, 10, 50), (7, 0, 3, 2, 20, 40), (7, 0, 4, 0, 60, 70)]
    assert [lane for _, lane in placed(samples)] == [0, 1, 1, 1]


def test_a_sample_that_comes_late_does_not_break_what_is_there():
    samples = [(7, 0, 1, 0, 0, 100), (7, 0, 2, 1, 60, 80), (7, 0, 3, 1, 20, 70)]
    places = placed(samples)
    assert_nested(samples, places)
    assert places[2] != places[0]


def test_tasks_that_take_turns_have_tracks_of_their_own():
    samples = [(7, 1, 1, 0, 0, 50), (7, 2, 2, 0, 10, 60), (7, 1, 3, 1, 20, 30), (7, 0, 4, 0, 30, 90)]
    assert [track for track, _ in placed(samples)] == [Track(0, 1), Track(0, 2), Track(0, 1), Track(7, 0)]


def test_a_child_without_its_parent_lies_in_what_runs_around_it_on_its_track():
    samples = [(7, 0, 1, 0, 0, 100), (7, 0, 3, 2, 10, 20)]
    assert placed(samples) == [(Track(7, 0), 0)] * 2


def test_many_tasks_share_a_track():
    samples = [(7, task, task, 0, 10 * task, 10 * task + 15) for task in range(1, 2 * MOST_TASKS)]
    places = placed(samples)
    assert len({track for track, _ in places}) == MOST_TASKS + 1
    shared = {lane for track, lane in places if track == OTHER_TASKS}
    assert shared == {0, 1}, "two ran at once"
    assert_nested(samples, places)


@pytest.mark.parametrize("seed", range(5))
def test_lanes_are_as_few_as_run_at_once(seed):
    chance = random.Random(seed)
    starts = sorted(chance.randrange(10_000) for _ in range(2_000))
    samples = [
        (7, MOST_TASKS + span, MOST_TASKS + span, 0, start, start + chance.randrange(1, 200))
        for span, start in enumerate(starts, 1)
    ]
    first = [(7, task, task, 0, -10, -5) for task in range(1, MOST_TASKS + 1)]
    places = placed([*first, *samples])[MOST_TASKS:]
    assert_nested(samples, places)
    most = max(sum(start <= now < end for *_, start, end in samples) for now in starts)
    assert {lane for _, lane in places} == set(range(most))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_nests(seed):
    """Random calls on two threads and five tasks, with timers that start before what is known and unknown parents."""
    chance = random.Random(seed)
    samples, clock = [], 0
    for span in range(1, 400):
        clock += chance.choice([0, 0, 1, 5, 20])
        start = clock - chance.choice([0, 0, 0, 15])
        parent = chance.choice([0, 0, max(span - chance.randint(1, 6), 0), 10_000])
        task = chance.choice([0, 0, 1, 2, 3, 4, 5])
        samples.append((chance.choice([7, 8]), task, span, parent, start, start + chance.choice([0, 1, 10, 100])))
    assert_nested(samples, placed(samples))
