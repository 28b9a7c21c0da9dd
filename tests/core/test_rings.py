"""The rings: segments, losses, the account, the file."""

import os
import struct
import threading
from collections import Counter

import pytest

from quantum_pulse import schema
from tests.core.rig import MODULES, ONE_SEGMENT, ROOMY, Row, in_thread


@pytest.mark.parametrize("every", [1, 700, 1256, 4000, 10_000])
def test_many_segments(rig, every):
    probe = rig.probe(2)
    for number in range(10_000):
        with probe:
            pass
        if number % every == every - 1:
            rig.drain()
    rig.drain()
    assert len(rig.rows) == 10_000
    spans = [row.span for row in rig.rows]
    assert spans == list(range(spans[0], spans[0] + 10_000)), "each once, oldest first"
    assert all(before.end <= row.start for before, row in zip(rig.rows, rig.rows[1:], strict=False))
    assert rig.totals() == (10_000, 10_000, 0)
    assert rig.drain() == []


@pytest.mark.parametrize(("segments", "woken_at"), [(1, 1), (8, 4), (9, 4)])
def test_whoever_drains_is_woken(rig, restart, segments, woken_at):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)

    def fill(count):
        for _ in range(count * schema.SEGMENT_ROWS):
            with rig.probe(1):
                pass

    def is_woken():
        try:
            return len(os.read(reading, 100)) > 0
        except BlockingIOError:
            return False

    try:
        restart(schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES, writing)
        fill(woken_at - 1)
        assert not is_woken()
        fill(1)
        assert is_woken()
        fill(1)
        assert not is_woken(), "once is enough"
        rig.drain()
        assert not is_woken()
        fill(woken_at)
        assert is_woken(), "and again once it has drained"
    finally:
        rig.close()
        os.close(reading)
        os.close(writing)


def test_a_full_ring_loses_the_newest_and_counts_them(rig, restart):
    segments = 3
    restart(schema.RING_HEADER_BYTES + segments * schema.SEGMENT_BYTES)
    room = segments * schema.SEGMENT_ROWS
    brackets = []
    with rig.probe(1), rig.probe(1), rig.probe(2):
        for _ in range(room + 500):
            before = rig.core.now()
            with rig.probe(3):
                pass
            brackets.append((before, rig.core.now()))
        started, committed, lost = rig.totals()
        assert (started, committed, lost) == (room + 503, room, 500)
        assert started == committed + 3 + lost
        (loss,) = rig.core.losses()
        assert (loss.operation, loss.thread, loss.samples) == (3, threading.get_native_id(), 500)
        assert brackets[room][0] <= loss.first_ns <= brackets[room][1]
        assert brackets[-1][0] <= loss.last_ns <= brackets[-1][1]
        assert rig.core.losses() == [loss], "those since the start, each time"
        kept = rig.drain()
        assert len(kept) == room
        assert all(before <= row.start <= after for row, (before, after) in zip(kept, brackets, strict=False))
        for _ in range(10):
            with rig.probe(3):
                pass
        assert len(rig.drain()) == 10, "space that was given back is used again"
    assert [row.operation for row in rig.drain()] == [2, 1, 1]
    assert rig.totals() == (room + 513, room + 13, 500)
    assert rig.core.losses() == [loss]
    assert rig.agent["lost"] == 500


def test_losses_by_operation_and_thread(rig, restart):
    restart(ONE_SEGMENT)

    def work(operation, count):
        for _ in range(count):
            with rig.probe(operation):
                pass
        return threading.get_native_id()

    mine = work(1, schema.SEGMENT_ROWS + 5)
    work(2, 7)
    # Alive at once, so that no thread gets the number of one that ended.
    held = threading.Barrier(3)

    def and_wait(*args):
        thread = work(*args)
        held.wait()
        return thread

    with_threads = [threading.Thread(target=and_wait, args=(1, count)) for count in (11, 13)]
    for thread in with_threads:
        thread.start()
    held.wait()
    for thread in with_threads:
        thread.join()
    losses = rig.core.losses()
    found = Counter({(loss.operation, loss.thread): loss.samples for loss in losses})
    assert len(found) == len(losses) == 4
    assert found[1, mine] == 5
    assert found[2, mine] == 7
    others = sorted(samples for (operation, thread), samples in found.items() if thread != mine and operation == 1)
    assert others == [11, 13]
    assert all(loss.first_ns <= loss.last_ns for loss in losses)
    account = {(row.operation, row.thread): (row.started, row.committed, row.lost) for row in rig.core.account()}
    assert account[1, mine] == (schema.SEGMENT_ROWS + 5, schema.SEGMENT_ROWS, 5)
    assert account[2, mine] == (7, 0, 7)


def test_drained_rows_keep_their_space_until_release(rig, restart):
    """The writer may die between the two; then the ring is all there is."""
    restart(ONE_SEGMENT)
    for _ in range(schema.SEGMENT_ROWS):
        with rig.probe(1):
            pass
    assert len(rig.drain(release=False)) == schema.SEGMENT_ROWS
    with rig.probe(1):
        pass
    assert rig.totals() == (schema.SEGMENT_ROWS + 1, schema.SEGMENT_ROWS, 1)
    rig.agent.release()
    with rig.probe(1):
        pass
    assert len(rig.drain()) == 1


