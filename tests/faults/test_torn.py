"""Rings that were cut, zeroed or overwritten: what is valid is recovered, what is not is named."""

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent.recover import recover
from tests import agents
from tests.faults import account

#: Random damages to try; `EXAMPLES=2000 pytest tests/faults/test_torn.py` looks harder.
EXAMPLES = int(os.environ.get("EXAMPLES", "60"))

#: Segments that the rings have room for, and where the first one is.
LIMIT = 64
BASE = schema.segments_at(LIMIT)

CHILD = """
import os, sys, time
import quantum_pulse as qp
from tests import agents

class Torn(qp.Operation):
    A = qp.op("First", category="One")
    B = qp.op("Second", category="Two")

recorder = qp.start(sys.argv[1], budget_bytes=int(sys.argv[2]))
for number in range(3000):
    try:
        with Torn.A, Torn.B:
            if number % 10 == 0:
                raise KeyError
    except KeyError:
        pass
    if number == 1000:
        recorder.flush()
        time.sleep(0.3)  # until there is a process file
        agents.kill(sys.argv[1])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A capture that a killed process left: 2,002 samples in a part, 3,998 in the ring."""
    path = tmp_path_factory.mktemp("torn") / "capture"
    budget = schema.RING_HEADER_BYTES + LIMIT * schema.SEGMENT_BYTES
    command = [sys.executable, "-c", CHILD, str(path), str(budget)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    agents.move_rings_into(path)
    # Faster to copy as often as this; nothing but segments that were never used is cut off.
    (ring,) = agents.rings(path)
    os.truncate(ring, BASE + 8 * schema.SEGMENT_BYTES)
    return path


def damaged(left, folder, damage):
    target = folder / f"capture{time.monotonic_ns()}"
    shutil.copytree(left, target)
    (ring,) = agents.rings(target)
    damage(ring)
    found = recover(target)
    assert recover(target) == []
    assert not (target / "rings").exists()
    capture = qp.open(target)
    samples = capture.samples()
    causes = " ".join(capture.losses()["cause"])
    assert all(damage in causes for one in found for damage in one.damage)
    assert samples["span"].is_unique
    assert set(samples["operation"]) <= {"Torn.A", "Torn.B"}
    return found, samples


def test_undamaged(left, tmp_path):
    (found,), samples = damaged(left, tmp_path, lambda _: None)
    assert (found.samples, found.open, found.lost, found.damage) == (3998, 0, 0, [])
    assert samples["operation"].value_counts().to_dict() == {"Torn.A": 3000, "Torn.B": 3000}
    assert samples["error"].value_counts().to_dict() == {"KeyError": 600}


@pytest.mark.parametrize(
    "size",
    [
        *(0, 1, 7, 8, 100, 4096, schema.RING_HEADER_BYTES - 1, schema.RING_HEADER_BYTES),
        *(BASE - 1, BASE, BASE + 1, 30_000, BASE + schema.SEGMENT_BYTES, BASE + schema.SEGMENT_BYTES + 1),
        *(100_000, BASE + 2 * schema.SEGMENT_BYTES - 1, BASE + 2 * schema.SEGMENT_BYTES),
    ],
)
def test_cut(left, tmp_path, size):
    (found,), samples = damaged(left, tmp_path, lambda ring: os.truncate(ring, size))
    whole = max(size - BASE, 0) // schema.SEGMENT_BYTES
    assert len(samples) == 2002 + found.samples
    assert found.samples >= min(whole, 3) * schema.SEGMENT_ROWS - 2002
    assert found.damage or whole * schema.SEGMENT_BYTES + BASE == size


def overwrite(begin, data):
    def damage(ring):
        with open(ring, "r+b") as file:
            file.seek(begin)
            file.write(data)

    return damage


def test_zeroed(left, tmp_path):
    (found,), samples = damaged(left, tmp_path, lambda ring: overwrite(0, bytes(ring.stat().st_size))(ring))
    assert schema.RING_MAGIC.decode() in found.damage[0]
    assert len(samples) == 2002


@pytest.mark.parametrize("field", ["state", "sequence", "thread", "written", "inverse"])
def test_a_field_of_a_segment_is_zeroed(left, tmp_path, field):
    # The second segment: of the first a part has some rows already.
    base = BASE + schema.SEGMENT_BYTES
    (offset,) = (at for name, _, at in schema.SEGMENT_FIELDS if name == field)
    (found,), samples = damaged(left, tmp_path, overwrite(base + offset, bytes(4)))
    assert len(samples) == 6000 or "the header of segment 1 makes no sense" in found.damage


def test_deleted(left, tmp_path):
    found, samples = damaged(left, tmp_path, Path.unlink)
    assert len(samples) == 2002
    assert [one.samples for one in found] == [0]


def test_without_names(left, tmp_path):
    (found,), samples = damaged(left, tmp_path, lambda ring: ring.with_suffix(schema.NAMES_SUFFIX).unlink())
    assert any("names cannot be read" in damage for damage in found.damage)
    assert len(samples) == 2002


def test_names_that_end_in_the_middle_of_a_line(left, tmp_path):
    def damage(ring):
        names = ring.with_suffix(schema.NAMES_SUFFIX)
        lines = names.read_bytes().splitlines(keepends=True)
        names.write_bytes(b"".join(lines)[:-5])

    (found,), samples = damaged(left, tmp_path, damage)
    assert found.damage
    assert len(samples) > 2002


@pytest.mark.parametrize(
    "text", [b"[" * 10**5, b'{"operation": Infinity}', b'{"clock_anchor_ns": -Infinity}', b"1", b"{}"]
)
def test_lines_of_names_that_make_no_sense(left, tmp_path, text):
    def damage(ring):
        with open(ring.with_suffix(schema.NAMES_SUFFIX), "ab") as file:
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))

    (found,), samples = damaged(left, tmp_path, damage)
    assert found.damage == ["a line of its names makes no sense"]
    assert len(samples) == 6000


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # The headers of the ring and of its first segment as often as all the rest.
    offset=st.integers(0, 272)
    | st.integers(BASE, BASE + schema.SEGMENT_HEADER_BYTES)
    | st.integers(0, BASE + 8 * schema.SEGMENT_BYTES - 1),
    length=st.integers(1, 16) | st.integers(1, 70_000),
    seed=st.integers(0, 2**32),
    suffix=st.sampled_from([schema.RING_SUFFIX, schema.NAMES_SUFFIX]),
)
@example(offset=143, length=3954, seed=1, suffix=schema.RING_SUFFIX)
def test_garbage(left, tmp_path, offset, length, seed, suffix):
    garbage = random.Random(seed).randbytes(length)

    def damage(ring):
        path = ring.with_suffix(suffix)
        overwrite(offset % path.stat().st_size, garbage)(path)

    _, samples = damaged(left, tmp_path, damage)
    assert len(samples) >= 2002


