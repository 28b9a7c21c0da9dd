"""Every file of a capture cut, zeroed, deleted or replaced: what is valid is read, what is not is named, nothing hangs.

``EXAMPLES=2000 pytest tests/faults/test_torn_files.py`` looks harder.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import quantum_pulse as qp
from quantum_pulse import schema
from quantum_pulse.agent.recover import recover
from tests import agents

FEW = 12
EXAMPLES = int(os.environ.get("EXAMPLES", FEW))

#: Segments that the rings have room for, where the first one is, and how long a ring is that was cut behind the third.
LIMIT = 64
BASE = schema.segments_at(LIMIT)
RING_BYTES = BASE + 3 * schema.SEGMENT_BYTES

CHILD = """
import gc, sys, time
import quantum_pulse as qp
from quantum_pulse.agent import agent, merging

class Torn(qp.Operation):
    A = qp.op("First", category="One", budget_us=1)
    B = qp.op("Second", category="Two")

def work(recorder, rounds):
    for _ in range(rounds):
        for number in range(50):
            try:
                with Torn.A, Torn.B:
                    if number % 10 == 0:
                        raise KeyError(number)
            except KeyError:
                pass
        gc.collect()
        time.sleep(0.02)
        recorder.flush()

merging.Merger._merge = lambda *_: None  # several parts of each table
agent.LONGEST_WAIT_S = 60.0              # which are written where it says so
budget_bytes = int(sys.argv[2])
with qp.record(sys.argv[1], metrics_interval_s=0.01, writer="thread", budget_bytes=budget_bytes) as recorder:
    work(recorder, 3)
recorder = qp.start(sys.argv[1], metrics_interval_s=0.01, writer="thread", budget_bytes=budget_bytes)
work(recorder, 2)
for number in range(700):
    with Torn.A, Torn.B:
        pass
