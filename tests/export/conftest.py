"""What several tests of exports need."""

import numpy as np
import pytest

from tests.reading.conftest import write_capture  # noqa: F401 - a fixture

PART_ROWS = 1 << 15


@pytest.fixture
def two_sizes(write_capture):  # noqa: F811 - the fixture
    """Captures of 8 and of 32 parts of 32,768 samples each: calls of two levels, some of them in tasks."""

    def part(number):
        place = np.arange(number * PART_ROWS, (number + 1) * PART_ROWS)
        group, step = place // 4, place % 4
        return {
            "operation": place % 3,
            "error": np.where(place % 97 == 0, 1, 0),
            "start": group * 40_000 + step * 8_000,
            "duration": np.where(step == 0, 35_000, 6_000),
            "span": place + 1,
            "parent": np.where(step == 0, 0, group * 4 + 1),
            "task": group // 100 * (group % 2),
        }

    return [write_capture([part(number) for number in range(parts)]) for parts in (8, 32)]
