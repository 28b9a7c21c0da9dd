"""How segments change hands, searched exhaustively: a model of the protocol, and all that may happen in it.

The model has one program and one agent, two or three segments of two rows, and the steps of the code in the order in
which it takes them: `segments.c` (take_segment, finish_segment, sweep, withdraw) for the program, `ring.py` (_look,
_claim, _copy, release) for the agent. A step reads or writes one word that both can see. Either may come next at any
moment, may be killed, and a part may fail to be written. An agent that was killed is followed by another, which
knows what is in parts; of a program that was killed, its ring is read as `contents.py` reads it.

What no model of this kind has is memory that shows the steps of one in another order to the other: see the fences.

A model proves little unless it finds what is wrong: variants of it have one flaw each, and must be refused.
"""

import gc
from collections import deque
from typing import NamedTuple

import pytest

from quantum_pulse.schema import FREE, FULL, OWNED

ROWS = 2
#: A row of details has this and the number of its sample.
DETAILS = 100


class Program(NamedTuple):
    """The program's side. Its threads take turns, as the interpreter lock has them."""

    step: str
    owned: tuple[int, ...]  # segment by thread; -1: none. Of a thread that has ended, another takes the place
    free: tuple[int, ...]
    full: tuple[int, ...]  # the first one became full first
    sequence: int
    swept: int
    row: int  # the next one to record
    thread: int = 0  # at work
    place: int = 0  # among the full ones
    begin: int = 0
    is_ending: bool = False
    endings: int = 0  # threads that may still end before they have filled a segment


class Agent(NamedTuple):
    """The agent's side. What it has read comes as tuples by segment."""

    step: str
    place: int = 0
    state: tuple[int, ...] = ()
    sequence: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()
    written: tuple[int, ...] = ()
    again: tuple[int, ...] = ()
    pending: tuple[tuple[int, int, int], ...] = ()  # segment, sequence, first row
    copied: tuple[tuple[int, int, int], ...] = ()  # segment, sequence, end
    left: tuple[int, ...] = ()
    right: tuple[int, ...] = ()
    end: int = 0
    is_last: bool = False  # the program had stopped before this round began
    known: tuple[int, ...] = ()  # rows that another agent has written
    inherited: tuple[int, ...] = ()  # segments that another agent had claimed
    deaths: int = 0


class World(NamedTuple):
    """Memory that both see, then what each has in mind, then what became of the rows."""

    state: tuple[int, ...]
    sequence: tuple[int, ...]
    written: tuple[int, ...]
    left: tuple[tuple[int, ...], ...]  # a row has two columns here
    right: tuple[tuple[int, ...], ...]
    drained: tuple[tuple[int, int], ...]  # sequence and rows
    claimed: tuple[int, ...]
    released: int
    program: Program
    agent: Agent
    parts: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()


class FlawError(Exception):
    """Something that must never happen."""


def changed(values, place, value):
    return (*values[:place], value, *values[place + 1 :])


