"""The part of `docs/format.md` about rings, from `schema`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quantum_pulse import schema

_PROTOCOL = """\
### Handing segments over

Two processes share a ring: the program, which writes samples, and the agent, which writes parts. They use no lock.
Each word of the file has one writer; words are aligned and at most 64 bits wide, so a reader sees an old value or a new
one and nothing in between.

| Writer | Words |
| --- | --- |
| program | the header up to `stopped`, the names of errors, slots, segments with their headers |
| agent | the header from `answered` on, the tables `drained` and `claimed` |

A segment goes round in four steps:

1. **owned**. A thread takes a free segment. It stores `state` = 0, `written` = 0, `inverse` and `thread`, then the next
   `sequence`, then `state` = 1, each with release order. For each sample it writes the row, then `inverse`, then
   `written` with release order.
2. **full**. The thread stores `state` = 2 when all rows are written, or another thread does when it has ended.
3. **drained**. The agent reads `state` and `sequence`, then, after a full fence, `written` (acquire), then the rows
   from the one on that `drained` names, if its upper half is the lower half of `sequence`, else from the first. It does
   so with segments that are owned as well. When the rows are in a part, it stores
   `drained` = (`sequence` << 32) | rows, and then counts `released` up.
4. **free**. When a thread of the program needs a segment and `released` has changed, it looks through the full ones:
   those whose `drained` equals (`sequence` << 32) | `written` are free.

`written` is stored before `sequence` in step 1, so an agent that finds the new sequence never copies rows of the old
one; if it still finds the old one, `drained` says that nothing is left to copy.

With `on_full` = 1 (overwrite) the program may take a full segment back before it was drained. To let the agent know, it
stores `sequence` = 0 and then, after a full fence, reads `claimed`. The agent stores the sequence that it is about to
copy into `claimed` and then, after a full fence, reads `sequence` again. Either the program sees the claim and puts
`sequence` back, or the agent sees that `sequence` has changed and leaves the segment alone (Dekker's algorithm). The
agent withdraws its claims when the part is written.

Whoever dies leaves a consistent ring. An agent that died between writing a part and storing `drained` leaves rows that
are in a part already: the next agent leaves out rows whose `span` is in a part of the recording. It also clears all
claims. A program that died leaves rows up to `written`; the lock on the `.names` file shows that it is gone.

`asked` and `answered` are tickets: the program counts `asked` up, writes a byte to the FIFO, and waits until `answered`
has reached it. `stopped` says that no row will follow; the agent answers with `finished` once everything is in parts.
"""


def section() -> str:
    """The section as Markdown."""
    return f"""\
## Rings

Not for readers, but for whoever takes over what a killed process left. While a process records, its samples go to a
ring file in shared memory; `{schema.RINGS}/` holds a link to the folder. A `.ring` file begins with the magic
`{schema.RING_MAGIC.decode()}` and a header of {schema.RING_HEADER_BYTES} bytes. Two tables follow, `drained` and
`claimed`, of `limit` 64-bit words each, and on the next page of 4096 bytes the segments, of {schema.SEGMENT_BYTES}
bytes each. A segment belongs to one thread: a header of {schema.SEGMENT_HEADER_BYTES} bytes, then {schema.SEGMENT_ROWS}
entries of each column, column after column. `start` is on the monotonic clock. A row whose `operation` is
{schema.COLLECTION:#x} is a garbage collection: `error` is its generation and `parent` the number of objects it freed.

The `.names` file beside the ring is a journal: each line is the CRC-32 of the rest, in eight hexadecimal digits, a
space, and a JSON object: what the recording says of itself, each operation by its number, and in the end the account.
Names of errors are in the header from offset {schema.ERROR_NAMES_OFFSET} on, in the order of their numbers from 1: a
32-bit length and UTF-8 text each. {schema.OTHER_ERROR:#x} represents all types that found no room.

{_table(("Column", "`struct` code"), schema.RING_COLUMNS)}

{_table(("Field of the ring's header", "`struct` code", "Offset"), schema.RING_FIELDS)}

{_table(("Field of a segment's header", "`struct` code", "Offset"), schema.SEGMENT_FIELDS)}

`state` is {schema.FREE} (free), {schema.OWNED} (owned), {schema.FULL} (full) or {schema.HAS_SLOTS} (holds slots instead
of rows).

{_PROTOCOL}
### Slots

Slots of {schema.SLOT_BYTES} bytes describe blocks that are open and samples that were lost. They are in the header from
offset {schema.FIRST_SLOTS_OFFSET} to {schema.FIRST_SLOTS_END}, and in segments of state {schema.HAS_SLOTS} from offset
{schema.SLOTS_OFFSET} on. Those of `kind` {schema.SLOT_FREE} are free. An open block counts if its `span` is at most
`last_span` and no sample has that number.

Where the field `counters` of the ring's header is 0, spans are numbered one after the other, so that
`last_span` - `first_span` blocks were entered. Else threads record at the same time: each takes numbers in advance, up
to `last_span`, and leaves some out. The blocks that were entered are counted by `counters` 64-bit words from offset
{schema.COUNTERS_OFFSET} on, {schema.COUNTER_BYTES} bytes apart, which add up. A span's number is always greater than
its parent's.

{_table((f"Field of an open block (`kind` {schema.SLOT_OPEN})", "`struct` code", "Offset"), schema.OPEN_SLOT_FIELDS)}

{_table((f"Field of lost samples (`kind` {schema.SLOT_LOST})", "`struct` code", "Offset"), schema.LOST_SLOT_FIELDS)}
"""


def _table(head: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for name, code, *rest in rows:
        lines.append(f"| {' | '.join([f'`{name}`', f'`{code}`', *map(str, rest)])} |")
    return "\n".join(lines)
