"""Rings that a killed process left behind, made into parts. What is recovered is exactly what had ended."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from quantum_pulse import files, records, rings, schema
from quantum_pulse.recorder import folder, parts, ringfiles

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


logger = logging.getLogger("quantum_pulse")

#: A ring that takes more of the disk is not made into parts beside a program that goes on: it takes four times as much
#: memory. A writer that keeps up leaves less.
LARGEST_SWEPT: Final = 64 * 2**20


class Source(Protocol):
    """What `Leftover.add_to` asks of a capture that is being opened."""

    parts: dict[str, list[Any]]

    def add_part(self, table: str, file: Path) -> object: ...

    def note_loss(self, key: str, loss: dict[str, Any]) -> None: ...

    def note_open(self, recording: str, blocks: list[dict[str, Any]], now_ns: int | None) -> None: ...

    def note_written(self, recording: str, rows: dict[str, int]) -> None: ...


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
    for ring in _left(capture):
        with rings.claimed(ring) as is_ours:
            if is_ours:
                found.append(_recover(capture, ring))
    for unfinished in (capture / schema.RINGS).glob(".*.tmp"):
        # Not locked yet, so the number of the process has to do.
        if not Path(f"/proc/{unfinished.name[1:].partition('-')[0]}").exists():
            unfinished.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (capture / schema.RINGS).rmdir()
    return found


def sweep(capture: Path, own: Path, within_s: float) -> bool:
    """Take in what other processes left that have ended, as workers do that are killed, until so much time has passed.

    Of one that recorded nothing, because it ended or became another program before, nothing is kept. `own` is the ring
    of whoever asks. What is damaged, large, or of another host or container is left for `recover`, which somebody asks
    for. Returns whether there are rings of others that record still.
    """
    give_up = time.monotonic() + within_s
    left = False
    for ring in _left(capture):
        if ring == own:
            continue
        with rings.claimed(ring, surely=True) as is_ours:
            if not is_ours or time.monotonic() > give_up:
                left = True
                continue
            try:
                _take_in(capture, ring)
            except Exception as error:  # noqa: BLE001 - for tidiness only, and the next one may be better
                logger.debug("%s stays: %s", ring.name, error)
    with contextlib.suppress(OSError):
        (capture / schema.RINGS).rmdir()
    return left


def _take_in(capture: Path, ring: Path) -> None:
    """As `sweep` does. Raises OSError, ValueError and pyarrow's errors for a ring that stays."""
    process_path = capture / schema.PROCESSES / f"{ring.stem}.json"
    host = records.process(process_path).get("host")
    if host != platform.node():  # to which locks may not reach
        raise ValueError(f"it is of {host!r}")
    if ring.exists() and rings.is_unused(ring):
        process_path.unlink(missing_ok=True)
        for path in (ring, ring.with_suffix(schema.NAMES_SUFFIX)):
            ringfiles.remove(path)
    elif ring.exists() and ring.stat().st_blocks * 512 > LARGEST_SWEPT:
        raise ValueError("it is large")
    else:
        _recover(capture, ring)


def _left(capture: Path) -> list[Path]:
    """The rings in a capture. One may be missing, where its process died between making the journal and the ring."""
    folder = capture / schema.RINGS
    left = {path.stem for suffix in (schema.NAMES_SUFFIX, schema.RING_SUFFIX) for path in _files(folder, suffix)}
    return [folder / f"{name}{schema.RING_SUFFIX}" for name in sorted(left)]


def _files(folder: Path, suffix: str) -> list[Path]:
    """The files in `folder` with this suffix, but for hidden ones; folders are nobody's rings."""
    return [path for path in folder.glob(f"[!.]*{suffix}") if not path.is_dir()]


class _Written(NamedTuple):
    """What parts hold: spans that may be those that were asked for, how many rows, and the losses that they tell."""

    spans: npt.NDArray[np.int64]
    rows: int
    losses: list[dict[str, Any]]


