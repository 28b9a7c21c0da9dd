"""Captures with samples of our own choice, written by the project's own writer."""

import json

import numpy as np
import pytest

from quantum_pulse import schema
from quantum_pulse.core.contract import Batch
from quantum_pulse.operations import Category, Definition
from quantum_pulse.recorder import parts

ANCHOR_NS = 1_700_000_000 * 10**9
COLUMNS = {"operation": np.uint32, "error": np.uint32, "weight": np.int32}
DEFAULTS = {"start": 0, "duration": 0, "thread": 1, "task": 0, "parent": 0, "operation": 0, "error": 0, "weight": 1}

OPERATIONS = [
    Definition("Work.READ", "work", "", Category("Input"), 1, None),
    Definition("Work.COUNT", "work", "", Category("Logic"), 2, 10),
    Definition("Work.WRITE", "work", "", Category("Input"), 3, None),
]
ERRORS = ["", "KeyError", "ValueError"]


@pytest.fixture
def write_capture(tmp_path):
    """Call with a list of parts, each a list of dictionaries (or a dictionary of arrays); gives the directory.

    Rows are those of the rings, `start` from `anchor_ns` on; what is left out is DEFAULTS. Spans count from 1.
    """
    made = []

    def write(contents, *, path=None, operations=OPERATIONS, process=1):
        target = path or tmp_path / f"capture-{len(made)}"
        made.append(target)
        for folder in (*schema.TABLES, schema.PROCESSES):
            (target / folder).mkdir(parents=True, exist_ok=True)
        told = {"format": schema.FORMAT_VERSION, "pid": process, "state": "finished", "losses": []}
        (target / schema.PROCESSES / f"{process}-abcd.json").write_text(json.dumps(told))
        (target / schema.MANIFEST).write_text(json.dumps({"format": schema.FORMAT_VERSION}))
        spans = 1
        for number, content in enumerate(contents):
            columns = content
            if isinstance(content, list):
                names = sorted({name for row in content for name in row})
                columns = {name: [row.get(name, DEFAULTS.get(name)) for row in content] for name in names}
            rows = len(next(iter(columns.values())))
            whole = {name: np.full(rows, value) for name, value in DEFAULTS.items()}
            whole["span"] = np.arange(spans, spans + rows)
            spans += rows
            whole |= columns
            batch = {
                name: np.ascontiguousarray(values, COLUMNS.get(name, np.int64)).tobytes()
                for name, values in whole.items()
            }
            footer = {"format": schema.FORMAT_VERSION, "process": process, "losses": []}
            parts.write_samples(
                target / "samples" / f"{process}-abcd-{number:06d}.parquet",
                Batch(rows, batch),
                operations=operations,
                errors=ERRORS,
                anchor_ns=ANCHOR_NS,
                process=process,
                footer=footer,
            )
        return target

    write.anchor_ns = ANCHOR_NS
    return write