def test_a_small_ring_is_used_again_and_again(rig, restart):
    restart(schema.RING_HEADER_BYTES + 2 * schema.SEGMENT_BYTES)
    for number in range(20_000):
        with rig.probe(1):
            pass
        if number % 1000 == 999:
            rig.drain()
    assert rig.totals() == (20_000, 20_000, 0)
    assert len({row.span for row in rig.rows}) == 20_000
    assert rig.agent["used"] == 2
    assert rig.ring.stat().st_size == schema.segments_at(2) + 2 * schema.SEGMENT_BYTES


def test_the_account_tells_operations_apart(rig):
    for operation, count in ((1, 3), (40, 5), (1000, 7)):
        for _ in range(count):
            with rig.probe(operation):
                pass
    with rig.probe(40):
        account = {row.operation: row[2:] for row in rig.core.account()}
    assert account == {1: (3, 3, 0), 40: (6, 5, 0), 1000: (7, 7, 0)}
    assert {row.thread for row in rig.core.account()} == {threading.get_native_id()}


def read_ring(path):
    """All complete rows of a ring file, by nothing but the description in `schema`, oldest segment first."""
    data = path.read_bytes()
    assert data[: len(schema.RING_MAGIC)] == schema.RING_MAGIC
    header = {name: struct.unpack_from(f"={code}", data, at)[0] for name, code, at in schema.RING_FIELDS}
    assert header["process"] == os.getpid()
    begin = schema.segments_at(header["limit"])
    assert len(data) >= begin + header["used"] * schema.SEGMENT_BYTES
    drained = struct.unpack_from(f"={header['used']}Q", data, schema.RING_HEADER_BYTES)
    found = []
    for number in range(header["used"]):
        base = begin + number * schema.SEGMENT_BYTES
        fields = {name: struct.unpack_from(f"={code}", data, base + at)[0] for name, code, at in schema.SEGMENT_FIELDS}
        if fields["state"] == schema.FREE:
            continue
        assert fields["written"] ^ schema.WORD == fields["inverse"]
        columns, offset = {"thread": [fields["thread"]] * fields["written"]}, base + schema.SEGMENT_HEADER_BYTES
        for name, code in schema.RING_COLUMNS:
            columns[name] = struct.unpack_from(f"={fields['written']}{code}", data, offset)
            offset += schema.SEGMENT_ROWS * struct.calcsize(f"={code}")
        assert offset <= base + schema.SEGMENT_BYTES
        rows = [Row(*values) for values in zip(*(columns[name] for name in Row._fields), strict=True)]
        sequence, in_parts = divmod(drained[number], 1 << 32)
        in_parts = in_parts if sequence == fields["sequence"] else 0
        found.append((fields["sequence"], fields["state"], in_parts, rows))
    assert len({sequence for sequence, *_ in found}) == len(found)
    return sorted(found, key=lambda segment: segment[0])


def test_the_ring_file_is_as_the_schema_describes_it(rig):
    def work(operation):
        for _ in range(2000):
            with pytest.raises(KeyError), rig.probe(operation), rig.probe(9):
                raise KeyError

    work(1)
    in_thread(work, 2)
    # The mapping is shared, so that the file holds each row as soon as it is finished.
    segments = read_ring(rig.ring)
    drained = rig.drain(release=False)
    assert [row for *_, rows in segments for row in rows] == drained
    assert len(drained) == 8000
    mine = [(state, len(rows)) for _, state, _, rows in segments if rows[0].thread == threading.get_native_id()]
    assert mine == [*[(2, schema.SEGMENT_ROWS)] * 3, (1, 4000 - 3 * schema.SEGMENT_ROWS)]
    assert {in_parts for _, _, in_parts, _ in segments} == {0}
    rig.agent.release()
    with rig.probe(5):
        pass
    left = [rows[in_parts:] for _, _, in_parts, rows in read_ring(rig.ring)]
    assert [row.operation for rows in left for row in rows] == [5], "what stands in a part is marked as such"


def test_the_layout_in_c_is_that_of_the_schema():
    native = pytest.importorskip(MODULES["native"])
    names = ("RING_HEADER_BYTES", "SEGMENT_BYTES", "SEGMENT_ROWS", "WAKE_SEGMENTS")
    for name in (*names, "FIRST_SLOTS_OFFSET", "TEXTS_OFFSET"):
        assert getattr(native, name) == getattr(schema, name)


def test_a_ring_file_that_is_there_already_stays(rig):
    rig.close()
    rig.ring = rig.folder / "taken.ring"
    rig.ring.write_bytes(b"of another process")
    with pytest.raises(FileExistsError):
        rig.core.start(str(rig.ring), ROOMY)
    assert rig.ring.read_bytes() == b"of another process"
    rig.start()


def test_a_ring_that_the_disk_cannot_hold_is_refused_and_removed(rig):
    rig.close()
    path = rig.folder / "huge.ring"
    with pytest.raises(OSError):
        rig.core.start(str(path), 2**62)
    assert not path.exists()
    rig.start()
    with rig.probe(1):
        pass
    assert len(rig.drain()) == 1
