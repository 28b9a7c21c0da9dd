"""What a capture says of itself in JSON: its manifest, its processes, the footers of its parts. None of it is trusted.

A file may have been cut or overwritten and still hold JSON, of another shape than ours.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from quantum_pulse import files, schema
from quantum_pulse.errors import FormatVersionError

LOSS_COLUMNS = ("operation", "thread", "start", "end", "count", "cause")

_INT64 = range(-(1 << 63), 1 << 63)


def manifest(path: Path) -> dict[str, Any]:
    """The manifest in the file `path`. Raises OSError, ValueError when it is damaged, FormatVersionError."""
    content = files.read_json(path)
    if not isinstance(content.get("format"), int):
        raise ValueError("it names no format")
    check_version(content["format"], path)
    return content


def check_version(version: int, file: Path) -> None:
    """Raise FormatVersionError for a version of the format that this quantum_pulse does not know."""
    known = schema.FORMAT_VERSION
    if version > known:
        raise FormatVersionError(
            f"{file} is of format {version}, and this quantum_pulse reads up to format {known}; "
            "install a newer one (pip install --upgrade quantum_pulse)"
        )
    if version not in schema.HISTORY:
        raise FormatVersionError(f"{file} names the format {version!r}; this quantum_pulse reads formats 1 to {known}")


def process(path: Path) -> dict[str, Any]:
    """The account of a process in the file `path`. Raises OSError, and ValueError when it is damaged."""
    return checked_process(files.read_json(path))


def checked_process(content: dict[str, Any]) -> dict[str, Any]:
    """`content`, if it may be what a process file says. Raises ValueError."""
    _expect(_is_count(content.get("pid")), "pid")
    for key in ("started_ns", "stopped_ns", "clock_anchor_ns", "whole_from"):
        _expect(_is_time(content.get(key)), key)
    for key in ("account", "rows"):
        _expect(content.get(key) is None or _is_counts(content[key]), key)
    for key in ("overhead", "operations"):
        numbers = content.get(key)
        _expect(numbers is None or (isinstance(numbers, dict) and all(map(_is_amount, numbers.values()))), key)
    for key in ("host", "title", "python", "state", "parent", "failure", "core", "clock", "level", "on_full"):
        _expect(isinstance(content.get(key), str | None), key)
    _expect(_is_texts(content.get("argv")), "argv")
    # Of workers, how many ended in each way.
    ended = content.get("ended")
    _expect(isinstance(ended, str | None) or _is_counts(ended), "ended")
    _expect(_is_count(content.get("workers")), "workers")
    _expect_environment(content.get("environment"))
    _expect_accounts(content.get("accounts"))
    _expect_losses(content.get("losses"))
    _expect_open(content.get("unfinished"))
    _expect_definitions(content.get("unused") or [], "unused")
    _expect_failures(content.get("failures") or [])
    spans = content.get("open_spans") or []
    _expect(isinstance(spans, list) and None not in spans and all(map(_is_number, spans)), "open_spans")
    _expect(_is_texts(content.get("damage")), "damage")
    interval_s = content.get("metrics_interval_s")
    _expect(interval_s is None or (_is_amount(interval_s) and interval_s > 0), "metrics_interval_s")
    return content


def checked_end(content: dict[str, Any]) -> dict[str, Any]:
    """`content`, if it may be what a journal says at the end of a recording. Raises ValueError."""
    checked_process({**content, "losses": None, "environment": {"packages": content.get("packages")}})
    losses = content.get("losses")
    _expect(losses is None or isinstance(losses, list), "losses")
    for loss in losses or ():
        _expect(isinstance(loss, dict), "losses")
        _expect_losses([{**loss, "start": loss.get("first_ns"), "end": loss.get("last_ns")}])
        needed = ("operation", "thread", "count", "cause", "first_ns", "last_ns")
        _expect(all(loss.get(name) is not None for name in needed), "losses")
    return content


def time_ns(value: object) -> int:
    """`value`, if it is a time in ns. Raises ValueError."""
    if not isinstance(value, int) or not _is_time(value):
        raise ValueError(f"{value!r} is not a time")
    return value


def why_nothing(process: dict[str, Any]) -> str:
    """Why a recording that has ended holds no samples, as far as its process file knows."""
    left_open = (process.get("account") or {}).get("open") or 0
    if left_open:
        blocks = "one block was" if left_open == 1 else f"{left_open} blocks were"
        names = list(dict.fromkeys(one["operation"] for one in process.get("unfinished") or ()))
        which = f" ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""
        return f"{blocks} entered during the recording{which}, and none finished"
    known = process.get("operations") or {}
    defined, detail, sampled = (known.get(key, 0) for key in ("defined", "detail", "sampled"))
    todo = "put `with YourEnum.MEMBER:` around what should be measured"
    if known and not defined:
        return f"no operation was defined in the program, so no operation ran; {todo}"
    if defined and process.get("level") == "production" and detail == defined:
        return "its level is 'production', which omits all of its operations, as they are op(detail=True)"
    hints = [f"{defined} are defined"] if defined else []
    if process.get("level") == "production" and detail:
        hints.append(f"{detail} of them op(detail=True), which the level 'production' omits")
    if sampled:
        hints.append(f"{sampled} of them with sample_every, which omits most calls")
    details = f" ({', '.join(hints)})" if hints else ""
    return f"no operation ran during the recording{details}; {todo}. Calls that began before the start are not recorded"


def explained(loss: dict[str, Any], failures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A loss with what kept the rings from being emptied meanwhile in its cause: those of `failures` that it overlaps.

    Each has a `reason`, and `start` and `end` in Unix ns, None where that is not known.
    """
    start, end = loss.get("start"), loss.get("end")
    meanwhile = [
        one
        for one in failures
        if not (end is not None and (one.get("start") or end) > end)
        and not (start is not None and (one.get("end") or start) < start)
    ]
    if not meanwhile:
        return loss
    first = meanwhile[0]
    since, until = (_clock(first.get(key)) for key in ("start", "end"))
    when = "".join(f" {word} {moment}" for word, moment in (("from", since), ("to", until)) if moment)
    more = f", and {len(meanwhile) - 1} times more" if len(meanwhile) > 1 else ""
    return {**loss, "cause": f"{loss.get('cause')}; nothing could be written{when}{more}: {first['reason']}"}


