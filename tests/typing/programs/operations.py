"""What a type checker says about programs that define operations. `# error` marks lines that it must refuse."""

import asyncio
import enum
from typing import assert_type

import quantum_pulse as qp


class Op(qp.Operation):
    SUBMIT = qp.op("Submitting", category="Execution", priority=1, budget_us=100)
    PARSE = qp.op("Parsing", expect_us=(1, 20))
    PLAIN = enum.auto()


with Op.SUBMIT:
    pass
with Op:  # error
    pass
with Op.SUBMTI:  # error
    pass
with Op.SUBMIT as member, Op.PARSE:
    assert_type(member.description, str)
Op.SUBMIT.nonsense()  # error
assert_type(Op.PARSE.budget_us, float | None)
assert_type(Op.PARSE.category, qp.Category)
assert_type(Op.PARSE.expect_us, tuple[float, float] | None)

qp.op(1)  # error
qp.op("a", budget="100")  # error
qp.op("a", budget_us="100")  # error
qp.op("a", sample_every=0.5)  # error


@Op.SUBMIT
def add(a: int, b: int) -> int:
    return a + b


@Op.PARSE
async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


assert_type(add(1, 2), int)
add("1", 2)  # error


async def main() -> None:
    assert_type(await wait(1), str)
    await wait("long")  # error


with Op.SUBMIT.timer(elapsed=Op.PARSE) as timer:
    assert_type(timer, qp.PausableTimer)
    timer.pause()
    timer.pasue()  # error
qp.PausableTimer("Op.SUBMIT")  # error
Op.SUBMIT.timer(elapsed="Op.PARSE")  # error


class Api(qp.Operation):
    REQUEST = qp.op(attributes={"route": str, "status": int}, cpu_time=True)


qp.op(attributes=["route"])  # error
qp.op(cpu_time="yes")  # error
with Api.REQUEST(route="/orders", status=200) as member:
    qp.annotate(status=201)
    qp.annotate(error="http 502")
    qp.annotate(error=KeyError())
    qp.annotate(error=502)  # error
    qp.annotate("http 502")  # error
Api.REQUEST(route=[])  # error
with Api.REQUEST.timer(route="/orders") as timer:
    timer.annotate(status=201)
    timer.annotate(error=502)  # error


@Api.REQUEST(route="/orders")
def orders(count: int) -> str:
    return "x" * count


assert_type(orders(1), str)
orders("1")  # error
