"""Captures with samples of our own choice, written by the project's own writer."""

import json

import numpy as np
import pytest

from quantum_pulse import schema
from quantum_pulse.agent import parts
from quantum_pulse.operations import Category, Definition
from quantum_pulse.rings.batch import Batch

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
    A recording is named after its `process` and its `name`.

    Rows are those of the rings, `start` from `anchor_ns` on; what is left out is DEFAULTS. Spans count from 1.
    """
    made = []

    def write(contents, *, path=None, operations=OPERATIONS, process=1, name="abcd"):
        target = path or tmp_path / f"capture-{len(made)}"
        made.append(target)
        for folder in (*schema.TABLES, schema.PROCESSES):
            (target / folder).mkdir(parents=True, exist_ok=True)
        told = {"format": schema.FORMAT_VERSION, "pid": process, "state": "finished", "losses": []}
        (target / schema.PROCESSES / f"{process}-{name}.json").write_text(json.dumps(told))
        (target / schema.MANIFEST).write_text(json.dumps({"format": schema.FORMAT_VERSION}))
        spans = 1
        for number, content in enumerate(contents):
            columns = content
            if isinstance(content, list):
                keys = sorted({key for row in content for key in row})
                columns = {key: [row.get(key, DEFAULTS.get(key)) for row in content] for key in keys}
            rows = len(next(iter(columns.values())))
            whole = {key: np.full(rows, value) for key, value in DEFAULTS.items()}
            whole["span"] = np.arange(spans, spans + rows)
            spans += rows
            whole |= columns
            batch = {key: np.ascontiguousarray(values, COLUMNS.get(key, np.int64)) for key, values in whole.items()}
            footer = {"format": schema.FORMAT_VERSION, "process": process, "losses": []}
            parts.write_samples(
                target / "samples" / f"{process}-{name}-{number:06d}.parquet",
                Batch(batch),
                operations=operations,
                texts=ERRORS,
                unix=lambda readings: readings + ANCHOR_NS,
                process=process,
                footer=footer,
            )
        return target

    write.anchor_ns = ANCHOR_NS
    return write
