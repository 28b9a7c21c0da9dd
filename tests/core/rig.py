"""A core under test: what it has recorded, and ways to make it record."""

import contextlib
import importlib
import importlib.util
import os
import sysconfig
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from quantum_pulse import schema
from quantum_pulse.rings import segments, slots
from quantum_pulse.rings.ring import Ring

MODULES = {"native": "quantum_pulse.core._native", "python": "quantum_pulse.core.pure"}
#: Built without the interpreter lock, whether or not that is on.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
HAS_NATIVE = importlib.util.find_spec(MODULES["native"]) is not None
ONE_SEGMENT = schema.RING_HEADER_BYTES + schema.SEGMENT_BYTES
ROOMY = schema.RING_HEADER_BYTES + 64 * schema.SEGMENT_BYTES


class Row(NamedTuple):
    """A sample as `drain` hands it out."""

    start: int
    duration: int
    span: int
    parent: int
    task: int
    operation: int
    error: int
    weight: int
    thread: int

    @property
    def end(self):
        return self.start + self.duration


class Rig:
    """A core with a ring file, and what it has told us so far."""

    def __init__(self, name, folder):
        self.core = importlib.import_module(MODULES[name])
        self.folder = Path(folder)
        self.ring = self.folder / "none"
        self.agent = None  # its side of the ring
        self.rows = []
        self.collections = []  # rows of garbage collections, which are in no account
        self.may_tell_less = False  # than the account knows, in the slots
        self._probes = {}
        self._recordings = 0

    def start(self, budget=ROOMY, wake_fd=-1, **options):
        self._detach()
        self._recordings += 1
        self.ring = self.folder / f"{self._recordings}.ring"
        self.rows = []
        self.collections = []
        self.core.start(str(self.ring), budget, wake_fd, **options)
        self.agent = Ring(self.ring, self.core.fence)
        return self

    @property
    def errors(self):
        """Names of error types by their numbers."""
        return dict(enumerate(self.agent.texts()))

    def probe(self, number):
        """The probe with this number: always the same object."""
        if number not in self._probes:

            class Probe(self.core.Probe):
                pass

            self._probes[number] = Probe()
            self._probes[number].probe_id = number
        return self._probes[number]

    def drain(self, release=True, most=1 << 30):
        """The rows since the last call, as the agent takes them."""
        batch, collections = self.agent.drain(most).split_collections()
        if release:
            self.agent.release()
        found, others = (
            [Row(*values) for values in zip(*(one.columns[name].tolist() for name in Row._fields), strict=True)]
            for one in (batch, collections)
        )
        self.rows += found
        self.collections += others
        return found

    def error(self, row):
        return self.errors[row.error]

    def totals(self):
        """Sums of the account: started, committed, lost."""
        rows = self.core.account()
        return sum(row.started for row in rows), sum(row.committed for row in rows), sum(row.lost for row in rows)

    def slots(self):
        """What the slots in the ring file say: open blocks and lost samples by operation and thread, and how many slots
        are used of how many."""
        file = os.open(self.ring, os.O_RDONLY)
        try:
            layout = segments.Layout(file, self.agent.limit, self.agent["used"], overwrites=False)
            with_slots = segments.with_slots(layout)
            found = slots.read(file, with_slots)
        finally:
            os.close(file)
        ended = {row.span for row in self.rows}  # an interrupt may come before it is told that they are not open
        opened = Counter(
            (int(row["operation"]), int(row["thread"])) for row in found.open if int(row["span"]) not in ended
        )
        lost = Counter()
        for row in found.lost:
            lost[int(row["operation"]), int(row["thread"])] += int(row["samples"])
        in_page = (schema.FIRST_SLOTS_END - schema.FIRST_SLOTS_OFFSET) // schema.SLOT_BYTES
        in_segment = (schema.SEGMENT_BYTES - schema.SLOTS_OFFSET) // schema.SLOT_BYTES
        assert found.nonsense == 0
        return opened, lost, len(found.open) + len(found.lost), in_page + in_segment * len(with_slots)

    def check_slots(self):
        """Whoever reads the file knows what the account knows, as far as there was room to tell."""
        opened, lost, used, room = self.slots()
        left_open, really_lost = Counter(), Counter()
        for row in self.core.account():
            left_open[row.operation, row.thread] += row.started - row.committed - row.lost
            really_lost[row.operation, row.thread] += row.lost
        for told, counted in ((opened, left_open), (lost, really_lost)):
            if any(thread == 0 for _, thread in counted):  # some threads are added up
                told, counted = (
                    sum((Counter({key[0]: n}) for key, n in one.items()), Counter()) for one in (told, counted)
                )
            assert told <= counted
            assert used == room or self.may_tell_less or told == +counted

    def close(self):
        try:
            if self.agent is not None:
                with contextlib.suppress(RuntimeError):  # it is not in use
                    self.core.stop()
                    self.check_slots()
        finally:
            self.core.close()
            self._detach()

    def _detach(self):
        agent, self.agent = self.agent, None
        if agent is not None:
            agent.close()


def by_operation(rows):
    found = {}
    for row in rows:
        found.setdefault(row.operation, []).append(row)
    return found


def in_thread(function, *args):
    """Run `function` in a thread of its own and hand on its result or exception."""
    result, failures = [], []

    def run():
        try:
            result.append(function(*args))
        except BaseException as error:  # noqa: BLE001 - handed on below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return result[0]


def nested(rig, *operations):
    with contextlib.ExitStack() as stack:
        for operation in operations:
            stack.enter_context(rig.probe(operation))


def stepping(rig, operation, steps=2):
    with rig.probe(operation):
        for step in range(steps):
            with rig.probe(operation + 1):
                pass
            yield step
