"""Write histograms of durations in Prometheus' classic text format."""

from __future__ import annotations

import functools
from typing import Final

from quantum_pulse.export.exporter import Exporter
from quantum_pulse.export.exporters import openmetrics

EXPORTER: Final = Exporter(
    "prometheus",
    "the same in Prometheus' classic text format, which the node exporter reads",
    functools.partial(openmetrics.write, is_classic=True),
    rank=7,
    rows="operations",
)
