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
        self._toy_s = 0.0
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
        places = [self._todo.popleft()]
        if not self._tries[places[0]]:
            size = self._size(n_workers)
            while self._todo and len(places) < size and not self._tries[self._todo[0]]:
                places.append(self._todo.popleft())
        block: dict[int, list[int]] = {}
        for place in places:
            for number in self._askers[place]:
                if self._patience[number].gives_up(place):
                    self.n_given_up += 1
                else:
                    block.setdefault(number, []).append(place)
        self._watched.difference_update(set(places).difference(*block.values()))
        return Block(block) if block else None

    def note(self, block: Block, report: Report) -> None:
        """A block has been answered."""
        self._toy_s = report.wall_time_s / len(block.toys)
        self._watched.difference_update(block.toys)
        for number, places in report.deaths.items():
            for place in places:
                self._patience[number].note_death(place, Answer("missing"))

    def put_back(self, block: Block, reason: str) -> str:
        """A block was lost with its worker: its toys are handed out again, each alone.

        Returns:
            What is done again, and why.

        Raises:
            ExecutorError: One of its toys was lost too often.
        """
        toys = block.toys
        self._tries.update(toys)
        if (n_tries := self._tries[toys[0]]) >= MAX_TRIES:
            raise ExecutorError(
                f"the pseudo-experiment at place {toys[0]} was lost {n_tries} times, the last: {reason}. See "
                "whether a worker has enough memory; the same command goes on from there"
            )
        self._todo.extendleft(reversed(toys))
        return f"places {toys[0]} to {toys[-1]}: {reason}"

    def _size(self, n_workers: int) -> int:
        """Toys of the next block."""
        size = min(len(self._todo) / (_BLOCKS_LEFT * n_workers), MAX_TOYS)
        if self._toy_s:
            size = max(min(size, MAX_TASK_S / self._toy_s), MIN_TASK_S / self._toy_s)
        return max(1, min(round(size), MAX_FAST_TOYS))