def _clock(unix_ns: int | None) -> str:
    return "" if unix_ns is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_ns / 1e9))


def newest(definitions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last definition of each operation in each category, so that their number is bounded."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for definition in definitions:
        key = (definition["name"], definition["category"]["name"])
        found.pop(key, None)
        found[key] = definition
    return list(found.values())


def footer(metadata: Any) -> dict[str, Any]:
    """The JSON of quantum_pulse in the metadata of a Parquet file. Raises ValueError when it is missing or damaged."""
    texts = metadata.metadata or {}
    text = texts.get(schema.FOOTER_KEY.encode())
    if text is None:
        raise ValueError(f"no {schema.FOOTER_KEY!r} in its footer, so it was not written by quantum_pulse")
    checksum = texts.get(schema.FOOTER_CHECKSUM_KEY.encode())
    if checksum is not None and checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("its footer was changed after it was written")
    content = json.loads(text)
    _expect(isinstance(content, dict) and isinstance(content.get("format"), int), "footer")
    _expect_definitions(content.get("operations", []), "operations")
    _expect_losses(content.get("losses"))
    saved = content.get("saved_for") or []
    _expect(isinstance(saved, list) and all(map(_is_saved, saved)), "saved_for")
    merged = content.get("merged", [])
    _expect(isinstance(merged, list) and all(isinstance(name, str) and "/" not in name for name in merged), "merged")
    _expect(_is_count(content.get("process")) and _is_time(content.get("clock_anchor_ns")), "process")
    histograms = content.get("histograms")
    if not (isinstance(histograms, list) and all(map(_is_summary, histograms))):
        content.pop("histograms", None)  # the rows say the same
    return dict(content)


def check_rollup_footer(content: dict[str, Any]) -> None:
    """Raise ValueError unless `content`, a footer, says what one of a rollup file must."""
    _expect(content.get("interval_ns") in schema.ROLLUP_INTERVALS_NS, "interval_ns")
    _expect("until_ns" in content and _is_time(content["until_ns"]), "until_ns")
    for key in ("operations", "folded"):
        _expect(isinstance(content.get(key), list), key)
    _expect(all(isinstance(name, str) and "/" not in name for name in content["folded"]), "folded")
    histograms = content.get("histograms")
    _expect(isinstance(histograms, list) and all(map(_is_summary, histograms)), "histograms")
    replaces, expired, ended = (content.get(key) for key in ("replaces", "expired", "ended"))
    _expect(
        isinstance(replaces, dict)
        and set(replaces) <= set(schema.RECORDED)
        and all(isinstance(own, dict) and all(map(_is_part, own.items())) for own in replaces.values()),
        "replaces",
    )
    _expect(isinstance(expired, dict) and all(map(_is_counts, expired.values())), "expired")
    _expect(isinstance(ended, dict) and isinstance(ended.get("recordings"), int), "ended")
    if isinstance(ended, dict):
        _expect(all(_is_time(ended.get(key)) for key in ("started_ns", "stopped_ns")), "ended")
        _expect(all(_is_counts(ended.get(key)) for key in ("account", "rows")), "ended")
        _expect_losses(ended.get("losses"))
        _expect_definitions(ended.get("unused") or [], "ended")


def _is_summary(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return (
        all(isinstance(value.get(name), str) for name in ("operation", "category", "buckets"))
        and _is_amount(value.get("m2_ns2"))
        and all(isinstance(value.get(name), int) for name in ("count", "errors", "samples", "sum_ns"))
        and all(_is_count(value[name]) for name in ("count", "errors", "samples"))
        and all(isinstance(value.get(name), int) and _is_time(value[name]) for name in ("min_ns", "max_ns"))
        and 0 <= value["min_ns"] <= value["max_ns"]
        and 0 <= value["sum_ns"] < 1 << 127
        and value["count"] > 0
    )


def _is_part(item: tuple[object, object]) -> bool:
    name, part = item
    is_name = isinstance(name, str) and "/" not in name
    return is_name and isinstance(part, list) and len(part) == 3 and all(map(_is_number, part)) and part[0] is not None


def _is_counts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, int) and _is_count(one) for one in value.values())


