"""Rings that a killed process left behind, made into parts. What is recovered is exactly what had ended."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from quantum_pulse import rings, schema
from quantum_pulse.recorder import parts


class Recovery(NamedTuple):
    """What became of one ring. `open` blocks had been entered and not left; `damage` is what could not be read."""

    name: str
    process: int
    samples: int
    open: int
    lost: int
    damage: list[str]


def recover(capture: Path) -> list[Recovery]:
    """Write what stands in rings of dead processes in `capture` into parts and delete the rings.

    Harmless when repeated, also after it was killed itself: rows that stand in a part already are not written again.
    Raises OSError when the disk does not take it.
    """
    found = []
    # The journal of names comes first and goes last; the ring may be missing, where the process died between.
    for journal in sorted((capture / schema.RINGS).glob(f"[!.]*{rings.NAMES_SUFFIX}")):
        ring = journal.with_suffix(rings.RING_SUFFIX)
        if not rings.is_alive(ring):
            found.append(_recover(capture, ring))
    for ring in sorted((capture / schema.RINGS).glob(f"*{rings.RING_SUFFIX}")):
        if not ring.with_suffix(rings.NAMES_SUFFIX).exists():
            found.append(_recover(capture, ring))
    for unfinished in (capture / schema.RINGS).glob(f".*{rings.NAMES_SUFFIX}.tmp"):
        # Not locked yet, so the number of the process has to do.
        if not Path(f"/proc/{unfinished.name[1:].partition('-')[0]}").exists():
            unfinished.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (capture / schema.RINGS).rmdir()
    return found


def written_spans(capture: Path, name: str, lowest: int, highest: int) -> Any:
    """Spans from `lowest` to `highest` in parts of the recording `name`, as an int64 array, and the parts' rows.

    A part that cannot be read is taken for empty: its rows are given up for lost by whoever reads the capture.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    spans, rows = [np.zeros(0, np.int64)], 0
    for path in sorted((capture / "samples").glob(f"{name}-*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                rows += file.metadata.num_rows
                for number in range(file.num_row_groups):
                    group = file.metadata.row_group(number)
                    column = next(
                        one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == "span"
                    )
                    known: Any = column.statistics
                    if known is not None and known.has_min_max and (known.min > highest or known.max < lowest):
                        continue
                    spans.append(file.read_row_group(number, columns=["span"])["span"].to_numpy())
        except (OSError, pa.ArrowException, StopIteration):
            continue
    return np.concatenate(spans), rows


def _recover(capture: Path, ring: Path) -> Recovery:
    import numpy as np

    name = ring.stem
    process_path = capture / schema.PROCESSES / f"{name}.json"
    process = _process(process_path)
    try:
        contents = rings.read(ring)
    except FileNotFoundError:
        found = Recovery(name, int(process.get("pid") or 0), 0, 0, 0, [])
    except (OSError, ValueError) as error:
        found = Recovery(name, int(process.get("pid") or 0), 0, 0, 0, [str(error)])
    else:
        batch = contents.batch
        spans = np.frombuffer(batch.columns["span"], np.int64)
        known, rows = written_spans(
            capture, name, int(spans.min()) if batch.rows else 0, int(spans.max()) if batch.rows else -1
        )
        batch = rings.without(batch, known)
        if batch.rows:
            anchor = process.get("clock_anchor_ns")
            damage = contents.damage if anchor is not None else [*contents.damage, "its clock is unknown"]
            contents = contents._replace(damage=damage)
            footer: dict[str, Any] = {
                "format": schema.FORMAT_VERSION,
                "process": contents.process,
                "core": process.get("core"),
                "clock_anchor_ns": anchor or 0,
                "losses": [],
            }
            parts.write_samples(
                _next_part(capture, name),
                batch,
                operations=contents.operations,
                errors=contents.errors,
                anchor_ns=anchor or 0,
                process=contents.process,
                footer=footer,
            )
        written = rows + batch.rows
        left_open = max(contents.entered - written - contents.lost - contents.damaged_rows, 0)
        found = Recovery(name, contents.process, batch.rows, left_open, contents.lost, contents.damage)
        process["account"] = {
            "started": contents.entered,
            "written": written,
            "pending": 0,
            "open": left_open,
            "lost": contents.lost + contents.damaged_rows,
        }
    process["state"] = "recovered"
    process["damage"] = found.damage
    _replace(process_path, process)
    for leftover in (capture / "samples").glob(f".{name}-*.tmp"):
        leftover.unlink(missing_ok=True)
    ring.unlink(missing_ok=True)
    ring.with_suffix(rings.NAMES_SUFFIX).unlink(missing_ok=True)
    return found


def _next_part(capture: Path, name: str) -> Path:
    numbers = [0]
    for table in schema.TABLES:
        for path in (capture / table).glob(f"{name}-*.parquet"):
            with contextlib.suppress(ValueError):
                numbers.append(int(path.stem.rpartition("-")[2]))
    return capture / "samples" / f"{name}-{max(numbers) + 1:06d}.parquet"


def _process(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _replace(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(temporary, path)
