"""System metrics of our own choice in a capture."""

import numpy as np

from quantum_pulse import schema
from quantum_pulse.agent import parts
from tests.reading.conftest import ANCHOR_NS


def add_metrics(capture, pauses_us, interval_ns=100_000_000):
    """A row of metrics for each pause; all else is noise."""
    rng = np.random.default_rng(9)
    rows = []
    for number, pause in enumerate(pauses_us):
        row = {column.name: int(rng.integers(100)) for column in schema.METRICS}
        row |= {"time": ANCHOR_NS + (number + 1) * interval_ns, "interval_ns": interval_ns, "process": 1}
        rows.append(row | {"gc_pause_us": float(pause), "gc_collections": int(pause > 0)})
    (capture / "metrics").mkdir(exist_ok=True)
    parts.write_rows(
        capture / "metrics" / "1-abcd-000001.parquet", "metrics", rows, {"format": schema.FORMAT_VERSION, "process": 1}
    )
