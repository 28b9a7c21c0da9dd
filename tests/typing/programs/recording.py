"""What a type checker says about programs that record. `# error` marks lines that it must refuse."""

from pathlib import Path
from typing import assert_type

import quantum_pulse as qp


class Op(qp.Operation):
    SUBMIT = qp.op("Submitting")


with qp.record(Path("captures") / "first", level="production") as recorder:
    assert_type(recorder, qp.Recorder)
    recorder.flush()
    recorder.flsuh()  # error
with qp.record("x", levl="production"):  # error
    pass
qp.record("x", level="prod")  # error
qp.start("x", on_full="drip")  # error
qp.start("x", keep=30)  # error
qp.start("x", on_full="overwrite", save_on={Op.SUBMIT: 500, Op: "error"}, save_last_s=5)
qp.start("x", on_full="overwrite", save_on={"Op.SUBMIT": 500})  # error
qp.start(1)  # error
qp.stop(recorder)  # error
qp.strat("x")  # error
