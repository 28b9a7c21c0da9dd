"""Summarise a report in three sentences: what takes the time, when it was slowest, and the likely cause."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from quantum_pulse.diagnosis.culprits import Culprit, Moment, incidents, metric_over_time
from quantum_pulse.diagnosis.findings import Findings
from quantum_pulse.view import budgets as words
from quantum_pulse.view import numbers
from quantum_pulse.view.document import Name, Text

#: A call hangs when it has taken so many times what the longest that ended took, or where none did so many ns.
_HANGS: Final = 2
_HANGS_NS: Final = 10**9
#: The second largest self time is named from this share of all time on.
_SECOND: Final = 0.1
#: Operations that hang, by name.
_MOST_NAMED: Final = 4


def sentences(findings: Findings, anchors: Mapping[str, str]) -> list[Text]:
    """What hangs, if anything does; then what is slow, when, and why. Says so where there is no finding."""
    if findings.stats.empty:
        return ["This capture has no samples."]
    found = incidents(findings)
    slow = found[0] if found else None
    hangs = _hangs(findings, anchors)
    return [
        *([hangs] if hangs else []),
        _what(findings, anchors),
        _when(findings, found, anchors),
        _why(findings, slow, anchors),
    ]


def _hangs(findings: Findings, anchors: Mapping[str, str]) -> Text | None:
    """What had taken much longer than any call that ended, as far as it is known; None for nothing."""
    found = [
        one
        for one in findings.unfinished
        if one.elapsed_ns > (_HANGS_NS if math.isnan(one.longest_ns) else _HANGS * one.longest_ns)
    ]
    if not found:
        return None
    names: list[str | Name] = []
    for place, one in enumerate(found[:_MOST_NAMED]):
        between = "" if not place else " and " if place + 1 == len(found) else ", "
        calls = f" ({numbers.count(one.calls)} calls)" if one.calls > 1 else ""
        names += [between, Name(one.operation, anchors.get(one.operation, "")), calls]
    more = " and others" if len(found) > _MOST_NAMED else ""
    longest = numbers.duration(max(one.elapsed_ns for one in found))
    verb = "hangs" if len(found) == 1 and found[0].calls == 1 else "hang"
    return [*names, f"{more} {verb}: unfinished after {longest}, far longer than any finished call."]


def _what(findings: Findings, anchors: Mapping[str, str]) -> Text:
    (category, name), *others = _by_self_time(findings)
    row = findings.row(category, name)
    shares = findings.shares.operations
    share = f", {numbers.share(shares[category, name].own)} of all time" if shares else ""
    tail = row["p99_us"] / row["p50_us"] if row["p50_us"] else math.nan
    more = f", {tail:.0f} times that at p99" if tail >= 2 else ""
    said: list[str | Name] = [
        Name(name, anchors.get(name, "")),
        f" has the largest self time{share}: a call takes {numbers.us(row['p50_us'])} at p50{more}.",
    ]
    if others and others[0] in shares and shares[others[0]].own >= _SECOND:
        second = others[0][1]
        follows = f" follows with {numbers.share(shares[others[0]].own)}."
        said += [" ", Name(second, anchors.get(second, "")), follows]
    tree = findings.tree
    if tree["self_us"][(tree["category"] == category) & (tree["operation"] == name)].isna().any():
        said.append(" Samples are missing that may have been calls inside, so its self time is an estimate.")
    return said


def _by_self_time(findings: Findings) -> list[tuple[str, str]]:
    """(category, operation), the one with the largest self time first."""
    shares = findings.shares.operations
    return sorted(findings.operations, key=lambda one: -shares[one].own if one in shares else 0.0)


def _when(findings: Findings, found: Sequence[Culprit], anchors: Mapping[str, str]) -> Text:
    if not found:
        return "No operation was slow for only part of the time: what is slow is slow throughout, or in single calls."
    moment = found[0].moment
    said: list[str | Name] = [
        Name(found[0].name, anchors.get(found[0].name, "")),
        f" was slow {_period(findings, moment)} after the start: {numbers.us(moment.mean_us)} per call "
        f"on average, {moment.mean_us / moment.usual_us:.1f} times the usual {numbers.us(moment.usual_us)}, "
        f"which cost {numbers.us(moment.excess_us)} in total.",
    ]
    for other in found[1:]:
        times = other.moment.mean_us / other.moment.usual_us
        cost = numbers.us(other.moment.excess_us)
        period = _period(findings, other.moment)
        said += [" ", Name(other.name, anchors.get(other.name, "")), f" was slow {period}: {times:.1f} times, {cost}."]
    return said


def _period(findings: Findings, moment: Moment) -> str:
    first, last = moment.first * findings.window_ns, (moment.last + 1) * findings.window_ns
    return f"from {offset(first)} to {offset(last)}"


def _why(findings: Findings, slow: Culprit | None, anchors: Mapping[str, str]) -> Text:
    name = _by_self_time(findings)[0][1] if slow is None else slow.name
    signs = [] if slow is None else _signs(findings, slow)
    nested = _largest_child(findings, name)
    if slow is not None and (idle := _idleness(findings, slow)):
        signs.insert(0, idle)
    if signs:
        return ["Meanwhile " + " and ".join(signs) + "."]
    if nested is not None and nested[1] >= 0.5:
        child, share = nested
        inside: Text = [
            "Most of its time, ",
            f"{numbers.share(share)}, is spent inside ",
            Name(child, anchors.get(child, "")),
            ".",
        ]
        return inside
    name, row = next(iter(words.ordered(findings.budgets)), ("", {}))
    if slow is None and row and words.verdict(row) == "missed":
        return [Name(name, anchors.get(name, "")), f" misses its budget: {words.details(row)}."]
    if findings.metrics.empty:
        return "No system metrics were recorded, so the cause cannot be determined."
    where = "of the process or the machine changed with it" if slow is not None else "stands out"
    return (
        f"No system metric {where}, and no other operation inside it explains it: the time is spent in {_its(slow)} "
        "own code, or in waiting: for a lock, a queue, a disk or a peer."
    )


def _its(slow: Culprit | None) -> str:
    return "its" if slow is not None else "the operation's"


def _largest_child(findings: Findings, name: str) -> tuple[str, float] | None:
    tree = findings.tree
    total = float(tree["total_us"][tree["operation"] == name].sum())
    inside: dict[str, float] = {}
    depth_of_parent: int | None = None
    for operation, depth, took in zip(tree["operation"], tree["depth"], tree["total_us"], strict=True):
        if depth_of_parent is not None and depth <= depth_of_parent:
            depth_of_parent = None
        if depth_of_parent is not None and depth == depth_of_parent + 1:
            inside[str(operation)] = inside.get(str(operation), 0.0) + float(took)
        if operation == name:
            depth_of_parent = int(depth)
    inside.pop(name, None)
    if not inside or not total:
        return None
    largest = max(inside, key=lambda child: inside[child])
    return largest, min(inside[largest] / total, 1.0)


#: Metric, its phrase, and the ratio from which it is worth reporting.
_SIGNS: Final = (
    ("gc_pause_us", "garbage collection took {ratio} times as long", 3.0),
    ("major_faults", "pages were read from disk {ratio} times as often", 3.0),
    ("run_queue_us", "its threads waited for a CPU {ratio} times as long", 2.0),
    ("container_throttled_us", "the CPU quota throttled the container {ratio} times as long", 2.0),
    ("cpu_steal_percent", "the hypervisor gave {ratio} times as much CPU to other guests", 2.0),
    ("involuntary_switches", "the process was preempted {ratio} times as often", 2.0),
    ("pressure_cpu_us", "tasks waited for a CPU {ratio} times as long", 2.0),
    ("pressure_io_us", "tasks waited for disks {ratio} times as long", 3.0),
    ("cpu_machine_percent", "the machine was {ratio} times as busy", 1.5),
)


def _signs(findings: Findings, slow: Culprit) -> list[str]:
    """Metrics that were much larger in the slow moment than usually, the strongest two."""
    found = []
    for metric, phrase, least in _SIGNS:
        inside, outside = _parted(metric_over_time(findings, metric), slow.moment)
        if not inside or len(outside) < 4:
            continue
        usual, there = sum(outside) / len(outside), sum(inside) / len(inside)
        # Beyond what the usual windows show by themselves too.
        common = sorted(outside)[int(len(outside) * 0.9)]
        if usual > 0 and there / usual >= least and there > common:
            found.append((there / usual / least, phrase.format(ratio=f"{there / usual:.1f}")))
    return [phrase for _, phrase in sorted(found, reverse=True)[:2]]


#: A process whose use of the CPU falls to this share of the usual waits for something.
_IDLE: Final = 0.6


def _idleness(findings: Findings, slow: Culprit) -> str:
    """That the process waited in the slow moment, if it used so much less of the CPU than usually."""
    inside, outside = _parted(metric_over_time(findings, "cpu_process_percent"), slow.moment)
    if not inside or len(outside) < 4:
        return ""
    there, usual = sum(inside) / len(inside), sum(outside) / len(outside)
    if not usual or there > _IDLE * usual or there > sorted(outside)[len(outside) // 10]:
        return ""
    return (
        f"the process used {there:.0f} % of a CPU instead of {usual:.0f} %: "
        "it waited, for a lock, a queue, a disk or a peer"
    )


def _parted(values: Sequence[float], moment: Moment) -> tuple[list[float], list[float]]:
    """What is known of `values` in the windows of the moment, and in the others."""
    inside = [one for one in values[moment.first : moment.last + 1] if not math.isnan(one)]
    around = [*values[: moment.first], *values[moment.last + 1 :]]
    return inside, [one for one in around if not math.isnan(one)]


def offset(ns: float) -> str:
    """A time after the start: 0 s, 250 ms, 1.25 s."""
    return f"{ns / 1e9:.6g} s"