def _written(paths: Iterable[Path], contents: rings.Contents) -> _Written:
    """What stands in the parts `paths`, with those spans that may be in `contents` too.

    A part that cannot be read is taken for empty: its rows are given up for lost by whoever reads the capture.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = list(paths)
    merged = parts.merged(paths)
    own = np.frombuffer(contents.batch.columns["span"], np.int64)
    lowest, highest = (int(own.min()), int(own.max())) if len(own) else (0, -1)
    opened = np.sort(np.fromiter((block.span for block in contents.unfinished), np.int64))
    spans, rows = [np.zeros(0, np.int64)], 0
    losses: list[dict[str, Any]] = []
    for path in paths:
        if path.name in merged:
            continue
        try:
            files.check(path)
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                rows += file.metadata.num_rows
                losses += records.footer(file.metadata).get("losses") or []
                for number in range(file.num_row_groups):
                    group = file.metadata.row_group(number)
                    column = next(
                        one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == "span"
                    )
                    known: Any = column.statistics
                    if known is not None and known.has_min_max:
                        is_between = np.searchsorted(opened, known.min) < np.searchsorted(opened, known.max, "right")
                        if not is_between and (known.min > highest or known.max < lowest):
                            continue
                    spans.append(file.read_row_group(number, columns=["span"])["span"].to_numpy())
        except (OSError, pa.ArrowException, ValueError, MemoryError, StopIteration):
            continue
    return _Written(np.concatenate(spans), rows, losses)


def _recover(capture: Path, ring: Path) -> Recovery:
    name = ring.stem
    process_path = capture / schema.PROCESSES / f"{name}.json"
    process, damage = _process(process_path)
    process.setdefault("pid", rings.process_of(ring))
    pid = int(process["pid"] or 0)
    try:
        contents = rings.read(ring)
    except (OSError, ValueError) as error:
        if not isinstance(error, FileNotFoundError) or process.get("state") == "recording":
            damage.append(f"{ring.name}: {files.reason(error)}")
        elif not process_path.exists():
            damage = []  # it was killed while it began
        found = Recovery(name, pid, 0, 0, 0, damage)
        process["rows"] = rings.read_names(ring).written
    else:
        known = _written(sorted((capture / "samples").glob(f"{name}-*.parquet")), contents)
        contents = contents.without(known.spans)
        batch = contents.batch
        if batch.rows:
            _write(_next_part(capture, name), contents, process)
        # A part that was written and is not there now is missing, as the reader will say; it is not open.
        written = max(known.rows, contents.written.get("samples", 0)) + batch.rows
        process["rows"] = {**contents.written, "samples": written}
        left_open = max(contents.entered - written - contents.lost - contents.damaged_rows, 0)
        found = Recovery(name, contents.process, batch.rows, left_open, contents.lost, damage + contents.damage)
        process["account"] = {
            "started": contents.entered,
            "written": written,
            "pending": 0,
            "open": left_open,
            "lost": contents.lost + contents.damaged_rows,
        }
        process["losses"] = known.losses + contents.untold(known.losses)
        process["unfinished"] = contents.open_blocks()
    process["state"] = "recovered"
    process["damage"] = found.damage
    told = process_path if not process_path.is_dir() else process_path.with_suffix(".recovered.json")
    folder.write_json(told, process)
    for table in schema.TABLES:
        for leftover in (capture / table).glob(f".{name}-*.tmp"):
            leftover.unlink(missing_ok=True)
        for source in parts.merged((capture / table).glob(f"{name}-*.parquet")):
            (capture / table / source).unlink(missing_ok=True)
    for path in (ring, ring.with_suffix(schema.NAMES_SUFFIX)):
        with contextlib.suppress(IsADirectoryError, PermissionError):
            ringfiles.remove(path)
    logger.debug("recovered %s: %d samples, %d open, %d lost, damage: %s", *found[:1], *found[2:])
    return found


class Leftover(NamedTuple):
    """What stood in a ring when somebody looked; `contents` is None where it could not be read.

    `now_ns` is when that was, in Unix time, of a process that goes on.
    """

    ring: Path
    contents: rings.Contents | None
    damage: list[str]
    process: dict[str, Any]
    now_ns: int | None

    def add_to(self, source: Source) -> None:
        """Add to `source` what stands in none of its parts, as a part in a temporary directory of its own."""
        for number, damage in enumerate(self.damage):
            cause = f"{self.ring.name} is damaged: {damage}"
            source.note_loss(f"{self.ring}:{number}", {"cause": cause})
        if self.contents is None:
            source.note_written(self.ring.stem, rings.read_names(self.ring).written)
            return
        own = [part for part in source.parts["samples"] if part.path.name.startswith(f"{self.ring.stem}-")]
        told = [loss for part in own for loss in part.footer.get("losses", ())]
        for number, loss in enumerate(self.contents.untold(told)):
            source.note_loss(f"{self.ring}:lost:{number}", loss)
        # A process that goes on may have written some of it meanwhile, and ended some blocks.
        contents = self.contents.without(_written([part.file for part in own], self.contents).spans)
        source.note_open(self.ring.stem, contents.open_blocks(), self.now_ns)
        batch, written = contents.batch, contents.written
        source.note_written(self.ring.stem, {**written, "samples": written.get("samples", 0) + batch.rows})
        if not batch.rows:
            return
        folder = Path(tempfile.mkdtemp(prefix="quantum-pulse-"))
        weakref.finalize(source, _remove, folder, os.getpid())
        part = folder / f"{self.ring.stem}-ring.parquet"
        _write(part, contents, self.process)
        source.add_part("samples", part)


def look(capture: Path) -> list[Leftover]:
    """What stands in the rings of `capture`, of processes that live and that do not. Nothing is changed."""
    try:
        standing = sorted((capture / schema.RINGS).glob(f"[!.]*{schema.RING_SUFFIX}"))
    except OSError:
        return []  # the capture itself cannot be read either: whoever opens it says why
    found = []
    for ring in standing:
        process, _ = _process(capture / schema.PROCESSES / f"{ring.stem}.json")
        now_ns = time.time_ns() if rings.is_alive(ring) else None
        try:
            contents = rings.read(ring)
            leftover = Leftover(ring, contents, contents.damage, process, now_ns)
        except (OSError, ValueError) as error:
            leftover = Leftover(ring, None, [files.reason(error)], process, now_ns)
        # Else its recording has just ended: all that it held stands in parts, which are read after this.
        if os.path.lexists(ring):
            found.append(leftover)
    return found


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child has the object too
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, contents: rings.Contents, process: dict[str, Any]) -> None:
    anchor_ns = contents.anchor_ns or process.get("clock_anchor_ns") or 0
    footer: dict[str, Any] = {
        "format": schema.FORMAT_VERSION,
        "process": contents.process,
        "core": process.get("core"),
        "clock_anchor_ns": anchor_ns,
        "losses": [],
    }
    parts.write_samples(
        path,
        contents.batch,
        operations=contents.operations,
        errors=contents.errors,
        anchor_ns=anchor_ns,
        process=contents.process,
        footer=footer,
    )


def _next_part(capture: Path, name: str) -> Path:
    numbers = [0]
    for table in schema.TABLES:
        for path in (capture / table).glob(f"{name}-*.parquet"):
            with contextlib.suppress(ValueError):
                numbers.append(int(path.stem.rpartition("-")[2]))
    return capture / "samples" / f"{name}-{max(numbers) + 1:06d}.parquet"


def _process(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What the process file says, and what is wrong with it."""
    try:
        return records.process(path), []
    except (OSError, ValueError) as error:
        return {}, [f"{path.name} cannot be read: {files.reason(error)}"]
