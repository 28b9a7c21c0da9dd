"""What the applications do inside of requests."""

import quantum_pulse as qp


class Work(qp.Operation):
    STEP = qp.op("A step of an endpoint")
    DEPENDENCY = qp.op("What an endpoint depends on")
    BACKGROUND = qp.op("Work after the response")
    CHUNK = qp.op("Making a part of a response")


#: Seconds.
STEP_S = 0.003
CHUNK_S = 0.003
BACKGROUND_S = 0.03
CHUNKS = 5
