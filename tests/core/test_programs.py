"""Random programs are recorded as they ran, by both cores."""

import asyncio
import contextlib
import contextvars
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.rig import HAS_NATIVE, Rig, in_thread

# A random program is a list of nodes: (kind, operation, inner program). What it should record is written down while it
# runs, from the shape of the program alone: that is the oracle of both cores.


class PlannedError(Exception):
    pass


class Interpreter:
    """Runs a program on a core. `expected`: [operation, index of the parent, error] in the order of entering."""

    def __init__(self, rig):
        self.rig = rig
        self.expected = []

    def run(self, program, parent):
        for kind, operation, inner in program:
            getattr(self, f"_{kind}")(operation, inner, parent)

    @contextlib.contextmanager
    def _noting(self, operation, parent):
        index = len(self.expected)
        self.expected.append([operation, parent, ""])
        try:
            yield index
        except BaseException as error:
            self.expected[index][2] = type(error).__name__
            raise

    def _span(self, operation, inner, parent):
        with self._noting(operation, parent) as index, self.rig.probe(operation):
            self.run(inner, index)

    def _timed(self, operation, inner, parent):
        with self._noting(operation, parent) as index:
            self.rig.core.timed(self.rig.probe(operation), self.run)(inner, index)

    def _fails(self, operation, inner, parent):
        with contextlib.suppress(PlannedError), self._noting(operation, parent) as index, self.rig.probe(operation):
            self.run(inner, index)
            raise PlannedError

    def _manager(self, operation, inner, parent):
        @contextlib.contextmanager
        def managed():
            with self._noting(operation, parent) as index, self.rig.probe(operation):
                yield index

        with managed() as index:
            self.run(inner, index)

    def _generator(self, operation, inner, parent, how="exhaust"):
        """The first half of `inner` runs inside, step by step; the second outside, in between."""
        half = len(inner) // 2

        def generator():
            with self._noting(operation, parent) as index, self.rig.probe(operation):
                for node in inner[:half]:
                    self.run([node], index)
                    yield
                yield

        suspended = generator()
        next(suspended)
        for node in inner[half:]:
            self.run([node], parent)
            next(suspended, None)
        if how == "exhaust":
            for _ in suspended:
                pass
        elif how == "thread":
            in_thread(list, suspended)
        del suspended  # and with it, where it still runs, the generator

    def _dropped(self, operation, inner, parent):
        self._generator(operation, inner, parent, "drop")

    def _moved(self, operation, inner, parent):
        self._generator(operation, inner, parent, "thread")

    def _thread(self, operation, inner, parent):  # noqa: ARG002 - a thread starts with nothing open
        def work():
            with self._noting(operation, None) as index, self.rig.probe(operation):
                self.run(inner, index)

        in_thread(work)

    def _copied(self, operation, inner, parent):
        contextvars.copy_context().run(self._span, operation, inner, parent)

    def _tasks(self, operation, inner, parent):
        async def task(node):
            await asyncio.sleep(0)
            with self._noting(operation, parent) as index, self.rig.probe(operation):
                await asyncio.sleep(0)
                self.run([node], index)
                await asyncio.sleep(0)

        async def main():
            await asyncio.gather(*(task(node) for node in inner))

        if asyncio._get_running_loop() is None:
            asyncio.run(main())


KINDS = ("span", "timed", "fails", "manager", "generator", "dropped", "moved", "thread", "copied", "tasks")
programs = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 3), inner), max_size=4),
    max_leaves=12,
)


def recorded(name, program):
    """What the core recorded of `program`, in the order of entering, beside what it should have."""
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(name, folder).start()
        try:
            interpreter = Interpreter(rig)
            interpreter.run(program, None)
            rows = sorted(rig.drain(), key=lambda row: row.span)
            index = {row.span: number for number, row in enumerate(rows)}
            found = [[row.operation, index.get(row.parent), rig.error(row)] for row in rows]
            assert all(row.parent == 0 or row.parent in index for row in rows)
            assert rig.totals() == (len(rows), len(rows), 0)
            return found, interpreter.expected
        finally:
            rig.close()


@given(programs)
@settings(deadline=None, derandomize=True, max_examples=150, database=None)
def test_random_programs_are_recorded_as_they_ran(program):
    """By both cores, which makes them the same; by the Python one alone where there is no other."""
    for name in ("python", "native") if HAS_NATIVE else ("python",):
        found, expected = recorded(name, program)
        assert found == expected, name
