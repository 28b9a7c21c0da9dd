"""Captures of every odd kind, recorded for real."""

import json
import shutil
from pathlib import Path

import quantum_pulse as qp

HOSTILE = (
    "<script>alert(1)</script>",
    "quotes \" and ' here",
    "</script><img src=x onerror=alert(2)>",
    "\u202eright to left\u202c and \u05e9\u05dc\u05d5\u05dd",
    "| *pipes* `ticks` [links](http://x) @all",
    "\x00\x1b[31mred",
)
ENGINE, SLOW_EXCHANGE = (Path(__file__).parents[2] / "sample_data" / name for name in ("engine", "slow_exchange"))


def operations(name, descriptions, category="Work"):
    """An enum with a member for each description."""
    body = {f"OP_{place}": qp.op(text, category=category) for place, text in enumerate(descriptions)}
    space = type(qp.Operation).__prepare__(name, (qp.Operation,))
    for key, value in body.items():
        space[key] = value
    return type(qp.Operation)(name, (qp.Operation,), space)


def record(path, run):
    with qp.record(path):
        run()
    return qp.open(path)


def one_sample(path):
    (member,) = operations("One", ["Only one"])
    record(path, lambda: call(member))
    return path


def call(member, fails=False):
    try:
        with member:
            if fails:
                raise KeyError("on purpose")
    except KeyError:
        pass


def one_operation(path):
    member = next(iter(operations("Single", ["Again and again"])))
    record(path, lambda: [call(member) for _ in range(500)])
    return path


def only_errors(path):
    member = next(iter(operations("Failing", ["Never works"])))
    record(path, lambda: [call(member, fails=True) for _ in range(200)])
    return path


def thousand(path):
    members = list(operations("Many", [f"Number {place}" for place in range(1000)]))
    record(path, lambda: [call(member) for member in members for _ in range(3)])
    return path


def hostile(path):
    class Error(Exception):
        pass

    members = []
    for place, text in enumerate(HOSTILE):
        members += operations(f"Hostile{place}", [text], category=qp.Category(text, text))
    errors = [type(text, (Exception,), {}) for text in HOSTILE if "\x00" not in text]

    def run():
        for place, member in enumerate(members * 3):
            try:
                with member:
                    if place < len(errors):
                        raise errors[place]("x")
            except Exception:  # noqa: BLE001
                pass

    record(path, run)
    return path


def without_metrics(path):
    one_operation(path)
    for table in ("metrics", "events"):
        shutil.rmtree(path / table, ignore_errors=True)
    return path


def with_losses(path):
    one_operation(path)
    file = next((path / "processes").glob("*.json"))
    process = json.loads(file.read_text())
    process["losses"] = [
        {"operation": "<b>Engine.ORDER</b>", "thread": 7, "count": 12, "start": 1, "end": 2, "cause": "ring <full>"}
    ]
    file.write_text(json.dumps(process))
    return path


KINDS = (one_sample, one_operation, only_errors, thousand, hostile, without_metrics, with_losses)
