"""Plan a fleet: what recording takes on disk, on the network and of time, from constants that were measured.

``python -m tests.perf plan`` measures the constants anew and prints them as `MEASURED` has them; see
`docs/how-to/plan.md`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from quantum_pulse import arguments, schema
from quantum_pulse.agent import compaction, packing

_DAY_S: Final = 86_400
_HOUR_S: Final = 3600
_MINUTES_YEAR: Final = 365 * 1440


class Constants(NamedTuple):
    """What was measured, on a machine with two cores and files in the page cache."""

    #: On disk, in bytes: a sample; a part without its samples, and for each operation in it; a row of metrics; a row of
    #: rollups.
    sample_bytes: float
    part_bytes: float
    part_operation_bytes: float
    metrics_row_bytes: float
    rollup_row_bytes: float
    #: Of a reader, in seconds: to open a part; to add up the histogram of an operation in a part; to read a sample for
    #: exact statistics, and for a timeline.
    open_part_s: float
    histogram_s: float
    statistics_sample_s: float
    timeline_sample_s: float


#: Measured by ``python -m tests.perf plan``.
MEASURED: Final = Constants(
    sample_bytes=6.1,
    part_bytes=2_500,
    part_operation_bytes=2_800,
    metrics_row_bytes=46,
    rollup_row_bytes=640,
    open_part_s=980e-6,
    histogram_s=19e-6,
    statistics_sample_s=18e-9,
    timeline_sample_s=104e-9,
)


class Plan(NamedTuple):
    """What a fleet's captures take. Bytes and seconds; `host` is for one host, `fleet` for all."""

    samples_host_day: int
    bytes_host_day: int
    bytes_host: int
    bytes_fleet: int
    upload_host_bytes_s: float
    upload_fleet_bytes_s: float
    uploads_host_day: int
    files_host: int
    rollup_bytes_host_year: int
    first_look_host_s: float
    first_look_fleet_s: float
    statistics_hour_s: float
    statistics_host_day_s: float
    timeline_hour_s: float


def plan(
    rate: float,
    *,
    operations: int = 20,
    hosts: int = 1,
    days: float = 30,
    metrics_interval_s: float = 0.1,
    constants: Constants = MEASURED,
) -> Plan:
    """Work out what captures take.

    Parameters
    ----------
    rate
        Samples a second on each host.
    operations
        Operations that run, on each host.
    hosts
        Hosts, each of which has one recording process.
    days
        How long samples are kept.
    metrics_interval_s
        Time between two rows of system metrics, in seconds; see `qp.start`.
    constants
        What was measured.

    Returns
    -------
    Plan
        Bytes and seconds.

    Raises
    ------
    ValueError
        An argument is out of range.

    Examples
    --------
    >>> plan(20_000, operations=40, hosts=100, days=30).samples_host_day
    1728000000
    """
    arguments.between(rate, "rate", 0, 1e9)
    arguments.whole(operations, "operations", 1, 1_000_000)
    arguments.whole(hosts, "hosts", 1, 10_000_000)
    arguments.between(days, "days", 0, 100_000)
    arguments.between(metrics_interval_s, "metrics_interval_s", 0, 86_400)
    samples_day = rate * _DAY_S
    parts_day = max(samples_day / schema.MERGED_ROWS, 1)
    part = constants.part_bytes + operations * constants.part_operation_bytes
    metrics = _DAY_S / metrics_interval_s * constants.metrics_row_bytes
    host_day = samples_day * constants.sample_bytes + parts_day * part + metrics
    # Files are opened and their histograms added up: a hundred parts are one file after a while.
    files_host = math.ceil(parts_day * days / packing.PARTS)
    look = files_host * (constants.open_part_s + operations * constants.histogram_s)
    return Plan(
        samples_host_day=round(samples_day),
        bytes_host_day=round(host_day),
        bytes_host=round(host_day * days),
        bytes_fleet=round(host_day * days * hosts),
        upload_host_bytes_s=host_day / _DAY_S,
        upload_fleet_bytes_s=host_day / _DAY_S * hosts,
        uploads_host_day=math.ceil(parts_day),
        files_host=files_host,
        # Minutes become hours and days before they are more.
        rollup_bytes_host_year=round(
            min(_MINUTES_YEAR * operations * constants.rollup_row_bytes, compaction.LARGEST_BYTES)
        ),
        first_look_host_s=look,
        first_look_fleet_s=look * hosts,
        statistics_hour_s=rate * _HOUR_S * constants.statistics_sample_s,
        statistics_host_day_s=samples_day * constants.statistics_sample_s,
        timeline_hour_s=rate * _HOUR_S * constants.timeline_sample_s,
    )
