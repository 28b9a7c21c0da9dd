"""Killed at each step: by an exception in place of a call of the operating system, and by SIGKILL."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import quantum_pulse as qp
from quantum_pulse import directories
from quantum_pulse.agent import compaction
from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.keep import parse
from tests.agent.captures import EPOCH, HOUR, MINUTE, SECOND, Maker, columns, names

#: Every so many calls are tried; all of them with ``STRIDE=1 pytest tests/agent``.
STRIDE = int(os.environ.get("STRIDE", 3))
STEPS = ("open", "mkdir", "unlink", "replace", "fsync", "scandir", "fstat")


class Killed(BaseException):
    """Nothing catches it, as nothing runs in a process that was killed."""


class Faulty:
    """`os`, of which the call numbered `fails` and all after it raise `error`."""

    def __init__(self, fails, error):
        self.calls = 0
        self._fails = fails
        self._error = error

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in STEPS:
            return real

        def call(*args, **options):
            self.calls += 1
            if self.calls >= self._fails and (name != "unlink" or self._error is Killed):
                raise self._error
            return real(*args, **options)

        return call


@pytest.fixture
def template(tmp_path, monkeypatch):
    """A capture of which much is to be done: parts, process files, rollup files to merge and to make coarser."""
    monkeypatch.setattr(compaction, "FAN_IN", 3)
    monkeypatch.setattr(compaction, "LARGEST_BYTES", 60_000)
    maker = Maker(tmp_path / "template")
    own = Expiry(maker.path, parse("2h"), lambda _: True, "here")
    for hour in range(8):
        recording = f"1-{hour // 3:04x}"
        maker.samples(recording, 2 * hour + 1, columns(120, hour * HOUR, 20 * SECOND, hour))
        maker.metrics(recording, 2 * hour + 1, [hour * HOUR, hour * HOUR + SECOND])
    # What a merge left that was killed: a source which the larger part names.
    again = columns(60, 3 * HOUR + MINUTE, SECOND, 9)
    maker.samples("1-0001", 90, again, merged=["1-0001-000080.parquet"])
    for recording in range(3):
        maker.process(f"1-{recording:04x}", recording * 3 * HOUR, recording * 3 * HOUR + 3 * HOUR)
    maker.samples("1-0001", 80, again)
    for hour in (3, 4):
        own.run(EPOCH + hour * HOUR)
    return maker.path


def expire(path):
    Expiry(path, parse("1h"), lambda _: True, "here").run(EPOCH + 7 * HOUR)


def seen(path):
    """All that must not change."""
    capture = qp.open(path)
    losses = capture.losses()
    timeline = capture.timeline("1h")[["count", "errors", "total_us", "min_us", "max_us"]]
    return capture.stats(approximate=True), timeline, len(losses)


def check(path, wanted):
    for found, before in zip(seen(path), wanted, strict=True):
        if isinstance(before, int):
            assert found == before
        else:
            pd.testing.assert_frame_equal(found, before)


@pytest.mark.parametrize("error", [Killed, OSError("injected")])
def test_a_run_that_is_killed_anywhere_counts_nothing_twice(template, tmp_path, monkeypatch, error):
    wanted = seen(template)
    assert wanted[2] == 0

    def run(path, fails):
        faulty = Faulty(fails, error)
        shutil.copytree(template, path)
        monkeypatch.setattr(directories, "os", faulty)
        try:
            expire(path)
        finally:
            monkeypatch.setattr(directories, "os", os)
        return faulty.calls

    whole = tmp_path / "whole"
    calls = run(whole, 1 << 30)
    ends = listed(whole)
    check(whole, wanted)
    assert calls > 60
    for fails in range(1, calls + 1, STRIDE if error is Killed else 4 * STRIDE):
        path = tmp_path / f"killed-{fails}"
        with pytest.raises((Killed, OSError)):
            run(path, fails)
        capture = qp.open(path)
        pd.testing.assert_frame_equal(capture.stats(approximate=True), wanted[0])
        assert capture.losses().empty
        expire(path)
        assert listed(path) == ends
        pd.testing.assert_frame_equal(qp.open(path).stats(approximate=True), wanted[0])
        if fails % 10 == 0:
            check(path, wanted)
        shutil.rmtree(path)


def listed(path):
    """The files of a capture, but for how many those of rollups are, and what their numbers are."""
    found = sorted(str(file.relative_to(path)) for file in path.rglob("*"))
    return [name for name in found if not name.startswith("rollups/here")]


CHILD = """
import sys, pathlib, time
from quantum_pulse.agent import compaction
from quantum_pulse.agent.expiry import Expiry
from quantum_pulse.keep import parse

compaction.FAN_IN = 3
compaction.LARGEST_BYTES = 100_000
own = Expiry(pathlib.Path(sys.argv[1]), parse("1h"), lambda _: True, "here")
own.run(0)
print("ready", flush=True)
for now in range(int(sys.argv[2]), int(sys.argv[3]), 60 * 10**9):
    own.run(now)
    time.sleep(float(sys.argv[4]))
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_finishes_what_it_began(tmp_path):
    maker = Maker(tmp_path / "capture")
    for number in range(120):
        recording = f"1-{number // 10:04x}"
        maker.samples(recording, number, columns(60, number * MINUTE, SECOND, number))
        maker.metrics(recording, number, [number * MINUTE])
    for number in range(12):
        maker.process(f"1-{number:04x}", number * 10 * MINUTE, (number + 1) * 10 * MINUTE)
    wanted = qp.open(maker.path).stats(approximate=True)
    chance = random.Random(4)
    command = [sys.executable, "-c", CHILD, str(maker.path), str(EPOCH + HOUR), str(EPOCH + 5 * HOUR), "0"]
    killed = 0
    for _ in range(20):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.3))
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
        capture = qp.open(maker.path)
        pd.testing.assert_frame_equal(capture.stats(approximate=True), wanted)
        assert capture.losses().empty
        if killed == 6:
            break
    assert killed
    # Whoever opens the capture meanwhile sees every sample once.
    with subprocess.Popen([*command[:-1], "0.2"], stdout=subprocess.PIPE, text=True) as child:
        for _ in range(15):
            capture = qp.open(maker.path)
            pd.testing.assert_frame_equal(capture.stats(approximate=True), wanted)
            assert capture.losses().empty
        child.kill()
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "ready\ndone\n"
    capture = qp.open(maker.path)
    pd.testing.assert_frame_equal(capture.stats(approximate=True), wanted)
    assert capture.losses().empty
    assert names(maker.path / "samples") == names(maker.path / "metrics") == names(maker.path / "processes") == []
    assert not [name for name in names(maker.path / "rollups") if name.startswith(".")]
