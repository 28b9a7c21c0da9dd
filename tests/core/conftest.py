"""Each test runs on both cores; where the native one was not built, its half is skipped."""

import pytest

from tests.core.rig import MODULES, ROOMY, Rig


@pytest.fixture(params=MODULES)
def rig(request, tmp_path):
    """A core that records into a roomy ring."""
    if request.param == "native":
        pytest.importorskip(MODULES["native"])
    rig = Rig(request.param, tmp_path)
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
def restart(rig):
    """Start the core again with another budget, or after the test has closed it."""

    def again(budget=ROOMY, wake_fd=-1, **options):
        rig.close()
        return rig.start(budget, wake_fd, **options)

    return again
