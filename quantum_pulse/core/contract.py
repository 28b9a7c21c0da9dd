"""What the recorder asks of a core. Two exist: `_native` (C) and `pure` (Python), tested by the same tests.

A core holds the clock, the open spans of every execution context, and the rings. It knows operations as numbers;
names, files and threads of our own are the recorder's.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, NamedTuple, ParamSpec, Protocol, TypeVar

    from quantum_pulse.core import _native

    _P = ParamSpec("_P")
    _R = TypeVar("_R")
else:
    from quantum_pulse.tuples import NamedTuple

    Protocol = object


#: What a core does with a sample when its rings are full: lose it, give up the oldest ones, or wait for room.
DROP: Final = 0
OVERWRITE: Final = 1
WAIT: Final = 2

#: Types of the attributes that a probe declares.
TEXT: Final = 0
INTEGER: Final = 1
REAL: Final = 2
FLAG: Final = 3

#: How many different values of an attribute are kept apart, unless the recording says otherwise.
MOST_VALUES: Final = 1000

#: Causes of losses: there was no room, or later samples took it.
NO_ROOM: Final = 0
OVERWRITTEN: Final = 1
#: As the losses of a capture name them.
CAUSES: Final = {NO_ROOM: "rings full", OVERWRITTEN: "overwritten by later ones"}

#: When rings are more than half full, a thread that takes a segment pauses: next to nothing at first, so long when they
#: are full, in ns. Where more than BRAKE_THREADS record, each pauses longer in proportion, because the others go on
#: meanwhile, but never longer than LONGEST_BRAKE_NS. Only in rings of BRAKE_SEGMENTS or more, and while somebody makes
#: room.
BRAKE_NS: Final = 4_000_000
BRAKE_THREADS: Final = 4
LONGEST_BRAKE_NS: Final = 50_000_000
LONGEST_BRAKING_NS: Final = 2_000_000_000
BRAKE_SEGMENTS: Final = 64

#: How long a thread waits for room, in ns. If it was in vain, nobody waits until there is room again.
LONGEST_WAIT_NS: Final = 5_000_000_000


class Loss(NamedTuple):
    """Samples that are lost, `samples` of them between two clock readings (ns). Thread 0: threads that have ended."""

    operation: int
    thread: int
    samples: int
    first_ns: int
    last_ns: int
    cause: int


class Progress(NamedTuple):
    """How far the agent is, as the ring's header says.

    `answered` is the number of the last flush that is done; `finished` whether everything is in parts after the end;
    `drained` how many samples are in parts; `seen_ns` when the agent last looked, on the core's clock; `lost` how many
    samples were lost; `failure` why nothing can be written at the moment, empty where nothing is wrong.
    """

    answered: int
    finished: bool
    drained: int
    seen_ns: int
    lost: int
    failure: str


class Account(NamedTuple):
    """Per operation and thread: `started` = rows committed + still open + `lost`.

    An operation and thread may have several, which add up; numbers in one may be negative. Thread 0 is for
    threads that have ended.
    """

    operation: int
    thread: int
    started: int
    committed: int
    lost: int


class Core(Protocol):
    """One per process. All calls but the probes' own come from the recorder, one at a time."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a constant of the module
        """Which core it is, "native" or "python"."""

    @property
    def Probe(self) -> type[_native.Probe]:  # noqa: N802 - a class of the module
        """A place in a program that is timed: a context manager that can be entered many times at once.

        One of `probe_every` calls is recorded, at random, and its weight represents all of them. With `probe_detail`
        none is in production. `probe_cpu_time`: with the CPU time of the thread. `probe_attributes` is set, after
        `probe_id`, to a tuple of (name, type, dictionary of values and their texts or None, whether it may be None).

        Calling it with one function gives ``probe._decorated(function, probe)``. Calling it with keyword arguments
        gives them to attributes: a context manager for one block at a time or many, which is called with one function
        in the same way. A name that is not declared, or a value of another type, is refused: see `set_refusal`.
        """

    @property
    def Block(self) -> type[_native.Block]:  # noqa: N802 - a class of the module
        """``Block(probe)`` is a block that is open from now on, and an object: what no ``with`` can enclose.

        `end`, in whatever context or thread, records it, and a second time does nothing. What begins after that is not
        inside of it, also in tasks that were created while it was open. `become` makes it a block of another probe, as
        if it had always been one, without the attributes that it had. `annotate` describes it as the function of that
        name does the innermost one. A block that is given up is ended with GeneratorExit. One thread at a time uses it.
        """

    def annotate(self, *, error: str | BaseException | None = None, **attributes: _native.AttributeValue) -> None:
        """Say what is known of the innermost open block of this execution context.

        Parameters
        ----------
        error
            What failed, as ``"http 502"``, or an exception, whose type is named. The call then counts as failed,
            whether or not an exception leaves the block. None takes it back.
        **attributes
            Values of attributes that the block's operation declares. Those given before are replaced.

        Raises
        ------
        TypeError
            For an attribute that the operation does not declare, or a value of another type.

        Notes
        -----
        Where no block is open, and where nothing is recorded, it does nothing.
        """

    def set_refusal(self, function: Callable[[int, str, object], None], /) -> None:
        """What is called with the number of a probe, a name and a value, and raises, where an attribute is refused."""

    def times_cpu(self) -> bool:
        """Whether the CPU time of all blocks is recorded."""

    def cpu_now(self) -> int:
        """CPU time of this thread, in ns."""

    def now(self) -> int:
        """Nanoseconds on the monotonic clock that samples are taken with."""

    def clock(self) -> str:
        """What readings come from: "monotonic" is CLOCK_MONOTONIC itself, "counter" the processor's time-stamp counter,
        which is set by that every millisecond at least, and cheaper to read."""

    def start(
        self,
        ring_path: str | bytes,
        budget_bytes: int,
        wake_fd: int = -1,
        on_full: int = DROP,
        production: bool = False,
        reserve: int = 1,
        on_stall: Callable[[], object] | None = None,
        cpu_time: bool = False,
        most_values: int = MOST_VALUES,
    ) -> None:
        """Create the ring file and begin to record. Raises OSError when there is no room for it.

        A byte is written to `wake_fd`, which must not block, when it is time to drain: half of the rings, or
        schema.WAKE_SEGMENTS of them, are in use; with OVERWRITE never. `reserve` is how many segments have memory from
        the beginning. `on_stall` is called, now and then, where the rings are full and the agent has not looked for a
        second. With `cpu_time` that of all blocks is recorded. Of the texts of an attribute, and of the names of
        errors, `most_values` are kept apart; the others have the number schema.OTHER_TEXT.
        """

    def stop(self) -> None:
        """Record no more. What the rings hold can still be drained."""

    def close(self) -> None:
        """Give up the rings and the mapping. The file is the agent's to delete."""

    def forget(self) -> None:
        """In a forked child: let go of the parent's rings without touching them."""

    def ask(self, stopped: bool = False, /) -> int:
        """Ask the agent to write everything that has finished; `stopped`: no row will follow. Returns the number that
        `Progress.answered` reaches when it is done."""

    def progress(self) -> Progress:
        """How far the agent is."""

    def watch(self, probe_id: int, limit_ns: int, on_error: bool) -> None:
        """Look out for samples of a probe that are longer than `limit_ns` (0: of any length) or, with `on_error`, that
        carry an error: they are noted in the ring's header, and a byte is written to `wake_fd`."""

    def losses(self) -> list[Loss]:
        """Losses since `start`."""

    def account(self) -> list[Account]:
        """Totals since `start`."""

    def add(
        self,
        probe: _native.Probe | _native.Attributed,
        start_ns: int,
        duration_ns: int,
        error: type[BaseException] | str | None,
        cpu_ns: int | None = None,
    ) -> None:
        """A sample of `probe` that was measured elsewhere with `now`: a child of what is innermost here."""

    def note_collection(self, phase: str, info: dict[str, int], /) -> None:
        """For ``gc.callbacks``: record a garbage collection as a row among the samples."""

    def plain_attributes(self, metaclass: type) -> None:
        """Make attributes of the classes of `metaclass` as cheap as those of any class, if that can be done."""

    def timed(self, probe: _native.Probe | _native.Attributed, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """A callable that runs `function` inside `probe`."""

    def fence(self) -> None:
        """Order all reads and writes before the call and after it, as other processes see them."""

    def launch(self, arguments: tuple[bytes, ...], environment: tuple[bytes, ...], /) -> None:
        """Start a program that is nobody's child, in a session of its own and without our descriptors.

        Raises OSError. The first of `arguments` is the path of the program.
        """
