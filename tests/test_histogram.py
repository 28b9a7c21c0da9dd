"""Buckets against a slow oracle, over the whole range of int64."""

import base64
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_pulse import histogram
from quantum_pulse.schema import HISTOGRAM_BITS

LARGEST = 2**63 - 1
WIDTH = 2**HISTOGRAM_BITS

#: Where floating point, octaves and the end of int64 could go wrong.
SPECIAL = sorted(
    {
        value
        for power in range(64)
        for value in (2**power - 2, 2**power - 1, 2**power, 2**power + 1, 2**power + 2**power // 64 - 1)
        if 0 <= value <= LARGEST
    }
    | {2**53 - 1, 2**53, 2**53 + 1, 2**54 - 1, 2**54 + 2, 2**62, LARGEST - 511, LARGEST - 512, LARGEST}
)
values = st.integers(0, LARGEST) | st.sampled_from(SPECIAL) | st.integers(0, 10**7)


def slow(value):
    """The definition word by word: each octave from 2**HISTOGRAM_BITS on is cut into equal buckets."""
    if value < WIDTH:
        return value
    power = HISTOGRAM_BITS
    while 2 ** (power + 1) <= value:
        power += 1
    size = 2**power // WIDTH
    return WIDTH + (power - HISTOGRAM_BITS) * WIDTH + (value - 2**power) // size


def pairs_of(counted):
    buckets, calls = counted
    assert buckets.dtype == calls.dtype == np.int64
    return list(zip(buckets.tolist(), calls.tolist(), strict=True))


def test_a_bucket_is_the_oracles():
    assert [histogram.bucket_of(value) for value in SPECIAL] == [slow(value) for value in SPECIAL]


@given(values)
@settings(deadline=None, derandomize=True)
def test_a_value_lies_between_the_edges_of_its_bucket(value):
    bucket = histogram.bucket_of(value)
    assert bucket == slow(value)
    assert 0 <= bucket < histogram.BUCKETS
    low, high = histogram.lower_edge(bucket), histogram.lower_edge(bucket + 1)
    assert low <= value < high
    assert histogram.bucket_of(low) == bucket
    assert histogram.bucket_of(high - 1) == bucket
    # The promised width: a bucket is at most 1/64 of its lower edge wide, and exact below.
    assert high - low == 1 or (high - low) * WIDTH <= low
    assert abs(histogram.middle(bucket) - value) <= value / (2 * WIDTH)


def test_buckets_have_no_gaps_and_end_with_int64():
    edges = [histogram.lower_edge(bucket) for bucket in range(histogram.BUCKETS + 1)]
    assert edges[0] == 0
    assert edges[-1] == LARGEST + 1
    assert all(low < high for low, high in itertools.pairwise(edges))
    assert [histogram.bucket_of(edge) for edge in edges[:-1]] == list(range(histogram.BUCKETS))


def test_special_values_vectorised():
    found = histogram.buckets_of(np.array(SPECIAL, np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == [slow(value) for value in SPECIAL]


@given(st.lists(values, max_size=50))
@settings(deadline=None, derandomize=True)
def test_vectorised_is_the_same(durations):
    assert histogram.buckets_of(np.array(durations, np.int64)).tolist() == [slow(value) for value in durations]


@given(st.lists(st.tuples(values, st.integers(1, 1000)), max_size=50))
@settings(deadline=None, derandomize=True)
def test_count_adds_the_calls_of_each_bucket(pairs):
    expected = {}
    for value, weight in pairs:
        expected[slow(value)] = expected.get(slow(value), 0) + weight
    durations = np.array([value for value, _ in pairs], np.int64)
    weights = np.array([weight for _, weight in pairs], np.int32)
    assert pairs_of(histogram.count(durations, weights)) == sorted(expected.items())


def test_counts_merge_by_adding():
    random = np.random.default_rng(7)
    durations = (10 ** random.uniform(0, 12, 4000)).astype(np.int64)
    ones = np.ones(len(durations), np.int32)
    merged = {}
    for half in (slice(None, 1000), slice(1000, None)):
        for bucket, calls in pairs_of(histogram.count(durations[half], ones[half])):
            merged[bucket] = merged.get(bucket, 0) + calls
    assert sorted(merged.items()) == pairs_of(histogram.count(durations, ones))
    assert sum(merged.values()) == len(durations)


def slow_pack(pairs):
    """The text as docs/format.md describes it, integer by integer."""
    numbers, expected = [], 0
    for bucket, calls in pairs:
        if bucket > expected:
            numbers.append(expected - bucket)
        numbers.append(calls)
        expected = bucket + 1
    data = bytearray()
    for number in numbers:
        rest = 2 * number if number >= 0 else -2 * number - 1
        while rest > 127:
            data.append(rest % 128 + 128)
            rest //= 128
        data.append(rest)
    return base64.b64encode(bytes(data)).decode()


@given(st.dictionaries(st.integers(0, histogram.BUCKETS - 1), st.integers(1, 100) | st.integers(1, 2**62), max_size=60))
@settings(deadline=None, derandomize=True)
def test_packed_text_is_as_documented_and_read_back(filled):
    pairs = sorted(filled.items())
    buckets, calls = (np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1))
    text = histogram.pack(buckets, calls)
    assert text == slow_pack(pairs)
    assert pairs_of(histogram.unpack(text)) == pairs


def test_packed_text_is_short():
    durations = np.random.default_rng(1).lognormal(9, 0.5, 1000).astype(np.int64)
    buckets, calls = histogram.count(durations, np.ones(1000, np.int32))
    assert len(histogram.pack(buckets, calls)) < 2.5 * len(buckets)


@pytest.mark.parametrize(
    "data",
    [b"\x80", b"\x02\x80", b"\x80" * 11 + b"\x01", b"\xff\xff\x7f\x02", b"\xff" * 9 + b"\x01"],
    ids=["no end", "cut off", "too long", "beyond the last bucket", "a huge gap"],
)
def test_what_is_no_histogram_is_refused(data):
    with pytest.raises(ValueError, match="histogram"):
        histogram.unpack(base64.b64encode(data).decode())
    with pytest.raises(ValueError):
        histogram.unpack("é$")
