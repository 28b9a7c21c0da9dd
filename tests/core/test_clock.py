"""The native core's clock is CLOCK_MONOTONIC to within a microsecond, also where it reads the processor's counter."""

import ctypes
import itertools
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.rig import HAS_NATIVE

CLOSE_NS = 1000
HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "quantum_pulse" / "core" / "native"
has_counter = pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("gcc") is None, reason="needs a time-stamp counter and a compiler"
)


def readings(core, seconds):
    """Each reading with those of CLOCK_MONOTONIC before and after it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        reading = core.now()
        yield before, reading, time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_agrees_with_clock_monotonic_from_several_threads(rig):
    rig.core.stop()
    wrong = []

    def look():
        latest = 0
        for turn, (before, reading, after) in enumerate(readings(rig.core, 1)):
            if not (before - CLOSE_NS <= reading <= after + CLOSE_NS and reading >= latest):
                wrong.append((before, reading, after, latest))
            latest = reading
            if turn % 1000 == 0:
                time.sleep(0.003)  # longer than anything is taken for known

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not HAS_NATIVE, reason="the native core was not built")
def test_the_counter_can_be_refused():
    code = "from quantum_pulse.core import core; print(core.clock(), core.now() > 0)"
    environment = {**os.environ, "QUANTUM_PULSE_CORE": "native", "QUANTUM_PULSE_CLOCK": "monotonic"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "monotonic True\n"


@pytest.mark.parametrize(
    ("variable", "choices"),
    [("QUANTUM_PULSE_CLOCK", "'counter' or 'monotonic'"), ("QUANTUM_PULSE_CORE", "'native' or 'python'")],
)
def test_a_variable_that_makes_no_sense_is_told_and_breaks_nothing(variable, choices):
    code = "from quantum_pulse.core import core; print(core.NAME, core.clock())"

    def run(value):
        environment = {**os.environ, variable: value}
        # Warnings are errors to some programs, and even these go on.
        command = [sys.executable, "-W", "error", "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    usual, wrong = run(""), run("sundial")
    assert wrong.stdout == usual.stdout
    assert usual.stderr == ""
    assert wrong.stderr == f"{variable} must be {choices}, not 'sundial'; it is left out of account\n"


class Machine:
    """A machine whose counter and clock do what the test says."""

    def __init__(self, library, rate):
        library.begin.argtypes = (ctypes.c_int64, ctypes.c_double)
        library.set_rate.argtypes = (ctypes.c_double,)
        library.pass_ns.argtypes = library.jump.argtypes = (ctypes.c_int64,)
        library.true_ns.restype = library.reading.restype = ctypes.c_int64
        library.clock_source.restype = ctypes.c_char_p
        self.library = library
        self.latest = 0
        library.begin(10**12, rate)

    def passes(self, ns):
        self.library.pass_ns(ns)

    def read(self, at_last=False):
        """How far a reading is from the time of the call, in ns: 0 where it is within."""
        before = self.library.true_ns()
        reading = self.library.reading(at_last)
        after = self.library.true_ns()
        assert reading >= self.latest, "time goes on"
        self.latest = reading
        return max(before - reading, reading - after, 0)

    @property
    def source(self):
        return self.library.clock_source()


@pytest.fixture(scope="module", params=["interpreter lock", "no interpreter lock"])
def built(request, tmp_path_factory):
    target = tmp_path_factory.mktemp("clock") / "clock.so"
    options = ["-DPy_GIL_DISABLED=1"] if request.param == "no interpreter lock" else []
    command = ["gcc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", *options, f"-I{NATIVE}", str(HERE / "clock_rig.c")]
    subprocess.run([*command, "-o", str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def new_machine(built):
    """Machines whose clocks know nothing of each other."""
    made = itertools.count()

    def new(rate):
        copy = built.with_name(f"{next(made)}.so")  # a library is loaded once under one name
        shutil.copy(built, copy)
        return Machine(ctypes.CDLL(str(copy)), rate)

    return new


@has_counter
@pytest.mark.parametrize("rate", [0.3, 1.0, 2.6, 5.1])
def test_slewing_is_followed(new_machine, rate):
    machine = new_machine(rate)
    worst = 0
    for slew in (0, 500e-6, -500e-6, 0, 20e-6):
        machine.library.set_rate(rate * (1 + slew))
        worst = max(worst, *(machine.read(turn % 2 == 1) for turn in range(100_000) if machine.passes(300) is None))
    assert worst <= CLOSE_NS
    assert machine.source == b"counter"


@has_counter
@settings(max_examples=30, deadline=None)
@given(
    waits=st.lists(
        st.tuples(st.integers(0, 10**11) | st.integers(0, 3_000_000), st.integers(1, 200), st.floats(-500e-6, 500e-6)),
        min_size=1,
        max_size=30,
    )
)
def test_whenever_it_is_read(new_machine, waits):
    machine = new_machine(2.6)
    for wait, reads, slew in waits:
        machine.library.set_rate(2.6 * (1 + slew))
        machine.passes(wait)
        for turn in range(reads):
            assert machine.read(turn % 2 == 1) <= CLOSE_NS
            machine.passes(wait % 7919)


@has_counter
def test_a_counter_that_jumps_is_given_up(new_machine):
    machine = new_machine(2.6)

    def work():
        return max(machine.read() for _ in range(10_000) if machine.passes(1000) is None)

    assert work() <= CLOSE_NS
    for by in (10**6, -(10**6), 10**9, -(10**9), 10**5, 10**6, 10**6, 10**6):
        machine.library.jump(by)
        for _ in range(2000):  # wrong for a millisecond at most
            machine.passes(1000)
            machine.library.reading(0)
        assert work() <= CLOSE_NS
    assert machine.source == b"monotonic"


@has_counter
def test_a_counter_that_stands_still(new_machine):
    machine = new_machine(0.0)
    assert max(machine.read() for _ in range(10_000) if machine.passes(1000) is None) <= CLOSE_NS
