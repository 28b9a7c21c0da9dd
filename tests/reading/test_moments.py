"""How moments may be written: what is printed, offsets from the first sample, and what could be two."""

import datetime as dt
import time

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import lengths
from quantum_pulse.reading import moments
from tests.view.captures import ENGINE


def of(text):
    return pd.Timestamp(text, tz="UTC").value


FIRST, LAST = of("2026-03-27 18:03:22.5"), of("2026-03-27 18:09:01")


def found(moment, first=FIRST, last=LAST):
    return moments.unix_ns(moment, "start", lambda: (first, last))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("18:03:24", "2026-03-27 18:03:24"),
        ("18:03:24.123", "2026-03-27 18:03:24.123"),
        ("18:03:24.123 UTC", "2026-03-27 18:03:24.123"),
        ("18:04", "2026-03-27 18:04"),
        ("18:03:22", "2026-03-27 18:03:22"),
        ("17:00", "2026-03-27 17:00"),
        ("2026-03-27 18:03:24.123 UTC", "2026-03-27 18:03:24.123"),
        ("2026-03-27 19:03:24 Europe/Berlin", "2026-03-27 18:03:24"),
        ("2026-03-27T19:03:24+01:00", "2026-03-27 18:03:24"),
        ("27.03.2026 18:04", "2026-03-27 18:04"),
        ("1s", "2026-03-27 18:03:23.5"),
        ("+1.5s", "2026-03-27 18:03:24"),
        ("250ms", "2026-03-27 18:03:22.75"),
        ("1m 30s", "2026-03-27 18:04:52.5"),
        (" 2 min ", "2026-03-27 18:05:22.5"),
    ],
)
def test_what_is_meant(text, meant):
    assert found(text) == of(meant)


def test_a_time_of_day_is_that_of_the_capture_where_it_has_two_days():
    first, last = of("2026-03-27 23:50"), of("2026-03-28 00:10")
    assert found("23:55", first, last) == of("2026-03-27 23:55")
    assert found("00:05", first, last) == of("2026-03-28 00:05")
    with pytest.raises(ValueError, match=r"may be '2026-03-27 12:00', '2026-03-28 12:00'$"):
        found("12:00", first, last)
    with pytest.raises(
        ValueError, match=r"may be '2026-03-28 12:00', '2026-03-29 12:00', '2026-03-30 12:00' and 1 more"
    ):
        found("12:00", first, of("2026-03-31 13:00"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("03/04/2026 10:00", "may be '2026-04-03 10:00' or '2026-03-04 10:00'"),
        ("2026-10-25 02:30 Europe/Berlin", "twice: '2026-10-25 02:30:00.02:00' or '2026-10-25 02:30:00.01:00'"),
        ("2026-03-29 02:30 Europe/Berlin", "the clocks of Europe/Berlin skipped it"),
        ("2026-03-29 02:30+01:00 Europe/Berlin", "an offset as well as the zone"),
        ("27 March", "write it as '2026-03-27 18:03:24', '18:03:24' or '1.5s' after the first sample"),
        ("Monday", "write it as"),
        ("today", "write it as"),
        ("5", "write it as"),
        ("25:00", "write it as"),
        ("1 fortnight", "write it as"),
    ],
)
def test_what_could_be_two_moments_or_is_none(text, said):
    with pytest.raises(ValueError, match=rf"^start=.* is not a valid time: .*{said}"):
        found(text)


@pytest.fixture
def in_berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize("read", [str, pd.Timestamp, dt.datetime.fromisoformat])
def test_local_time_is_not_taken_for_utc_in_silence(read):
    with pytest.raises(ValueError, match=r"taken for UTC, .* in local time it is '2026-03-27 19:05:00\+01:00'"):
        found(read("2026-03-27 19:05"))
    assert found(read("2026-03-27 18:05")) == of("2026-03-27 18:05")
    assert found(read("2026-03-27 16:05")) == of("2026-03-27 16:05"), "outside in both: a bound may well be"
    # In the autumn an hour comes twice, and a capture may have both.
    first, last = of("2026-10-25 00:15"), of("2026-10-25 01:45")
    with pytest.raises(ValueError, match=r"'2026-10-25 02:30:00\+02:00' or '2026-10-25 02:30:00\+01:00'"):
        found(read("2026-10-25 02:30"), first, last)


@pytest.mark.usefixtures("in_berlin")
def test_local_time_of_day():
    with pytest.raises(ValueError, match=r"in local time it is '2026-03-27 19:05:00\+01:00'"):
        found("19:05")
    assert found("18:05") == of("2026-03-27 18:05")


def test_now():
    assert abs(found("now") - time.time_ns()) < 5e9


def test_what_a_report_prints_chooses_samples():
    capture = qp.open(ENGINE)
    samples = capture.samples()
    middle = samples["start"].iloc[len(samples) // 2]
    printed = f"{middle:%H:%M:%S.%f}"[:-3]
    expected = samples["start"].iloc[0] + pd.Timedelta("100ms")
    assert len(capture.samples(start=printed)) == (samples["start"] >= middle.floor("ms")).sum() > 0
    assert len(capture.samples(end="100ms")) == (samples["start"] < expected).sum() > 0


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1w", 604_800 * 10**9), ("2 µs", 2000), (".5h", 1800 * 10**9), ("1", None), ("", None), ("s", None)],
)
def test_lengths(text, ns):
    assert lengths.nanoseconds(text) == ns


def test_lengths_in_seconds():
    assert (lengths.seconds("1.5"), lengths.seconds("250ms")) == (1.5, 0.25)
    with pytest.raises(ValueError, match="could not convert"):
        lengths.seconds("soon")