class Model:
    """All worlds that come of one."""

    def __init__(
        self, *, overwrites, segments=2, rows=5, threads=1, endings=1, kills="", fails=False, wide=(), flaw=""
    ):
        self.overwrites = overwrites
        self.segments = range(segments)
        self.rows = rows
        self.kills = kills
        self.fails = fails
        self.wide = wide  # samples with a row of details behind their own, which is shown together with it
        self.flaw = flaw
        self.untold = set()  # steps of a killed program that leave rows in no account
        none = tuple(0 for _ in self.segments)
        empty = tuple((0,) * ROWS for _ in self.segments)
        self.first = World(
            state=none,
            sequence=none,
            written=none,
            left=empty,
            right=empty,
            drained=tuple((0, 0) for _ in self.segments),
            claimed=none,
            released=0,
            program=Program("idle", (-1,) * threads, tuple(reversed(self.segments)), (), 0, 0, 1, endings=endings),
            agent=Agent("idle"),
        )

    def search(self):
        """Go through all worlds. Returns how many there are."""
        numbers = {self.first: 0}
        worlds = [self.first]
        before = [[]]
        ends = []
        for number, world in enumerate(worlds):  # it grows meanwhile
            try:
                self.check(world)
                following = self.following(world)
                killed = self.killed(world)
            except FlawError as error:
                raise FlawError(f"{error}\n{self.story(world, numbers, before, worlds)}") from None
            if self.is_end(world):
                ends.append(number)
            for one in (*following, *killed):
                known = numbers.get(one)
                if known is None:
                    known = numbers[one] = len(worlds)
                    worlds.append(one)
                    before.append([])
                before[known].append(number)
        # From everywhere there is a way to an end. Nobody is killed on it: whoever is, is replaced.
        reached = bytearray(len(worlds))
        waiting = deque(ends)
        for number in ends:
            reached[number] = 1
        while waiting:
            number = waiting.popleft()
            for earlier in before[number]:
                if not reached[earlier] and self.deaths(worlds[number]) == self.deaths(worlds[earlier]):
                    reached[earlier] = 1
                    waiting.append(earlier)
        if not all(reached):
            world = worlds[reached.index(0)]
            raise FlawError(f"it never ends\n{self.story(world, numbers, before, worlds)}")
        return len(worlds)

    @staticmethod
    def deaths(world):
        return world.agent.deaths, world.program.step == "dead"

    @staticmethod
    def story(world, numbers, before, worlds):
        """The steps that led there, by the way that was found first."""
        steps = []
        number = numbers[world]
        while True:
            world = worlds[number]
            steps.append(f"program {world.program.step:10} agent {world.agent.step:10} {world[:8]}")
            if not number:
                return "\n".join(reversed(steps))
            number = before[number][0]

    def is_end(self, world):
        if world.program.step == "dead":
            return world.agent.step == "idle"
        return world.agent.step == "done"

    def following(self, world):
        """The worlds that may come next while both live."""
        found = []
        if world.program.step not in ("stopped", "dead"):
            found += getattr(self, "program_" + world.program.step)(world, world.program)
        if world.agent.step != "done" and not (world.program.step == "dead" and world.agent.step == "idle"):
            found += getattr(self, "agent_" + world.agent.step)(world, world.agent)
        return found

    def killed(self, world):
        """The worlds in which one of them has just been killed."""
        found = []
        if "program" in self.kills and world.program.step not in ("stopped", "dead"):
            self.note_untold(world)
            found.append(world._replace(program=world.program._replace(step="dead")))
        if "agent" in self.kills and world.agent.deaths == 0 and world.agent.step != "done":
            found.append(world._replace(agent=Agent("start", known=world.parts, deaths=1)))
        return found

    # ---- the program ------------------------------------------------------------------------------------------------

    def program_idle(self, world, own):
        found = []
        for thread, segment in enumerate(own.owned):
            if own.row <= self.rows:
                found += self.record(world, own._replace(thread=thread))
            if segment >= 0 and own.endings:
                found.append(world._replace(program=own._replace(step="finish", thread=thread, is_ending=True)))
        if own.row > self.rows:
            found.append(world._replace(program=own._replace(step="stopped")))
        return found

    def record(self, world, own):
        segment = own.owned[own.thread]
        if segment >= 0 and world.written[segment] + self.width(own.row) <= ROWS:
            return [world._replace(program=own._replace(step="left"))]
        if segment >= 0:
            return [world._replace(program=own._replace(step="finish"))]
        return self.make_room(world, own)

    def width(self, row):
        """How many rows a sample takes."""
        return 1 + (row in self.wide)

    def make_room(self, world, own):
        return [world._replace(program=own._replace(step="take" if own.free else "sweep", place=0))]

    def program_finish(self, world, own):
        segment = own.owned[own.thread]
        return [world._replace(state=changed(world.state, segment, FULL), program=own._replace(step="finished"))]

    def program_finished(self, world, own):
        segment = own.owned[own.thread]
        owned = changed(own.owned, own.thread, -1)
        if self.is_drained(world, segment) and self.flaw != "nobody looks at what is full":
            own = own._replace(owned=owned, free=(*own.free, segment))
        else:
            own = own._replace(owned=owned, full=(*own.full, segment))
        if own.is_ending:
            return [
                world._replace(program=own._replace(step="idle", thread=0, is_ending=False, endings=own.endings - 1))
            ]
        return self.make_room(world, own)

    @staticmethod
    def is_drained(world, segment):
        return world.drained[segment] == (world.sequence[segment], world.written[segment])

    def program_sweep(self, world, own):
        if world.released == own.swept or not own.full:
            return self.sweep_is_over(world, own._replace(swept=world.released))
        return [world._replace(program=own._replace(step="look", swept=world.released, place=0))]

    def program_look(self, world, own):
        segment = own.full[own.place]
        if self.is_drained(world, segment):
            full = own.full[: own.place] + own.full[own.place + 1 :]
            own = own._replace(full=full, free=(*own.free, segment))
        else:
            own = own._replace(place=own.place + 1)
        if own.place < len(own.full):
            return [world._replace(program=own)]
        return self.sweep_is_over(world, own)

    def sweep_is_over(self, world, own):
        if own.free:
            return [world._replace(program=own._replace(step="take", place=0))]
        if self.overwrites and own.full:
            return [world._replace(program=own._replace(step="withdraw", place=0))]
        return [world._replace(program=own._replace(step="lose", place=0))]

    def program_withdraw(self, world, own):
        segment = own.full[own.place]
        # Its own number stays in mind: it is the one that it took the segment with.
        own = own._replace(
            step="claim" if self.flaw != "claims are not looked at" else "begin", begin=world.sequence[segment]
        )
        return [world._replace(sequence=changed(world.sequence, segment, 0), program=own)]

    def program_claim(self, world, own):
        is_claimed = world.claimed[own.full[own.place]] == own.begin
        return [world._replace(program=own._replace(step="restore" if is_claimed else "begin"))]

    def program_restore(self, world, own):
        sequence = changed(world.sequence, own.full[own.place], own.begin)
        own = own._replace(begin=0, place=own.place + 1)
        step = "withdraw" if own.place < len(own.full) else "lose"
        return [world._replace(sequence=sequence, program=own._replace(step=step))]

    def program_begin(self, world, own):
        sequence, rows = world.drained[own.full[own.place]]
        return [world._replace(program=own._replace(step="give", begin=rows if sequence == own.begin else 0))]

    def program_give(self, world, own):
        return [
            world._replace(state=changed(world.state, own.full[own.place], FREE), program=own._replace(step="count"))
        ]

    def program_count(self, world, own):
        segment = own.full[own.place]
        lost = world.left[segment][own.begin : world.written[segment]]
        full = own.full[: own.place] + own.full[own.place + 1 :]
        own = own._replace(step="take", full=full, free=(*own.free, segment), place=0, begin=0)
        lost = tuple(row for row in lost if row < DETAILS)  # of samples
        return [world._replace(lost=tuple(sorted(world.lost + lost)), program=own)]

    def program_take(self, world, own):
        segment = own.free[-1]
        own = own._replace(
            step="empty", free=own.free[:-1], owned=changed(own.owned, own.thread, segment), sequence=own.sequence + 1
        )
        if self.flaw == "sequence before rows":
            own = own._replace(step="number")
        return [world._replace(state=changed(world.state, segment, FREE), program=own)]

    def program_empty(self, world, own):
        written = changed(world.written, own.owned[own.thread], 0)
        step = "own" if self.flaw == "sequence before rows" else "number"
        return [world._replace(written=written, program=own._replace(step=step))]

    def program_number(self, world, own):
        sequence = changed(world.sequence, own.owned[own.thread], own.sequence)
        step = "empty" if self.flaw == "sequence before rows" else "own"
        return [world._replace(sequence=sequence, program=own._replace(step=step))]

    def program_own(self, world, own):
        return [
            world._replace(state=changed(world.state, own.owned[own.thread], OWNED), program=own._replace(step="left"))
        ]

    def program_left(self, world, own):
        segment = own.owned[own.thread]
        column = changed(world.left[segment], world.written[segment], own.row)
        step = "publish" if self.flaw == "rows that are not complete" else "right"
        return [world._replace(left=changed(world.left, segment, column), program=own._replace(step=step))]

    def program_right(self, world, own):
        segment = own.owned[own.thread]
        place = world.written[segment] - (self.flaw == "rows that are not complete")
        column = changed(world.right[segment], place, own.row - (self.flaw == "rows that are not complete"))
        world = world._replace(right=changed(world.right, segment, column))
        if self.flaw == "rows that are not complete":
            return [world._replace(program=own._replace(step="idle", thread=0))]
        is_wide = self.width(own.row) > 1
        step = "publish" if not is_wide or self.flaw == "details later" else "details"
        return [world._replace(program=own._replace(step=step))]

    def program_details(self, world, own):
        """Both columns at once: that rows are torn is what samples show."""
        segment = own.owned[own.thread]
        place = world.written[segment] + (self.flaw != "details later")
        left, right = (changed(column[segment], place, DETAILS + own.row) for column in (world.left, world.right))
        world = world._replace(left=changed(world.left, segment, left), right=changed(world.right, segment, right))
        if self.flaw != "details later":
            return [world._replace(program=own._replace(step="publish"))]
        written = changed(world.written, segment, world.written[segment] + 1)
        return [world._replace(written=written, program=own._replace(step="idle", row=own.row + 1, thread=0))]

    def program_publish(self, world, own):
        segment = own.owned[own.thread]
        is_later = self.flaw == "details later" and self.width(own.row) > 1
        written = changed(world.written, segment, world.written[segment] + (1 if is_later else self.width(own.row)))
        if self.flaw == "rows that are not complete":
            return [world._replace(written=written, program=own._replace(step="right", row=own.row + 1))]
        if is_later:
            return [world._replace(written=written, program=own._replace(step="details"))]
        return [world._replace(written=written, program=own._replace(step="idle", row=own.row + 1, thread=0))]

    def program_lose(self, world, own):
        lost = tuple(sorted((*world.lost, own.row)))
        return [
            world._replace(lost=lost, program=own._replace(step="idle", row=own.row + 1, thread=0, place=0, begin=0))
        ]

    # ---- the agent --------------------------------------------------------------------------------------------------

    def agent_start(self, world, own):
        if self.flaw == "claims end with their agent":
            claimed = changed(world.claimed, own.place, 0)
            step, place = ("start", own.place + 1) if own.place + 1 < len(self.segments) else ("tell", 0)
            return [world._replace(claimed=claimed, agent=own._replace(step=step, place=place))]
        own = own._replace(inherited=tuple(number for number in self.segments if world.claimed[number]))
        if self.flaw == "a new agent says nothing":
            return [world._replace(agent=own._replace(step="idle"))]
        return self.agent_tell(world, own)

    def agent_tell(self, world, own):
        return [world._replace(released=world.released + 1, agent=own._replace(step="idle"))]

    def agent_idle(self, world, own):
        return [world._replace(agent=own._replace(step="state", is_last=world.program.step == "stopped"))]

    def reading(self, world, own, name, values, following):
        """Read a field of the next segment; `following` once all of them are read."""
        read = (*getattr(own, name), values[len(getattr(own, name))])
        own = own._replace(**{name: read})
        return [world._replace(agent=own._replace(step=following) if len(read) == len(self.segments) else own)]

    def agent_state(self, world, own):
        return self.reading(world, own, "state", world.state, "sequence")

    def agent_sequence(self, world, own):
        (following,) = self.reading(world, own, "sequence", world.sequence, "written")
        own = following.agent
        if own.step == "sequence":
            return [following]
        if self.flaw == "begins of another moment":
            return [following._replace(agent=own._replace(step="begins"))]
        # These are the agent's own words.
        pairs = zip(world.drained, own.sequence, strict=True)
        begins = tuple(rows if drained == sequence else 0 for (drained, rows), sequence in pairs)
        return [following._replace(agent=own._replace(begins=begins))]

    def agent_begins(self, world, own):
        drained, rows = world.drained[len(own.begins)]
        values = changed(world.written, len(own.begins), rows if drained == world.sequence[len(own.begins)] else 0)
        return self.reading(world, own, "begins", values, "written")

    def agent_written(self, world, own):
        if self.flaw not in ("no second look", "begins of another moment"):
            return self.reading(world, own, "written", world.written, "again")
        (following,) = self.reading(world, own, "written", world.written, "all read")
        own = following.agent
        return [following] if own.step == "written" else self.all_read(world, own._replace(again=own.sequence))

    def agent_again(self, world, own):
        (following,) = self.reading(world, own, "again", world.sequence, "all read")
        return [following] if following.agent.step == "again" else self.all_read(world, following.agent)

    def all_read(self, world, own):
        pending = tuple(
            (number, own.sequence[number], own.begins[number])
            for number in sorted(self.segments, key=own.sequence.__getitem__)
            if own.state[number] in (OWNED, FULL)
            and own.sequence[number] == own.again[number] > 0
            and own.begins[number] < own.written[number] <= ROWS
        )
        is_at_work = any(
            own.state[number] in (OWNED, FULL) and not own.sequence[number] == own.again[number] > 0
            for number in own.inherited
        )
        own = own._replace(state=(), sequence=(), begins=(), written=(), again=(), pending=pending)
        if is_at_work:  # it finds that claim, or has not even seen one: it is known in a moment
            return [world._replace(agent=own._replace(step="state", pending=()))]
        stale = tuple(number for number in own.inherited if all(number != one for one, *_ in pending))
        return self.unclaim_stale(world, own, stale)

    def unclaim_stale(self, world, own, stale):
        if not stale:
            return self.next_segment(world, own._replace(place=0))
        return [
            world._replace(agent=own._replace(step="stale", inherited=(*stale, -1, *(set(own.inherited) - set(stale)))))
        ]

    def agent_stale(self, world, own):
        place = own.inherited.index(-1)
        claimed = changed(world.claimed, own.inherited[0], 0)
        if place > 1:
            return [world._replace(claimed=claimed, agent=own._replace(inherited=own.inherited[1:]))]
        return self.next_segment(world._replace(claimed=claimed), own._replace(inherited=own.inherited[2:]))

    def next_segment(self, world, own):
        if own.pending and self.overwrites and self.flaw == "look before the claim":
            return [world._replace(agent=own._replace(step="verify"))]
        if own.pending:
            has_claims = self.overwrites and self.flaw != "no claims"
            return [world._replace(agent=own._replace(step="claim" if has_claims else "end"))]
        if own.copied:
            return [world._replace(agent=own._replace(step="mark" if self.flaw == "marks before parts" else "part"))]
        return self.round_is_over(world, own._replace(known=()))

    def agent_claim(self, world, own):
        number, sequence, _ = own.pending[0]
        step = "end" if self.flaw == "look before the claim" else "verify"
        return [world._replace(claimed=changed(world.claimed, number, sequence), agent=own._replace(step=step))]

    def agent_verify(self, world, own):
        number, sequence, _ = own.pending[0]
        is_same = world.sequence[number] == sequence
        if number in own.inherited and world.sequence[number] == 0:
            return [world]  # as above
        if self.flaw == "look before the claim":
            own = own if is_same else own._replace(pending=own.pending[1:])
            return [world._replace(agent=own._replace(step="claim"))] if is_same else self.next_segment(world, own)
        return [world._replace(agent=own._replace(step="end" if is_same else "unclaim"))]

    def agent_unclaim(self, world, own):
        world = world._replace(claimed=changed(world.claimed, own.pending[0][0], 0))
        return self.next_segment(world, own._replace(pending=own.pending[1:]))

    def agent_end(self, world, own):
        number, _, begin = own.pending[0]
        own = own._replace(step="left", end=min(world.written[number], ROWS), place=begin)
        return [world._replace(agent=own)] if begin < own.end else self.segment_is_copied(world, own)

    def agent_left(self, world, own):
        own = own._replace(left=(*own.left, world.left[own.pending[0][0]][own.place]), place=own.place + 1)
        if own.place == own.end:
            own = own._replace(step="right", place=own.pending[0][2])
        return [world._replace(agent=own)]

    def agent_right(self, world, own):
        own = own._replace(right=(*own.right, world.right[own.pending[0][0]][own.place]), place=own.place + 1)
        return [world._replace(agent=own)] if own.place < own.end else self.segment_is_copied(world, own)

    def segment_is_copied(self, world, own):
        number, sequence, _ = own.pending[0]
        own = own._replace(pending=own.pending[1:], copied=(*own.copied, (number, sequence, own.end)), place=0, end=0)
        return self.next_segment(world, own)

    def agent_part(self, world, own):
        found = []
        if self.fails and not own.is_last:
            # The claims end with the next call of `drain`, which is when it is tried again.
            again = Agent("withdraw", copied=own.copied, known=own.known, inherited=own.inherited, deaths=own.deaths)
            found += self.withdraw(world, again)
        if own.left != own.right:
            raise FlawError(f"torn: {own.left} {own.right}")
        self.check_details(own.left)
        rows = tuple(row for row in own.left if row not in own.known)
        parts = tuple(sorted(world.parts + rows))
        own = own._replace(left=(), right=(), known=(), place=0, step="mark")
        world = world._replace(parts=parts)
        if self.flaw == "marks before parts":
            return [*found, *self.withdraw(world, own._replace(step="withdraw"))]
        return [*found, world._replace(agent=own)]

    def agent_mark(self, world, own):
        number, sequence, end = own.copied[own.place]
        drained = changed(world.drained, number, (sequence, end))
        own = own._replace(place=own.place + 1)
        if own.place == len(own.copied):
            own = own._replace(place=0, step="release")
        return [world._replace(drained=drained, agent=own)]

    def agent_release(self, world, own):
        world = world._replace(released=world.released + 1)
        inherited = tuple(number for number in own.inherited if all(number != one for one, *_ in own.copied))
        own = own._replace(step="part" if self.flaw == "marks before parts" else "withdraw", inherited=inherited)
        return [world._replace(agent=own)] if self.flaw == "marks before parts" else self.withdraw(world, own)

    def withdraw(self, world, own):
        """The claims end, but for those of another agent that are not through."""
        copied = tuple(one for one in own.copied if self.overwrites and one[0] not in own.inherited)
        if copied:
            return [world._replace(agent=own._replace(copied=copied))]
        return self.round_is_over(world, own)

    def agent_withdraw(self, world, own):
        world = world._replace(claimed=changed(world.claimed, own.copied[0][0], 0))
        return self.withdraw(world, own._replace(copied=own.copied[1:]))

    def round_is_over(self, world, own):
        step = "done" if own.is_last else "idle"
        return [world._replace(agent=Agent(step, known=own.known, inherited=own.inherited, deaths=own.deaths))]

    # ---- what must hold ---------------------------------------------------------------------------------------------

    def check(self, world):
        if len(set(world.parts)) < len(world.parts):
            raise FlawError(f"twice in parts: {world.parts}")
        if len(set(world.lost)) < len(world.lost):
            raise FlawError(f"lost twice: {world.lost}")
        if set(world.parts) & set(world.lost):
            raise FlawError(f"in parts {world.parts} and lost {world.lost}")
        own = world.program
        if own.step == "idle":
            held = sorted((*own.free, *own.full, *(segment for segment in own.owned if segment >= 0)))
            if held != [*self.segments]:
                raise FlawError(f"segments have gone astray: {held}")
            if world.agent.step == "idle" and own.swept == world.released:
                for segment in own.full:
                    if self.is_drained(world, segment):
                        raise FlawError(f"nobody will look at segment {segment}, which is free")
        samples = [row for row in world.parts if row < DETAILS]
        if world.agent.step == "done" and sorted([*samples, *world.lost]) != [*range(1, own.row)]:
            raise FlawError(f"in the end, parts have {world.parts}, and {world.lost} were lost")
        if own.step == "dead" and world.agent.step == "idle":
            self.read_contents(world)

    def check_details(self, rows):
        """Each sample that has details is followed by them, and nothing else is."""
        for place, row in enumerate(rows):
            following = rows[place + 1 : place + 2]
            if row < DETAILS and self.width(row) > 1 and following != (DETAILS + row,):
                raise FlawError(f"sample {row} is there without its details: {rows}")
            if row >= DETAILS and rows[:place][-1:] != (row - DETAILS,):
                raise FlawError(f"details without their sample: {rows}")

    def read_contents(self, world):
        """As `contents.read` does, and `Recording.finish`, which leaves out what is in parts. Returns what it finds."""
        found = []
        for number in self.segments:
            state, sequence, end = world.state[number], world.sequence[number], world.written[number]
            drained, rows = world.drained[number]
            begin = rows if drained == sequence else 0
            if state == FREE and sequence == 0:
                makes_sense = self.overwrites or world.left[number][0] == 0
            else:
                makes_sense = end in (0, begin) if state == FREE else begin <= end
            if not makes_sense:
                raise FlawError(f"segment {number} of a killed program makes no sense")
            if state != FREE:
                if world.left[number][begin:end] != world.right[number][begin:end]:
                    raise FlawError(f"segment {number} of a killed program has torn rows")
                self.check_details(world.left[number][begin:end])
                found += world.left[number][begin:end]
        found = [row for row in found if row not in world.parts]
        if len(set(found)) < len(found) or set(found) & set(world.lost):
            raise FlawError(f"a killed program has left {found}, and {world.lost} were lost")
        return found

    def note_untold(self, world):
        """What becomes of all rows that are complete, if the program is killed in this world."""
        own = world.program
        complete = set(range(1, own.row))
        told = {row for row in (*world.parts, *world.lost, *self.read_contents(world)) if row < DETAILS}
        if world.agent.step in ("part", "mark", "release") or world.agent.left:
            return  # it goes on, and is looked at when it is done
        if told - complete:
            raise FlawError(f"rows that were never complete: {told - complete}")
        if complete - told:
            segment = own.full[own.place] if own.place < len(own.full) else -1
            given_up = world.left[segment][own.begin : world.written[segment]]
            if complete - told != {row for row in given_up if row < DETAILS}:
                raise FlawError(f"a killed program has left no trace of {complete - told}")
            self.untold.add(own.step)


