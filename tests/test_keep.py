"""What `keep=` takes."""

import pytest

from quantum_pulse import keep
from quantum_pulse.errors import RecordingError

HOUR = 3600 * 10**9


@pytest.mark.parametrize(
    ("spec", "age_ns", "size"),
    [
        ("30d", 720 * HOUR, None),
        ("12h", 12 * HOUR, None),
        ("90m", HOUR * 3 // 2, None),
        ("1.5h", HOUR * 3 // 2, None),
        (" 2 w ", 336 * HOUR, None),
        ("45s", 45 * 10**9, None),
        ("20GB", None, 20 * 10**9),
        ("500MB", None, 5 * 10**8),
        ("500mb", None, 5 * 10**8),
        ("0.1TB", None, 10**11),
        ("64MiB", None, 1 << 26),
    ],
)
def test_ages_and_sizes(spec, age_ns, size):
    assert keep.parse(spec) == keep.Keep(age_ns, size)
    assert keep.parse(keep.parse(spec)) == keep.Keep(age_ns, size)


def test_no_bound():
    assert keep.parse(None) is None


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("30", "has no unit; did you mean '30d' or '30GB'"),
        ("30 days", "did you mean '30d'"),
        ("5min", "did you mean '5m'"),
        ("12H", "did you mean '12h'"),
        ("20G", "did you mean '20GB'"),
        ("500M", "did you mean '500MB'"),
        ("5parsecs", "unknown unit 'parsecs'; write a length of time such as"),
        ("", "not a number and a unit"),
        ("much", "not a number and a unit"),
        ("-1d", "not a number and a unit"),
        ("1e3d", "not a number and a unit"),
        ("0d", "would keep nothing"),
        ("0.1kB", None),
        ("0.0000000001s", "would keep nothing"),
        ("1000000w", "more than any capture reaches"),
        (30, "keep must be a length of time"),
        (b"30d", "keep must be a length of time"),
        (True, "keep must be a length of time"),
    ],
)
def test_what_is_wrong_is_said(spec, told):
    if told is None:
        assert keep.parse(spec).bytes == 100
        return
    with pytest.raises(RecordingError, match="keep") as raised:
        keep.parse(spec)
    assert told in str(raised.value)