def _is_saved(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name), str | None) for name in ("operation", "error"))
        and _is_number(value.get("span"))
        and all(_is_time(value.get(name)) for name in ("duration_ns", "noticed_ns"))
    )


def is_definition(value: object) -> bool:
    """Whether `value` may be the definition of an operation, as footers and journals hold it."""
    if not isinstance(value, dict) or not isinstance(value.get("category"), dict):
        return False
    category, budget, expected = value["category"], value.get("budget_us"), value.get("expect_us")
    return (
        isinstance(value.get("name"), str)
        and isinstance(category.get("name"), str)
        and all(isinstance(one.get("priority", 0), int) for one in (value, category))
        and all(isinstance(one.get("description", ""), str) for one in (value, category))
        and isinstance(category.get("colour"), str | None)
        and isinstance(value.get("module"), str | None)
        and isinstance(value.get("sample_every", 1), int)
        and 1 <= value.get("sample_every", 1) < 1 << 31
        and all(isinstance(one, int | float | None) for one in (budget, category.get("budget_us")))
        and _is_quantile(value.get("budget_quantile", 0.5))
        and (expected is None or _is_pair(expected))
        and isinstance(value.get("cpu_time", False), bool)
        and isinstance(attributes := value.get("attributes", []), list)
        and len(attributes) <= schema.MOST_ATTRIBUTES
        and all(map(_is_attribute, attributes))
    )


