"""Which blocks a sample still needs; how many events one holds is only known when it is made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice

FIRST_GUESS = 500.0
"""Events of a block, before one is finished."""


class BlockPlan:
    """Which blocks of a sample are still to be made: the first ones that hold its events.

    Args:
        n_events: Selected events of each process that are wanted.
        finished: Selected events of each finished block, by process and number.
    """

    def __init__(self, n_events: Mapping[str, int], finished: Mapping[str, Mapping[int, int]]) -> None:
        self._of = {process: _Blocks(wanted, finished[process]) for process, wanted in n_events.items()}

    @property
    def blocks(self) -> dict[str, list[int]]:
        """Numbers of the first blocks of each process that hold its events, or are known to be needed."""
        return {process: list(range(of.n_needed)) for process, of in self._of.items()}

    @property
    def is_complete(self) -> bool:
        """Whether every process has its events."""
        return all(of.is_complete for of in self._of.values())

    def add(self, process: str, number: int, n_selected: int) -> None:
        """A block is finished, with so many events."""
        self._of[process].add(number, n_selected)

    def next_blocks(self, running: Sequence[tuple[str, int]], n_workers: int) -> Iterator[tuple[str, int]]:
        """Blocks to start so that all workers have something to do, as far as they are likely needed."""
        n_free = n_workers - len(running)
        for process, of in self._of.items():
            for number in islice(of.next({n for p, n in running if p == process}), max(n_free, 0)):
                yield process, number
                n_free -= 1


class _Blocks:
    """Blocks of one process. Samples have up to a hundred thousand: a wish for more looks at few of them.

    Args:
        wanted: Events that they are to hold.
        finished: Events of each finished one.
    """

    def __init__(self, wanted: int, finished: Mapping[int, int]) -> None:
        self._wanted = wanted
        self._finished = dict(finished)
        self._total = sum(finished.values())
        self._n_first = self._first_total = 0  # finished ones before the first gap, as far as they are needed
        self._advance()

    @property
    def is_complete(self) -> bool:
        """Whether the first ones, without a gap, hold the events."""
        return self._first_total >= self._wanted

    @property
    def n_needed(self) -> int:
        """How many of the first ones hold the events, or are there and one more."""
        return self._n_first if self.is_complete else self._n_first + 1

    def add(self, number: int, n_selected: int) -> None:
        """One is finished."""
        self._finished[number] = n_selected
        self._total += n_selected
        self._advance()

    def next(self, running: Collection[int]) -> Iterator[int]:
        """Those to start, beside the ones that are being made, if each holds as many events as the others."""
        if self.is_complete:
            return
        n_finished = len(self._finished)
        mean = max(1.0, self._total / n_finished) if n_finished else FIRST_GUESS
        expected = self._total + mean * len(running)
        number = self._n_first
        while expected < self._wanted or number == self._n_first:
            if number not in self._finished and number not in running:
                yield number
                expected += mean
            number += 1

    def _advance(self) -> None:
        while not self.is_complete and self._n_first in self._finished:
            self._first_total += self._finished[self._n_first]
            self._n_first += 1
