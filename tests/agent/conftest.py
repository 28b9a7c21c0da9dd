import contextlib
import os
from pathlib import Path

import pytest

from quantum_pulse.agent import cgroups
from tests.agent.captures import HOUR, MINUTE, SECOND, Maker, columns
from tests.agent.children import Child


@pytest.fixture
def start_child():
    """Starts a Child; all are ended after the test."""
    with contextlib.ExitStack() as stack:

        def start(**options):
            child = Child(**options)
            stack.callback(child.close)
            return child

        yield start


@pytest.fixture
def child(start_child):
    return start_child()


@pytest.fixture
def control_group():
    """Makes an empty control group with a controller, or one of version 2 for "": its version and folder.

    Skips where that is not allowed.
    """
    with contextlib.ExitStack() as stack:

        def make(controller):
            membership = f"1:{controller}:/\n0::/\n"
            top = cgroups.groups(membership, controller, cgroups.mounted())
            if top is None:
                pytest.skip("no control groups are mounted here")
            folder = Path(top.folders[-1])
            if top.version == 2 and controller:
                handed_down = (folder / "cgroup.subtree_control").read_text().split()
                if controller not in handed_down:
                    pytest.skip(f"the controller {controller} is not handed down here")
            own = folder / f"quantum-pulse-test-{os.getpid()}"
            try:
                own.mkdir()
            except OSError as error:
                pytest.skip(f"no control group can be made here: {error}")
            stack.callback(own.rmdir)
            return top.version, own

        yield make


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