# ---- what is searched ------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_collections():
    """A search makes a million tuples without a cycle, through which the collector would go again and again."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 5, "endings": 1},
        {"rows": 3, "threads": 2},
        {"rows": 6, "endings": 0, "segments": 3},
        {"rows": 5, "endings": 0, "fails": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("overwrites", [False, True])
def test_both_live(overwrites, options):
    if overwrites:
        options = {**options, "rows": options["rows"] - (options.get("threads", 1) == 1)}
    assert Model(overwrites=overwrites, **options).search() > 1000


def test_the_program_is_killed():
    model = Model(overwrites=False, rows=4, kills="program")
    model.search()
    assert model.untold == set()


def test_the_program_is_killed_while_it_overwrites():
    """Once a segment is given up and before its rows are counted, nothing tells of them: as of blocks that are open."""
    model = Model(overwrites=True, rows=5, endings=0, kills="program")
    model.search()
    assert model.untold == {"count"}


WIDE = [(1, 3), (2,), (1, 2, 3, 4)]


@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("wide", WIDE, ids=str)
def test_samples_with_details(overwrites, wide):
    """A sample that does not fit with its details takes another segment, and leaves a row of the one before unused."""
    assert Model(overwrites=overwrites, rows=3, wide=wide, endings=0).search() > 1000


@pytest.mark.slow  # half a minute, and what is found depends on this file alone
@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("wide", WIDE, ids=str)
def test_more_samples_with_details(overwrites, wide):
    """Of threads that end as well, and where one side is killed."""
    assert Model(overwrites=overwrites, rows=4, wide=wide).search() > 1000
    Model(overwrites=overwrites, rows=3, wide=wide, endings=0, kills="program").search()
    Model(overwrites=overwrites, rows=3, wide=wide, endings=0, kills="agent", fails=not overwrites).search()


@pytest.mark.parametrize("overwrites", [False, True])
def test_the_agent_is_killed(overwrites):
    Model(overwrites=overwrites, rows=4 if overwrites else 5, endings=0, kills="agent").search()
    Model(overwrites=overwrites, rows=3, kills="agent", fails=True).search()


@pytest.mark.parametrize("overwrites", [False, True])
def test_both_are_killed(overwrites):
    Model(overwrites=overwrites, rows=3, endings=1 - overwrites, kills="agent program").search()


FLAWS = {
    "sequence before rows": {"overwrites": False, "rows": 4},
    "rows that are not complete": {"overwrites": False, "rows": 2},
    "no second look": {"overwrites": False, "rows": 4},
    "begins of another moment": {"overwrites": False, "rows": 4},
    "nobody looks at what is full": {"overwrites": False, "rows": 3, "threads": 3},
    "marks before parts": {"overwrites": False, "rows": 3, "kills": "agent"},
    "a new agent says nothing": {"overwrites": False, "rows": 3, "kills": "agent"},
    "no claims": {"overwrites": True, "rows": 5},
    "claims are not looked at": {"overwrites": True, "rows": 4},
    "look before the claim": {"overwrites": True, "rows": 4},
    "details later": {"overwrites": False, "rows": 2, "wide": (1,)},
    "claims end with their agent": {"overwrites": True, "rows": 4, "kills": "agent"},
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_is_wrong_is_found(flaw):
    with pytest.raises(FlawError) as found:
        Model(**FLAWS[flaw], flaw=flaw).search()
    assert "agent" in str(found.value), "with the way that leads there"
