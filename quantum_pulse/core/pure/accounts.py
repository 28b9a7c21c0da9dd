"""What became of the samples: counted by operation and thread, so that started = committed + open + lost holds."""

from __future__ import annotations

import random

from quantum_pulse.core import contract


class Count:
    """What a thread did with a probe. Only the thread writes it."""

    __slots__ = ("chosen", "committed", "first_loss", "last_loss", "left", "lost", "lost_slot", "round", "started")

    def __init__(self) -> None:
        self.started = self.committed = self.lost = 0
        self.first_loss = self.last_loss = 0  # ns
        self.lost_slot: int | None = None  # where readers of the file find what was lost
        self.left = 0  # calls in the present round of sampling that are still to come
        self.round = 0  # its length
        self.chosen = 0  # the one of them that is recorded, counted from the end

    def weight_of_next(self, every: int) -> int:
        """How many calls the next sample represents; 0: it is not recorded."""
        if every <= 1:
            return 1
        if self.left == 0 or self.round != every:  # it may be cut short: chance has not looked at its length
            self.left = self.round = every
            self.chosen = random.randint(1, every)
        self.left -= 1
        return every if self.left + 1 == self.chosen else 0

    def account(self, probe_id: int, thread: int) -> contract.Account:
        # What has ended first: a thread that goes on meanwhile must not have ended more than it has started.
        committed, lost = self.committed, self.lost
        return contract.Account(probe_id, thread, self.started, committed, lost)


class Ended:
    """What became of the samples of threads that have ended, and of those that were overwritten."""

    #: Threads that are kept apart; beyond them they are added up as thread 0.
    KEPT_APART = 1024

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.accounts: dict[tuple[int, int], list[int]] = {}  # by probe and thread: started, committed, lost
        self.losses: dict[tuple[int, int, int], list[int]] = {}  # by probe, thread, cause: samples, first, last

    def add(self, probe_id: int, thread: int, started: int, committed: int, lost: int) -> None:
        total = self.accounts.setdefault((probe_id, self._kept(thread)), [0, 0, 0])
        for place, value in enumerate((started, committed, lost)):
            total[place] += value

    def add_loss(self, probe_id: int, thread: int, cause: int, samples: int, first_ns: int, last_ns: int) -> None:
        key = (probe_id, self._kept(thread), cause)
        known = self.losses.get(key, [0, first_ns, last_ns])
        self.losses[key] = [known[0] + samples, min(known[1], first_ns), max(known[2], last_ns)]

    def add_counts(self, thread: int, counts: dict[int, Count]) -> None:
        for probe_id, count in counts.items():
            self.add(probe_id, thread, count.started, count.committed, count.lost)
            if count.lost:
                self.add_loss(probe_id, thread, contract.NO_ROOM, count.lost, count.first_loss, count.last_loss)

    def _kept(self, thread: int) -> int:
        if len(self.threads) < self.KEPT_APART:
            self.threads.add(thread)
        return thread if thread in self.threads else 0
