import pytest

from tests.agent.captures import HOUR, MINUTE, SECOND, Maker, columns


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path / "capture")


@pytest.fixture
def hours(maker):
    """One recording of five hours, a part of 600 samples in each, which ended in the sixth."""
    for hour in range(5):
        maker.samples("1-aaaa", hour, columns(600, hour * HOUR, 5 * SECOND, hour))
        maker.metrics("1-aaaa", hour, range(hour * HOUR, hour * HOUR + MINUTE, SECOND))
        maker.events("1-aaaa", hour, [hour * HOUR + SECOND])
    maker.process("1-aaaa", 0, 5 * HOUR)
    return maker
