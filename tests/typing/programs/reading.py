"""What a type checker says about programs that read captures. `# error` marks lines that it must refuse."""

import datetime as dt
from typing import assert_type

import pandas as pd

import quantum_pulse as qp


class Op(qp.Operation):
    SUBMIT = qp.op("Submitting")
    PARSE = qp.op("Parsing")


capture = qp.open("captures/first")
assert_type(capture, qp.Capture)
assert_type(qp.last(), qp.Capture)
assert_type(capture.stats(), pd.DataFrame)
assert_type(capture.samples(operations=Op, start=1.5), pd.DataFrame)
capture.stats(operations=Op.SUBMIT)
capture.stats(operations=[Op.SUBMIT, Op.PARSE])
capture.stats(operations="Op.SUBMIT")  # error
capture.stats(operation=Op.SUBMIT)  # error
capture.samples(start=dt.timedelta(seconds=1), end="2026-01-01T00:00:00Z")
capture.samples(start=[1])  # error
capture.statistics()  # error
capture.slowest(5).table.sort_values("duration_ns")
qp.open(1.5)  # error
