"""The exact account of a capture: started = written + open + lost (+ pending), and written is what stands in parts."""

import json
from collections import Counter

import pyarrow.parquet as pq

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.recorder.recover import recover


def processes(path):
    """What each recording in the capture says of itself, by the name of its files."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((path / schema.PROCESSES).glob("*.json"))}


def samples_of(path, name):
    """How many samples of each operation and thread stand in the parts of one recording."""
    rows = Counter()
    for file in (path / "samples").glob(f"{name}-*.parquet"):
        columns = pq.read_table(file, columns=["operation", "thread"]).to_pydict()
        rows.update(zip(columns["operation"], columns["thread"], strict=True))
    return rows


def check_each(process, rows):
    """The account by operation and thread, of a recording that wrote all that it had."""
    accounts = {(one["operation"], one["thread"]): one for one in process["accounts"]}
    assert len(accounts) == len(process["accounts"])
    for key in ("started", "open", "lost"):
        assert sum(one[key] for one in accounts.values()) == process["account"][key]
    for (operation, thread), one in accounts.items():
        assert one["started"] == one["ended"] + one["open"] + one["lost"]
        if (operation, 0) not in accounts:  # else some of its threads are added up
            assert min(one["started"], one["ended"], one["open"], one["lost"]) >= 0, one
            assert one["ended"] == rows[operation, thread], one
    assert sum(one["ended"] for one in accounts.values()) == rows.total()


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
        if process["state"] == "finished":
            check_each(process, samples_of(path, name))
    total = sum(process["account"]["lost"] for process in recordings.values() if process["account"])
    losses = capture.losses()
    assert losses["count"].sum() == total, losses
    assert (total > 0) == bool(lost)
    return samples
