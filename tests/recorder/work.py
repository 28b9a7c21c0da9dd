"""What is recorded here, and what holds of each capture that comes of it."""

import json

import quantum_pulse as qp
from quantum_pulse import schema


class Step(qp.Operation):
    A = qp.op("First")
    B = qp.op("Second", category="Other")


def work(count=1, operation=Step.A):
    for _ in range(count):
        with operation:
            pass


def processes(path):
    """What the process files of a capture say, oldest recording first."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in (path / schema.PROCESSES).glob("*.json")]
    return sorted(found, key=lambda process: process["started_ns"])


def forget_unused(path):
    """Leave operations that other tests of this process have defined out of a capture."""
    for file in (path / schema.PROCESSES).glob("*.json"):
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"unused": []}), encoding="utf-8")


def assert_is_whole(path):
    """Nothing but finished files: no rings, no temporary files, nothing hidden."""
    assert not (path / schema.RINGS).exists()
    names = [file.name for file in path.rglob("*") if file.is_file()]
    assert all(name.endswith((".parquet", ".json")) and not name.startswith(".") for name in names), names


def assert_balances(account):
    assert account["started"] == account["written"] + account["pending"] + account["open"] + account["lost"]
    assert min(account.values()) >= 0
