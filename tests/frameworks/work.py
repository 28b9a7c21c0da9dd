"""What workers of a pool do in the tests."""

import quantum_pulse as qp


class Work(qp.Operation):
    STEP = qp.op()


def step(number):
    with Work.STEP:
        return number
