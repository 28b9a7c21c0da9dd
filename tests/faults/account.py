"""The exact account of a capture: started = written + open + lost (+ pending), by operation and thread, and written is
what stands in parts."""

import json
from collections import Counter

import pyarrow.parquet as pq

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent.recover import recover
from quantum_pulse.errors import EmptyCaptureError
from tests import agents


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


def losses_of(process):
    """How many samples of each operation and thread were lost; None stands for what is not known of them."""
    lost = Counter()
    for loss in process["losses"]:
        lost[loss.get("operation"), loss.get("thread")] += loss["count"]
    return lost


def open_in(process):
    """How many blocks of each operation and thread had not ended."""
    return Counter((block["operation"], block["thread"]) for block in process["unfinished"])


def check_each(process, rows):
    """The account by operation and thread. A process that did not end its recording has counted none of its own, unless
    it was killed right after; what its rings say of each must add up to the number of blocks that it has entered."""
    opened, lost, account = open_in(process), losses_of(process), process["account"]
    assert (opened.total(), lost.total()) == (account["open"], account["lost"])
    assert account["started"] == rows.total() + account["pending"] + opened.total() + lost.total()
    if process["ended"] != "stop" and not process.get("accounts") and "workers" not in process:
        return
    accounts = {(one["operation"], one["thread"]): one for one in process["accounts"]}
    assert len(accounts) == len(process["accounts"])
    if "workers" in process:
        # Of many processes together, of which some may have counted, and some been killed.
        assert sum(process["ended"].values()) == process["workers"]
        for (operation, _), one in accounts.items():
            assert one["started"] == one["ended"] + one["open"] + one["lost"]
            assert one["ended"] <= sum(count for (name, _), count in rows.items() if name == operation)
        counted = sum(one["started"] for one in accounts.values())
        assert counted == account["started"] if set(process["ended"]) <= {"stop"} else counted <= account["started"]
        return
    assert sum(one["started"] for one in accounts.values()) == account["started"]
    for (operation, thread), one in accounts.items():
        assert one["started"] == one["ended"] + one["open"] + one["lost"]
        if (operation, 0) not in accounts:  # else some of its threads are added up
            assert one["open"] == opened[operation, thread], one
            assert one["lost"] == lost[operation, thread], one
            if not account["pending"]:
                assert one["ended"] == rows[operation, thread], one
    assert sum(one["ended"] for one in accounts.values()) == rows.total() + account["pending"]


def check(path, *, lost=0):
    """Check the account of every recording in the capture, which no process records into. Returns its samples.

    `lost`: whether any samples may be missing.
    """
    try:
        before = qp.open(path).samples()
    except EmptyCaptureError:
        before = []
    recover(path)
    agents.wait_until_taken(path)
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
        assert account["written"] == rows.get(name, 0), (name, sorted((path / "samples").iterdir()))
        assert not process.get("damage"), process["damage"]
        check_each(process, samples_of(path, name))
    total = sum(process["account"]["lost"] for process in recordings.values() if process["account"])
    if not rows and not total:
        assert len(before) == 0
        return before
    capture = qp.open(path)
    samples = capture.samples()
    assert len(samples) == len(before), "recovering neither adds nor takes away"
    assert not samples.duplicated(["process", "span"]).any()
    losses = capture.losses()
    assert losses["count"].sum() == total, losses.to_dict("records")
    assert (total > 0) == bool(lost)
    left_open = sum(process["account"]["open"] for process in recordings.values() if process["account"])
    assert len(capture.unfinished()) == left_open
    return samples
