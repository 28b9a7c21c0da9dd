"""The pieces of an import, each against a plain way to do the same."""

import io
import json
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_pulse.errors import TraceError
from quantum_pulse.importers import jsonstream, sorting, times, wire
from quantum_pulse.importers.enclosing import Enclosing
from quantum_pulse.importers.links import Links
from quantum_pulse.importers.rows import joined, rows_of

#: The machine may be busy; nothing here is slow.
AT_LEISURE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def innermost(calls):
    """The parent of each call, by looking at all before it."""
    found = []
    for place, (track, start, end) in enumerate(calls):
        around = [
            other
            for other, (its, _, until) in enumerate(calls[:place])
            if its == track and until >= end and (end > start or until > end)
        ]
        found.append(around[-1] + 1 if around else 0)
    return found


@AT_LEISURE
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 12)), max_size=60),
    st.integers(1, 20),
)
def test_enclosing_calls_are_found_batch_by_batch(given_calls, size):
    calls = sorted(given_calls, key=lambda call: (call[1], -call[2]))
    enclosing, found = Enclosing(), []
    for first in range(0, len(calls), size):
        track, start, length = (np.array(column, np.int64) for column in zip(*calls[first : first + size], strict=True))
        span = np.arange(first + 1, first + 1 + len(track))
        found += enclosing.parents(track, np.zeros_like(track), span, start, length).tolist()
        assert len(enclosing._open.span) <= len(calls)
    assert found == innermost([(track, start, start + length) for track, start, length in calls])


def test_rows_are_sorted_whatever_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(sorting, "RUN_ROWS", 1000)
    monkeypatch.setattr(sorting, "BATCH_ROWS", 64)
    chance = random.Random(1)
    given_rows = [(chance.randrange(3), chance.randrange(500), place) for place in range(10_000)]
    runs = sorting.Runs(tmp_path, lambda rows: (rows["place"], rows["start"]))
    for first in range(0, len(given_rows), 300):
        place, start, span = zip(*given_rows[first : first + 300], strict=True)
        runs.add(rows_of({"place": place, "start": start, "span": span}))
    rows = joined(list(runs.merged()))
    runs.close()
    assert len(list(tmp_path.iterdir())) >= 9
    found = list(zip(rows["place"].tolist(), rows["start"].tolist(), strict=True))
    assert found == sorted((place, start) for place, start, _ in given_rows)
    assert sorted(rows["span"].tolist()) == list(range(10_000))


def test_parents_are_found_by_name(tmp_path):
    chance = random.Random(1)
    names = np.array([chance.randrange(-(1 << 63), 1 << 63) for _ in range(50_000)], np.int64)
    number = np.arange(1, len(names) + 1)
    parent = np.array([chance.randrange(-5, place) for place in range(len(names))])
    given_parents = np.where(parent < 0, np.where(parent == -1, 12345, 0), names[np.maximum(parent, 0)])
    links = Links(tmp_path)
    for first in range(0, len(names), 7000):
        rows = slice(first, first + 7000)
        links.add(names[rows], given_parents[rows], number[rows])
    links.resolve()
    found = np.concatenate([links.parents(number[first : first + 9000]) for first in range(0, len(names), 9000)])
    links.close()
    assert found.tolist() == np.where(parent < 0, 0, parent + 1).tolist()
    assert links.missing == int((parent == -1).sum())
    assert links.repeated == links.early == 0


@AT_LEISURE
@given(
    st.lists(st.one_of(st.integers(-(10**15), 10**15), st.decimals(-(10**15), 10**15, places=3).map(str)), max_size=9)
)
def test_times_are_those_of_decimal_arithmetic(values):
    found, is_time = times.nanoseconds(values)
    assert is_time.all()
    assert found.tolist() == [times.nanosecond(value) for value in values]


@pytest.mark.parametrize("value", [None, True, "late", [], {}, "nan", "inf", 10**30, "1e400"])
def test_what_is_no_time(value):
    found, is_time = times.nanoseconds([1, value, "2.5"])
    assert is_time.tolist() == [True, False, True]
    assert found.tolist() == [1000, 0, 2500]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


@AT_LEISURE
@given(
    st.lists(st.dictionaries(st.text(), JSON, max_size=4)),
    st.dictionaries(st.text(), JSON),
    st.integers(1, 50),
    st.booleans(),
)
def test_json_is_read_in_pieces_of_any_size(events, other, size, is_spaced):
    separators = (" ,\n ", " : ") if is_spaced else (",", ":")
    text = json.dumps({**other, "a": {"list": events}, "last": 7}, separators=separators, ensure_ascii=False)

    class Slow(io.BytesIO):
        def read(self, _=-1):
            return super().read(size)

    leaves = {("a", "list", jsonstream.EACH), ("last",)}
    found = list(jsonstream.walk(Slow(text.encode("utf-8", "surrogatepass")), leaves))
    values = [value for one in found if one.path[:1] == ("a",) for value in one.values or ()] if events else []
    assert json.dumps(values).encode() == json.dumps([*events]).encode() or "\\ud" in json.dumps(events)
    assert found[-1] == jsonstream.Found(("last",), [7])


def test_messages_that_are_damaged_say_so():
    for content in (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\x05ab", b"\x0b", b"\x08", b"\x09abc"):
        with pytest.raises(TraceError):
            list(wire.fields(content))
    with pytest.raises(wire.TruncatedError):
        list(wire.Reader(io.BytesIO(b"\x0a\x05ab")).fields())