print("ready", flush=True)
time.sleep(60)
"""

#: One of each kind: what it is, and how to find it. The first recording has ended, the second was killed.
KINDS = {
    "manifest": "capture.json",
    "process of a finished recording": "processes/*.json",
    "process of a killed recording": "processes/*.json",
    "samples of a finished recording": "samples/*.parquet",
    "samples of a killed recording": "samples/*.parquet",
    "metrics": "metrics/*.parquet",
    "events": "events/*.parquet",
    "ring": "rings/*/*.ring",
    "names": "rings/*/*.names",
}


class Left:
    """A capture with a finished recording and one that was killed, and what stands in it."""

    def __init__(self, path):
        self.path = path
        budget = schema.RING_HEADER_BYTES + LIMIT * schema.SEGMENT_BYTES
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(budget)], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        agents.move_rings_into(path)
        (ring,) = agents.rings(path)
        # Faster to copy as often as this; nothing but segments that were never used is cut off.
        os.truncate(ring, RING_BYTES)
        self.killed = ring.stem
        self.samples = qp.open(path).samples().set_index("span", drop=False).sort_index()
        assert len(self.samples) == 300 + 200 + 1400
        in_parts = {
            file: set(pq.read_table(file, columns=["span"])["span"].to_pylist()) for file in path.glob("samples/*")
        }
        in_ring = set(self.samples.index).difference(*in_parts.values())
        assert len(in_ring) == 1400
        self.spans = {**in_parts, ring: in_ring, ring.with_suffix(".names"): in_ring}

    def file(self, kind):
        """The file that `kind` of KINDS means, the last of several."""
        found = sorted(self.path.glob(KINDS[kind]))
        if "finished" in kind:
            found = [file for file in found if not file.name.startswith(self.killed)]
        elif "killed" in kind:
            found = [file for file in found if file.name.startswith(self.killed)]
        return found[-1]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    return Left(tmp_path_factory.mktemp("torn") / "capture")


def read_all(path):
    """All tables of a capture that may be damaged: samples and losses; None where it cannot be opened."""
    try:
        capture = qp.open(path)
        first = capture.stats()["count"].sum()
        samples = capture.samples()
        # Statistics read less of a part than samples do, so damage may be found only now.
        assert first >= len(samples) == (first if len(capture.losses()) == 0 else capture.stats()["count"].sum())
        capture.metrics()
        capture.events()
        capture.budgets()
        repr(capture)
        return samples, capture.losses()
    except qp.QuantumPulseError:
        return None


def check(left, path, damaged, *, is_named=True):
    """What is read is as it was, all that stands in other files is there, and the file `damaged` is named."""
    found = read_all(path)
    assert found is not None, "all other files are sound"
    samples, losses = found
    assert samples["span"].is_unique
    samples = samples.set_index("span", drop=False).sort_index()
    if damaged.suffix != ".ring":  # garbage in a row of a ring is only noticed where it makes no sense
        before = left.samples.loc[samples.index]
        # What was in the ring is dated by another pair of clocks once it is recovered.
        assert ((samples["start"] - before["start"]).abs() < pd.Timedelta(milliseconds=1)).all()
        samples, before = (table.drop(columns="start") for table in (samples, before))
        pd.testing.assert_frame_equal(samples, before, check_categorical=False)
    missing = set(left.samples.index).difference(samples.index)
    assert missing <= left.spans.get(damaged, set())
    causes = "\n".join(losses["cause"])
    if is_named or missing:
        named = (damaged.name, "its names", "of names", left.killed.partition("-")[0])
        assert any(name in causes for name in named), causes
    if missing and damaged.suffix == ".parquet":
        assert losses["count"].sum() >= len(missing) or damaged.name.startswith(left.killed)
    return causes


def damage_and_check(left, folder, damaged, damage, *, is_named=True):
    """Damage a copy of the capture, look at it, recover it, and look again."""
    target = folder / "damaged"
    shutil.copytree(left.path, target)
    try:
        damage(target / damaged.relative_to(left.path))
        check(left, target, damaged, is_named=is_named)
        recover(target)
        assert recover(target) == []
        assert not any(path.is_file() for path in target.glob("rings/**/*"))
        # What a process file of a killed recording said stands in its rings as well.
        check(left, target, damaged, is_named=is_named and damaged != left.file("process of a killed recording"))
    finally:
        shutil.rmtree(target)


# ---- the file is no longer a file ------------------------------------------------------------------------------------


def folder_instead(file):
    file.unlink()
    file.mkdir()
    (file / "something").write_text("of somebody")


def pipe_instead(file):
    file.unlink()
    os.mkfifo(file)


def loop_instead(file):
    file.unlink()
    file.symlink_to(file)


def socket_instead(file):
    file.unlink()
    here = Path.cwd()
    os.chdir(file.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(file.name)
    finally:
        os.chdir(here)


def unreadable(file):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    file.chmod(0)


def empty(file):
    file.write_bytes(b"")


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


def text(file):
    file.write_text("{}\n[]\n" * 100)


def other_json(file):
    file.write_text('{"format": [], "account": 7, "losses": {"a": 1}, "pid": "x", "operations": 1}')


DAMAGES = [Path.unlink, folder_instead, pipe_instead, loop_instead, unreadable, empty, zeroed, text, other_json]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_one_file_of_each_kind(left, tmp_path, damage):
    # All of them take a minute, so each run takes a part of them unless it is to look harder.
    turn = DAMAGES.index(damage)
    for kind in list(KINDS) if EXAMPLES > FEW else list(KINDS)[turn % 4 :: 4]:
        damage_and_check(left, tmp_path, left.file(kind), damage)


def test_a_socket(left, tmp_path):
    damage_and_check(left, tmp_path, left.file("metrics"), socket_instead)


@pytest.mark.parametrize("instead", ["nothing", "file"])
@pytest.mark.parametrize("folder", [*schema.RECORDED, schema.PROCESSES])
def test_a_folder_that_is_gone(left, tmp_path, folder, instead):
    target = tmp_path / "capture"
    shutil.copytree(left.path, target)
    shutil.rmtree(target / folder)
    if instead == "file":
        (target / folder).write_text("here")
    samples, losses = read_all(target)
    assert len(samples) == (1400 if folder == "samples" else 1900)
    assert any(cause.startswith(f"{folder} cannot be read") for cause in losses["cause"])


def test_all_files_at_once(left, tmp_path):
    for damage in (Path.unlink, empty, zeroed, pipe_instead):
        target = tmp_path / damage.__name__
        shutil.copytree(left.path, target)
        for file in [file for file in target.rglob("*") if file.is_file()]:
            damage(file)
        found = read_all(target)
        assert found is None or (len(found[0]) == 0 and len(found[1]) > 0)
        recover(target)
        read_all(target)


# ---- its bytes are others --------------------------------------------------------------------------------------------


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(KINDS)), st.floats(0, 1, exclude_max=True))
def test_cut(left, tmp_path, kind, share):
    file = left.file(kind)
    # A ring ends in room that was never used, and the last byte of a JSON file is the end of the line.
    cut = file.suffix == ".parquet"
    size = int((file.stat().st_size - 1) * share)
    damage_and_check(left, tmp_path, file, lambda path: os.truncate(path, size), is_named=cut)


@settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(KINDS)),
    share=st.floats(0, 1, exclude_max=True),
    length=st.integers(1, 8) | st.integers(1, 4000),
    seed=st.none() | st.integers(0, 2**32),
)
# The state of a segment, or all of its header, as if it had never been used.
@example(kind="ring", share=(BASE - 82) / RING_BYTES, length=83, seed=None)
@example(kind="ring", share=BASE / RING_BYTES, length=128, seed=None)
def test_overwritten(left, tmp_path, kind, share, length, seed):
    """With zeros, or with garbage."""
    file = left.file(kind)
    offset = int(file.stat().st_size * share)
    length = min(length, file.stat().st_size - offset)
    data = bytes(length) if seed is None else random.Random(seed).randbytes(length)

    def damage(path):
        with open(path, "r+b") as opened:
            opened.seek(offset)
            opened.write(data)

    try:
        damage_and_check(left, tmp_path, file, damage, is_named=False)
    except qp.QuantumPulseError:
        raise AssertionError("one bad file spoils the capture") from None


def test_a_part_of_a_newer_format(left, tmp_path):
    """A part that only a newer version can read is left out; a whole capture of a newer format is refused."""
    target = tmp_path / "capture"
    shutil.copytree(left.path, target)
    file = target / left.file("samples of a finished recording").relative_to(left.path)
    table = pq.read_table(file)
    metadata = dict(table.schema.metadata)
    key = schema.FOOTER_KEY.encode()
    metadata[key] = metadata[key].replace(b'"format":%d' % schema.FORMAT_VERSION, b'"format":9')
    del metadata[schema.FOOTER_CHECKSUM_KEY.encode()]
    pq.write_table(table.replace_schema_metadata(metadata), file)
    samples, losses = read_all(target)
    assert len(samples) == 1800
    assert "format 9" in losses["cause"].iloc[0]
    assert losses["count"].tolist() == [100]
    (target / "capture.json").write_text('{"format": 9}')
    with pytest.raises(qp.QuantumPulseError, match="format 9"):
        qp.open(target)