SLOT_CHILD = """
import contextvars, os, sys, time
import quantum_pulse as qp
from tests import agents

class Torn(qp.Operation):
    A = qp.op("First", category="One")
    B = qp.op("Second", category="Two")

recorder = qp.start(sys.argv[1], budget_bytes=24576 + 8 * 65536)
open_in = [contextvars.copy_context() for _ in range(100)]
for context in open_in:
    context.run(Torn.A.__enter__)
for number in range(20_000):
    with Torn.B:
        pass
    if number == 1000:
        recorder.flush()
        agents.kill(sys.argv[1])  # so that the rings become full
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def with_slots(tmp_path_factory):
    """A capture that a killed process left with 100 open blocks and some thousand losses: slots in the first page, in a
    segment, or both."""
    path = tmp_path_factory.mktemp("torn") / "capture"
    done = subprocess.run([sys.executable, "-c", SLOT_CHILD, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    agents.move_rings_into(path)
    return path


#: What stands in a slot: mostly numbers that are nearly right, else anything.
NUMBERS = st.sampled_from([0, 1, 2, 50, 2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
SLOT = st.builds(
    lambda kind, operation, fields: struct.pack("=II7Q", kind, operation, *fields),
    st.integers(0, 3),
    st.integers(0, 300) | st.integers(0, 2**32 - 1),
    st.lists(NUMBERS, min_size=7, max_size=7),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slots=st.lists(st.tuples(st.integers(0, 200), SLOT), min_size=1, max_size=12))
def test_garbage_in_slots(with_slots, tmp_path, slots):
    def damage(ring):
        content = bytearray(ring.read_bytes())
        segments = range(schema.segments_at(8), len(content), schema.SEGMENT_BYTES)
        (base,) = [at for at in segments if content[at] == 3]
        pages = [
            *range(schema.FIRST_SLOTS_OFFSET, schema.FIRST_SLOTS_END, schema.SLOT_BYTES),
            *range(base + schema.SLOTS_OFFSET, base + schema.SEGMENT_BYTES, schema.SLOT_BYTES),
        ]
        for number, slot in slots:
            content[pages[number] : pages[number] + len(slot)] = slot
        ring.write_bytes(content)

    target = tmp_path / f"capture{time.monotonic_ns()}"
    shutil.copytree(with_slots, target)
    (ring,) = agents.rings(target)
    before = qp.open(target)
    whole, lost = len(before.samples()), before.losses()["count"].sum()
    damage(ring)
    left_there = qp.open(target)
    left_there.unfinished()
    left_there.report(target / "report.html")
    recover(target)
    capture = qp.open(target)
    assert len(capture.samples()) == len(left_there.samples()) == whole
    assert capture.losses()["count"].sum() == left_there.losses()["count"].sum() == lost
    (process,) = account.processes(target).values()
    told = process["account"]
    assert told["started"] == told["written"] + told["open"] + told["lost"]
    assert len(capture.unfinished()) == len(process["unfinished"]) <= told["open"]
    shutil.rmtree(target)
