"""What is left to answer in a run on an executor, handed out block by block to its workers."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from fairuniverse.errors import ExecutorError
from fairuniverse.isolation.answers import Answer
from fairuniverse.tasks import Block, Report
from fairuniverse.team import Patience

TASK_S = 1.0
"""Least time that a task should take, seconds: blocks that take less are handed out several at once."""

MAX_TRIES = 3
"""Times that a block is tried before the run gives up."""

MAX_TOYS, MAX_FAST_TOYS = 20, 1000
"""Toys of a block, and of a task whose toys take no time, at most."""

_MIN_TOYS = 5
"""Toys of a block of a small run: writing them costs a millisecond, and what is lost is soon done again."""

_N_BLOCKS = 1000
"""Blocks from which on they grow instead of becoming more: many files take long to read."""

_N_LAST = 8
"""What is left makes at least so many blocks: nobody waits long for the last worker."""


def cut(n_toys: int) -> Iterator[range]:
    """Places of each block of a run.

    They depend on nothing but the number of toys, so that whoever goes on with a run hands out the same ones,
    and what a late worker of an earlier session writes is known again. Blocks shrink towards the end, so that
    workers end together.
    """
    largest = min(max(n_toys // _N_BLOCKS, _MIN_TOYS), MAX_TOYS)
    start = 0
    while start < n_toys:
        size = min(largest, -(-(n_toys - start) // _N_LAST))
        yield range(start, start + size)
        start += size


class Backlog:
    """Toys that are left to answer, in the order of presentation.

    Args:
        n_toys: Number of toys of the run.
        missing: Places that each submission has to answer, by its number in the job.
        patience: Deaths of each of them so far; those that are reported are noted there.
        watched: Places of which somebody wants to know whether they are answered.

    Attributes:
        n_given_up: Answers that will not be asked for, because the submission died too often before.
    """

    def __init__(
        self,
        n_toys: int,
        missing: Mapping[int, Sequence[int]],
        patience: Mapping[int, Patience],
        watched: Collection[int] = (),
    ) -> None:
        sets = {number: set(places) for number, places in missing.items()}
        self._todo: deque[Block] = deque()
        for places in cut(n_toys):
            wanted = {number: [p for p in places if p in those] for number, those in sets.items()}
            if block := {number: left for number, left in wanted.items() if left}:
                self._todo.append(Block(block))
        self._patience = patience
        self._watched = set(watched).intersection(*[set().union(*sets.values())])
        self._tries: Counter[int] = Counter()
        self._known: dict[tuple[int, ...], tuple[float, int]] = {}
        self.n_given_up = 0

    def __len__(self) -> int:
        """Blocks that are not handed out."""
        return len(self._todo)

    @property
    def is_watched_answered(self) -> bool:
        """Whether nothing is left of the watched places."""
        return not self._watched

    def next(self) -> list[Block]:
        """Blocks of the next task; empty if nobody is worth asking about the next ones.

        One that was lost before is alone in its task.
        """
        blocks: list[Block] = []
        n_toys, n_wanted, askers = 0, 1, None
        while self._todo and n_toys < n_wanted:
            block = self._without_lost(self._todo[0])
            if block is None:
                self._todo.popleft()
                continue
            if askers is None:
                askers = tuple(block.places)
                n_wanted = self._size(askers)
            elif tuple(block.places) != askers or self._tries[block.toys[0]]:
                self._todo[0] = block
                break
            self._todo.popleft()
            blocks.append(block)
            n_toys += len(block.toys)
            if self._tries[block.toys[0]]:
                break
        return blocks

    def note(self, blocks: Sequence[Block], report: Report) -> None:
        """Blocks have been answered."""
        n_toys = sum(len(block.toys) for block in blocks)
        if report.statuses:
            self._known[tuple(blocks[0].places)] = report.wall_time_s / n_toys, n_toys
        for block in blocks:
            self._watched.difference_update(block.toys)
        for number, places in report.deaths.items():
            for place in places:
                self._patience[number].note_death(place, Answer("missing"))

    def put_back(self, blocks: Sequence[Block], reason: str) -> str:
        """Blocks were lost with their worker: they are handed out again, each alone.

        Returns:
            What is done again, and why.

        Raises:
            ExecutorError: A block was lost too often.
        """
        first, last = blocks[0].toys[0], blocks[-1].toys[-1]
        self._tries.update(block.toys[0] for block in blocks)
        if len(blocks) == 1 and (n_tries := self._tries[first]) >= MAX_TRIES:
            raise ExecutorError(
                f"pseudo-experiments {first} to {last}, in the order of presentation, were lost {n_tries} "
                f"times, the last: {reason}. See what it said, and whether it has enough memory; the same "
                "command goes on from there"
            )
        self._todo.extendleft(reversed(blocks))
        return f"places {first} to {last}: {reason}"

    def _without_lost(self, block: Block) -> Block | None:
        """The block without those who died too often before; None if nobody is left to ask."""
        places = {
            number: [p for p in those if not self._patience[number].gives_up(p)]
            for number, those in block.places.items()
        }
        kept = replace(block, places={number: left for number, left in places.items() if left})
        self.n_given_up += len(block) - len(kept)
        self._watched.difference_update(set(block.toys).difference(kept.toys))
        return kept if kept.places else None

    def _size(self, askers: tuple[int, ...]) -> int:
        """Toys of the next task of these submissions: no more than twice the last one that they had."""
        toy_s, n_last = self._known.get(askers, (TASK_S, 0))
        return max(1, min(round(TASK_S / toy_s) if toy_s else MAX_FAST_TOYS, 2 * n_last, MAX_FAST_TOYS))
