"""``quantum-pulse plan``: what the captures of a fleet take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from quantum_pulse.cli.common import Misuse, positive
from quantum_pulse.shown import say

if TYPE_CHECKING:
    from quantum_pulse.cli.common import Commands
    from quantum_pulse.planning import Plan


def add_command(commands: Commands) -> None:
    plan = commands.add_parser(
        "plan",
        help="what the captures of a fleet take: disk, upload, time of queries",
        description="Work out what recording takes, from constants that were measured; docs/how-to/plan.md says how.",
    )
    plan.add_argument("--rate", metavar="N", type=float, required=True, help="samples a second on each host")
    plan.add_argument("--operations", metavar="N", type=positive, default=20, help="that run (default: 20)")
    plan.add_argument("--hosts", metavar="N", type=positive, default=1, help="hosts that record (default: 1)")
    plan.add_argument("--days", metavar="N", type=float, default=30, help="how long samples are kept (default: 30)")
    plan.add_argument(
        "--metrics-interval", metavar="S", type=float, default=0.1, help="time between rows of metrics (default: 0.1)"
    )
    plan.set_defaults(command=_plan)


def _plan(options: argparse.Namespace) -> int:
    from quantum_pulse import planning

    try:
        made = planning.plan(
            options.rate,
            operations=options.operations,
            hosts=options.hosts,
            days=options.days,
            metrics_interval_s=options.metrics_interval,
        )
    except ValueError as error:
        raise Misuse(f"plan: {error}") from error
    say("\n".join(_lines(made, options)))
    return 0


def _lines(made: Plan, options: argparse.Namespace) -> list[str]:
    from quantum_pulse.view import numbers

    def time(seconds: float) -> str:
        return numbers.duration(seconds * 1e9)

    hosts, days = numbers.count(options.hosts), f"{options.days:g}"
    rows = [
        ("samples a day, each host", numbers.short(made.samples_host_day)),
        ("disk a day, each host", numbers.size(made.bytes_host_day)),
        (
            f"disk for {days} days, each host",
            f"{numbers.size(made.bytes_host)} in {numbers.count(made.files_host)} files",
        ),
        (f"disk for {days} days, {hosts} hosts", numbers.size(made.bytes_fleet)),
        ("rollups of a year, each host", f"at most {numbers.size(made.rollup_bytes_host_year)}"),
        (
            "upload, each host",
            f"{numbers.size(made.upload_host_bytes_s)}/s, {numbers.count(made.uploads_host_day)} parts a day",
        ),
        (f"upload, {hosts} hosts", f"{numbers.size(made.upload_fleet_bytes_s)}/s"),
        (f"first look at {days} days, each host", time(made.first_look_host_s)),
        (f"first look at {days} days, {hosts} hosts", time(made.first_look_fleet_s)),
        ("exact statistics of an hour, each host", time(made.statistics_hour_s)),
        ("exact statistics of a day, each host", time(made.statistics_host_day_s)),
        ("timeline of an hour, each host", time(made.timeline_hour_s)),
    ]
    width = max(len(name) for name, _ in rows)
    return [
        *(f"{name:<{width}}  {value}" for name, value in rows),
        "",
        "Times are those of one machine with two cores and local files; hosts are read one after the other.",
    ]
