"""Captures of several recordings, with samples, metrics and process files of our own choice."""

import json

import numpy as np

from quantum_pulse import schema
from quantum_pulse.agent import parts
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings.batch import Batch

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
#: A whole day of Unix time, so that minutes, hours and days begin there.
EPOCH = 19_700 * 24 * HOUR

OPERATIONS = [
    Definition("Shop.LOOK", "shop", "", Category("Input")),
    Definition("Shop.BUY", "shop", "Buys", Category("Money"), budget_us=50),
    Definition("Shop.PAY", "shop", "", Category("Money")),
]
ERRORS = ["", "KeyError", "ValueError"]


def columns(rows, start_ns, step_ns, seed=0):
    """Samples at equal distances: columns of a ring."""
    random = np.random.default_rng(seed)
    return {
        "start": start_ns + np.arange(rows) * step_ns,
        "duration": (20_000 * np.exp(0.6 * random.standard_normal(rows))).astype(np.int64),
        "operation": random.integers(0, 3, rows),
        "error": np.where(random.random(rows) < 0.1, random.integers(1, 3, rows), 0),
        "weight": random.integers(1, 4, rows),
    }


class Maker:
    """Writes parts as a recording does. Times are from EPOCH on."""

    def __init__(self, path):
        self.path = path
        self.rows = {}
        self.spans = 1
        for folder in (*schema.RECORDED, schema.PROCESSES, schema.RINGS):
            (path / folder).mkdir(parents=True, exist_ok=True)
        (path / schema.MANIFEST).write_text(json.dumps({"format": schema.FORMAT_VERSION}))

    def samples(self, recording, number, given, *, operations=OPERATIONS, losses=(), merged=None):
        rows = len(given["start"])
        whole = {"thread": np.ones(rows), "task": np.zeros(rows), "parent": np.zeros(rows)}
        whole |= {"span": np.arange(self.spans, self.spans + rows), **given}
        self.spans += rows
        narrow = {"operation": np.uint32, "error": np.uint32, "weight": np.int32}
        footer = {"format": schema.FORMAT_VERSION, "process": 1, "losses": list(losses)}
        path = self.path / "samples" / f"{recording}-{number:06d}.parquet"
        parts.write_samples(
            path,
            Batch({key: np.asarray(own, narrow.get(key, np.int64)) for key, own in whole.items()}),
            operations=operations,
            texts=ERRORS,
            unix=lambda readings: readings + EPOCH,
            process=1,
            footer=footer if merged is None else {**footer, "merged": merged},
        )
        self._count(recording, "samples", rows)
        return path

    def metrics(self, recording, number, times):
        zero = {column.name: 0 for column in schema.METRICS}
        rows = [{**zero, "time": EPOCH + time, "interval_ns": SECOND, "process": 1} for time in times]
        return self._rows("metrics", recording, number, rows)

    def events(self, recording, number, times):
        zero = {column.name: 0 for column in schema.EVENTS}
        return self._rows("events", recording, number, [{**zero, "event": "gc", "start": EPOCH + t} for t in times])

    def process(self, recording, started, stopped, *, state="finished", **more):
        content = {
            "pid": 1,
            "state": state,
            "started_ns": EPOCH + started,
            "stopped_ns": EPOCH + stopped,
            "rows": self.rows.get(recording, {}),
            "account": {"started": self.rows.get(recording, {}).get("samples", 0), "lost": 0},
            "losses": [],
            **more,
        }
        path = self.path / schema.PROCESSES / f"{recording}.json"
        path.write_text(json.dumps(content))
        return path

    def ring(self, recording):
        """Something that looks as if the recording went on."""
        path = self.path / schema.RINGS / f"{recording}{schema.NAMES_SUFFIX}"
        path.touch()
        return path

    def _rows(self, table, recording, number, rows):
        path = self.path / table / f"{recording}-{number:06d}.parquet"
        parts.write_rows(path, table, rows, {"format": schema.FORMAT_VERSION, "process": 1})
        self._count(recording, table, len(rows))
        return path

    def _count(self, recording, table, rows):
        own = self.rows.setdefault(recording, {})
        own[table] = own.get(table, 0) + rows


def names(folder):
    """What is in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
