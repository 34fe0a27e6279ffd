"""What is left to answer in a run on an executor, cut into blocks of toys for its workers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence

from fairuniverse.errors import ExecutorError
from fairuniverse.isolation.answers import Answer
from fairuniverse.tasks import Block, Report
from fairuniverse.team import Patience

MIN_TASK_S, MAX_TASK_S = 1.0, 60.0
"""Time that a block should take, seconds: worth the way to a worker, and not much is lost with one."""

MAX_TRIES = 3
"""Times that a toy is tried before the run gives up."""

MAX_TOYS, MAX_FAST_TOYS = 20, 1000
"""Toys of a block at most, the second number if they take no time."""

_BLOCKS_LEFT = 4
"""Blocks of what is left that each worker would have: they shrink towards the end, to end together."""


class Backlog:
    """Toys that are left to answer, in the order of presentation.

    Args:
        missing: Places that each submission has to answer, by its number in the job.
        patience: Deaths of each of them so far; those of blocks that come back are noted there.
        watched: Places of which somebody wants to know whether they are answered.

    Attributes:
        n_given_up: Answers that will not be asked for, because the submission died too often before.
    """

    def __init__(
        self,
        missing: Mapping[int, Sequence[int]],
        patience: Mapping[int, Patience],
        watched: Collection[int] = (),
    ) -> None:
        self._askers: dict[int, tuple[int, ...]] = {}
        grown: dict[tuple[int, ...], tuple[int, ...]] = {}  # equal tuples once, for a million toys
        for number, places in missing.items():
            for place in places:
                askers = (*self._askers.get(place, ()), number)
                self._askers[place] = grown.setdefault(askers, askers)
        self._todo = deque(sorted(self._askers))
        self._patience = patience
        self._watched = self._askers.keys() & set(watched)
        self._tries: Counter[int] = Counter()
        self._known: dict[tuple[int, ...], tuple[float, int]] = {}
        self.n_given_up = 0

    def __len__(self) -> int:
        """Toys that are not handed out."""
        return len(self._todo)

    @property
    def is_watched_answered(self) -> bool:
        """Whether nothing is left of the watched places."""
        return not self._watched

    def next(self, n_workers: int) -> Block | None:
        """The next block; None if nobody is worth asking about its toys.

        Args:
            n_workers: Workers that share what is left.
        """
        askers = self._forget_lost(self._todo[0])
        size = 1 if self._tries[self._todo[0]] else self._size(askers, n_workers)
        places = [self._todo.popleft()]
        while self._todo and len(places) < size and not self._tries[self._todo[0]]:
            if self._forget_lost(self._todo[0]) != askers:
                break
            places.append(self._todo.popleft())
        block = {number: list(places) for number in askers}
        self._watched.difference_update(set(places).difference(*block.values()))
        return Block(block) if block else None

    def note(self, block: Block, report: Report) -> None:
        """A block has been answered."""
        if report.statuses:
            self._known[tuple(block.places)] = report.wall_time_s / len(block.toys), len(block.toys)
        self._watched.difference_update(block.toys)
        for number, places in report.deaths.items():
            for place in places:
                self._patience[number].note_death(place, Answer("missing"))

    def put_back(self, block: Block, reason: str, answered: Collection[int] = ()) -> str:
        """A block was lost with its worker: its toys are handed out again, each alone.

        Args:
            block: The block.
            reason: How it was lost.
            answered: Submissions whose answers were written before.

        Returns:
            What is done again, and why.

        Raises:
            ExecutorError: One of its toys was lost too often.
        """
        for number, places in block.places.items():
            if number in answered:
                for place in places:
                    self._askers[place] = tuple(n for n in self._askers[place] if n != number)
        self._watched.difference_update(toy for toy in block.toys if not self._askers[toy])
        toys = [toy for toy in block.toys if self._askers[toy]]
        if not toys:
            return f"places {block.toys[0]} to {block.toys[-1]}, of which all answers are there: {reason}"
        self._tries.update(toys)
        if (n_tries := self._tries[toys[0]]) >= MAX_TRIES:
            raise ExecutorError(
                f"the pseudo-experiment at place {toys[0]} was lost {n_tries} times, the last: {reason}. See "
                "whether a worker has enough memory; the same command goes on from there"
            )
        self._todo.extendleft(reversed(toys))
        return f"places {toys[0]} to {toys[-1]}: {reason}"

    def _forget_lost(self, place: int) -> tuple[int, ...]:
        """Submissions to ask about the toy of a place; those that are given up are forgotten."""
        askers = self._askers[place]
        if any(self._patience[number].gives_up(place) for number in askers):
            kept = tuple(number for number in askers if not self._patience[number].gives_up(place))
            self.n_given_up += len(askers) - len(kept)
            self._askers[place] = askers = kept
        return askers

    def _size(self, askers: tuple[int, ...], n_workers: int) -> int:
        """Toys of the next block, for these submissions: no more than twice the last one that they had."""
        size = min(len(self._todo) / (_BLOCKS_LEFT * n_workers), MAX_TOYS)
        toy_s, n_last = self._known.get(askers, (0.0, 0))
        if toy_s:
            size = max(min(size, MAX_TASK_S / toy_s), min(MIN_TASK_S / toy_s, 2 * n_last))
        return max(1, min(round(size), MAX_FAST_TOYS))
