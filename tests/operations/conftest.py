"""What is recorded of operations, for whichever test wants it."""

import pytest

import quantum_pulse as qp


@pytest.fixture
def recorder(tmp_path):
    with qp.record(tmp_path / "capture") as running:
        yield running


def samples(recorder):
    """What is recorded so far, in the order of starting."""
    recorder.flush()
    return qp.open(recorder.path).samples()
