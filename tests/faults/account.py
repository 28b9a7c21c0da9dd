"""The exact account of a capture: started = written + open + lost (+ pending), and written is what stands in parts."""

import json

import pyarrow.parquet as pq

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.recorder.recover import recover


def processes(path):
    """What each recording in the capture says of itself, by the name of its files."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((path / schema.PROCESSES).glob("*.json"))}


def check(path, *, lost=0):
    """Check the account of every recording in the capture, which no process records into. Returns its samples."""
    before = qp.open(path).samples()
    recover(path)
    assert not (path / schema.RINGS).exists()
    capture = qp.open(path)
    samples = capture.samples()
    assert len(samples) == len(before), "recovering neither adds nor takes away"
    assert not samples.duplicated(["process", "span"]).any()
    rows = {}
    for file in (path / "samples").glob("*.parquet"):
        name = file.stem.rpartition("-")[0]
        rows[name] = rows.get(name, 0) + pq.read_metadata(file).num_rows
    recordings = processes(path)
    assert set(rows) <= set(recordings)
    for name, process in recordings.items():
        account = process["account"]
        if account is None:  # killed before its ring was there
            assert (process["state"], rows.get(name, 0)) == ("recovered", 0)
            continue
        assert min(account.values()) >= 0, account
        assert account["started"] == account["written"] + account["open"] + account["lost"] + account["pending"]
        assert account["written"] == rows.get(name, 0)
        assert not process.get("damage"), process["damage"]
    total = sum(process["account"]["lost"] for process in recordings.values() if process["account"])
    losses = capture.losses()
    assert losses["count"].sum() == total, losses
    assert (total > 0) == bool(lost)
    return samples
