"""Asking toys again on an executor, while others are answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from fairuniverse.entry import Entry
from fairuniverse.executors import Executor, WorkerLostError
from fairuniverse.repeatability import Recorded, Repeatability, together
from fairuniverse.tasks import Job, ask_again

_DRAW, _ANSWER = 0.7, 0.3
"""Typical time to draw a toy and to answer it, in times that a submission takes to start."""


class Doubts:
    """The check whether answers depend on the toy alone, as tasks among those that answer toys.

    What is lost with a worker is not done again here: it is left for the end of the run.

    Args:
        job: What all tasks have in common.
        entries: The submissions, in the order of the job.
        executor: Where tasks are done.

    Attributes:
        running: Tasks that are under way, with the names of the submissions that each asks.
    """

    def __init__(self, job: Job, entries: Sequence[Entry], executor: Executor) -> None:
        self._job = job
        self._entries = entries
        self._executor = executor
        self._has_begun = False
        self._n_parts: Counter[int] = Counter()
        self._found: dict[int, list[Repeatability]] = {}
        self.running: dict[Future[dict[int, Repeatability]], str] = {}

    def begin(self, *, n_idle: int) -> None:
        """Hand out the tasks, unless that has been done; the toys to ask about are answered.

        Args:
            n_idle: Workers for which no block of toys is left.
        """
        if self._has_begun:
            return
        self._has_begun = True
        recorded = {
            n: entry.doubted_toys() for n, entry in enumerate(self._entries) if entry.is_to_be_doubted
        }
        for share in share_out({n: toys for n, toys in recorded.items() if toys}, n_idle):
            self._n_parts.update(share.keys())
            names = ", ".join(self._entries[n].name for n in share)
            self.running[self._executor.submit(ask_again, self._job, share)] = names

    def finished(self, future: Future[dict[int, Repeatability]]) -> str | None:
        """Record what a task found; gives back what was lost, if it was."""
        names = self.running.pop(future)
        try:
            parts = future.result()
        except WorkerLostError as error:
            return f"{ask_again.__name__} of {names}: {error}"
        for number, part in parts.items():
            found = self._found.setdefault(number, [])
            found.append(part)
            if len(found) == self._n_parts[number]:
                self._entries[number].record_repeatability(together(found))
        return None


def share_out(
    recorded: Mapping[int, Sequence[Recorded]], n_workers: int
) -> list[dict[int, Sequence[Recorded]]]:
    """Parts of the check for so many workers: some submissions, asked about some of their toys.

    A part draws each of its toys, and starts each of its submissions, so that few submissions are shared out
    by toys, and many by submission.
    """
    n_toys = max(map(len, recorded.values()), default=0)

    def longest(n_parts: tuple[int, int]) -> float:
        toys, submissions = (-(-n // k) for n, k in zip((n_toys, len(recorded)), n_parts, strict=True))
        return toys * _DRAW + submissions * (1 + toys * _ANSWER)

    possible = [
        (i, j)
        for i in range(1, n_toys + 1)
        for j in range(1, len(recorded) + 1)
        if i * j <= max(n_workers, 1)
    ]
    if not possible:
        return []
    by_toys, by_submission = min(possible, key=longest)
    groups = [sorted(recorded)[j::by_submission] for j in range(by_submission)]
    shares = [{n: recorded[n][i::by_toys] for n in group} for i in range(by_toys) for group in groups]
    return [{n: toys for n, toys in share.items() if toys} for share in shares if any(share.values())]