def _is_attribute(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and value.get("type") in ("str", "int", "float", "bool")
        and _is_texts(value.get("choices"))
        and isinstance(value.get("optional", False), bool)
    )


def _is_quantile(value: object) -> bool:
    return isinstance(value, float) and 0 < value < 1


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_amount, value))


def _expect_environment(environment: object) -> None:
    """Texts, amounts, and versions of packages, under names of which this version may not know all."""
    _expect(environment is None or isinstance(environment, dict), "environment")
    for key, value in environment.items() if isinstance(environment, dict) else ():
        if key in ("cores", "cpu_quota", "memory_bytes", "load_1m"):
            # The only ones that are divided by or compared.
            _expect(value is None or (_is_amount(value) and value >= 0), "environment")
        elif key == "packages":
            is_right = isinstance(value, dict) and all(isinstance(one, str | None) for one in value.values())
            _expect(value is None or is_right, "environment")
        elif key in ("cpu", "governor", "kernel", "python", "commit"):
            _expect(isinstance(value, str | None), "environment")


def _expect_accounts(accounts: object) -> None:
    _expect(accounts is None or isinstance(accounts, list), "accounts")
    for one in accounts if isinstance(accounts, list) else ():
        _expect(isinstance(one, dict) and isinstance(one.get("operation"), str), "accounts")
        _expect(all(_is_count(one.get(name)) for name in ("started", "ended", "open", "lost")), "accounts")
        _expect(_is_number(one.get("thread")), "accounts")


def _expect_definitions(definitions: object, where: str) -> None:
    _expect(isinstance(definitions, list) and all(map(is_definition, definitions)), where)


def _expect_losses(losses: object) -> None:
    _expect(losses is None or (isinstance(losses, list) and all(isinstance(loss, dict) for loss in losses)), "losses")
    for loss in losses if isinstance(losses, list) else ():
        _expect(_is_number(loss.get("thread")) and _is_count(loss.get("count")), "losses")
        _expect(all(_is_time(loss.get(name)) for name in ("start", "end")), "losses")
        _expect(all(isinstance(loss.get(name), str | None) for name in ("operation", "cause")), "losses")


def _expect_failures(failures: object) -> None:
    _expect(isinstance(failures, list) and all(isinstance(one, dict) for one in failures), "failures")
    for one in failures if isinstance(failures, list) else ():
        are_times = all(_is_number(one.get(key)) for key in ("start", "end"))
        _expect(are_times and isinstance(one.get("reason"), str), "failures")


def _expect_open(blocks: object) -> None:
    _expect(blocks is None or (isinstance(blocks, list) and all(isinstance(one, dict) for one in blocks)), "unfinished")
    for one in blocks if isinstance(blocks, list) else ():
        numbers = [one.get(name) for name in ("thread", "task", "span", "parent", "weight")]
        _expect(_is_time(one.get("start")) and all(map(_is_number, numbers)) and None not in numbers, "unfinished")
        _expect(1 <= one["weight"] < 1 << 31 and _is_count(one.get("process")), "unfinished")
        _expect(all(isinstance(one.get(name), str) for name in ("operation", "category")), "unfinished")


def _is_number(value: object) -> bool:
    """Whether `value` is what a column of integers can hold, None included."""
    return value is None or (isinstance(value, int) and value in _INT64)


def _is_time(value: object) -> bool:
    """Whether `value` is a time or a length in ns that can be added to another one, None included."""
    return value is None or (isinstance(value, int) and abs(value) <= schema.MOST_NS)


def _is_count(value: object) -> bool:
    """Whether `value` counts something, None included. Floats hold it exactly."""
    return value is None or (isinstance(value, int) and 0 <= value <= 1 << 53)


def _is_amount(value: object) -> bool:
    """Whether `value` is a number that floats can be made of, infinity and NaN excluded."""
    return isinstance(value, int | float) and abs(value) <= 1e300


def _is_texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _expect(is_right: bool, what: str) -> None:
    if not is_right:
        raise ValueError(f"its {what!r} makes no sense")
