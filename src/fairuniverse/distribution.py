"""Handing the toys of a run to an executor, block by block, until all are answered.

Workers write what they answer into the run folders; only counts come back. What is lost is done again, and
nothing is asked twice that has an answer.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from fairuniverse.entry import Entry
from fairuniverse.errors import ExecutorError, StorageError
from fairuniverse.executors import Executor, WorkerLostError
from fairuniverse.isolation.backends import Backend
from fairuniverse.presentation import block_of
from fairuniverse.repeatability import Recorded, Repeatability, together
from fairuniverse.station import Benchmark, Crewing, share_training
from fairuniverse.tasks import Block, Job, Report, answer, ask_again, fit, release

T = TypeVar("T")

TASK_S = 2.0
"""Least time that a task should take, seconds: shorter blocks are handed out several at once."""

MAX_TRIES = 3
"""Times that a block is tried before the run gives up."""

_VISIBLE_S = 60.0
"""How long a file that another machine wrote may take to be seen, seconds."""

_RECORD_S = 5.0
"""How often manifests are written again while workers are being lost, seconds."""

_DRAW, _ANSWER = 0.7, 0.3
"""Typical time to draw a toy and to answer it, in times that a submission takes to start."""

_AHEAD = 2
"""Tasks that are handed out for each worker."""


@dataclass
class Tally:
    """What has been done, for whoever watches.

    Attributes:
        n_done: Answers given in this session.
        n_todo: Answers that were missing when it began.
        statuses: Answers of this session by status.
        busy_s: Time that workers have worked, seconds.
        n_workers: Tasks that can be done at the same time now.
        hosts: Names of the processes that have worked.
        gpus: Graphics processors that submissions were given, on any machine.
        n_lost: Workers that ended before their time. What they had begun is done again, by the cluster itself
            where it does so.
        retries: What was handed out again, with the reason.
        given_again: What the executor gave to another worker by itself.
    """

    n_todo: int = 0
    n_done: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    busy_s: float = 0.0
    n_workers: int = 1
    hosts: set[str] = field(default_factory=set)
    gpus: set[str] = field(default_factory=set)
    n_lost: int = 0
    retries: list[str] = field(default_factory=list)
    given_again: Sequence[str] = ()
    _n_told: int = 0

    def n_new(self) -> int:
        """Answers since this was asked last."""
        n_new, self._n_told = self.n_done - self._n_told, self.n_done
        return n_new

    def summary(self) -> str:
        """What a line of progress has room for."""
        failures = {status: n for status, n in self.statuses.items() if status != "ok"}
        parts = [f"{len(self.hosts)} processes", f"{self.busy_s / 3600:.2f} core-hours"]
        parts += [f"{n} x {status}" for status, n in failures.items()]
        if self.n_lost:
            parts.append(f"{self.n_lost} workers lost")
        return ", ".join(parts if self.n_workers else ["waiting for workers", *parts])

    def to_json(self) -> dict[str, Any]:
        """Entries of the manifest."""
        return {
            "n_processes": len(self.hosts),
            "gpus": sorted(self.gpus),
            "busy_s": self.busy_s,
            "n_workers_lost": self.n_lost,
            "retries": [*self.retries, *self.given_again],
        }


@dataclass(frozen=True)
class Site:
    """Where a run is done if not in this process, and how processes there find what they need.

    Attributes:
        open: Opens the executor that does the tasks; called when there is something to do.
        benchmark: Makes the benchmark there; see `Job`.
        backend: Makes the backend there.
    """

    open: Callable[[], AbstractContextManager[Executor]]
    benchmark: Callable[[int], Benchmark]
    backend: Callable[[], Backend]


class Distribution:
    """One session of a run on an executor; a context, in which processes keep what they need for the session.

    Args:
        job: What all tasks have in common.
        entries: The submissions, in the order of the job.
        executor: Where tasks are done.
        crewing: How fits are started, and those of this process stopped.
    """

    def __init__(self, job: Job, entries: Sequence[Entry], executor: Executor, crewing: Crewing) -> None:
        self._job = job
        self._entries = entries
        self._executor = executor
        self._crewing = crewing
        self._tally = Tally()
        self._lost: dict[int, int] = {}
        self._tries: Counter[int] = Counter()
        self._block_s = 0.0
        self._recorded = (0, 0)
        self._recorded_at = -math.inf

    def __enter__(self) -> Self:
        for entry in self._entries:
            entry.record_session(executor=self._executor.description, n_workers=self._executor.n_workers)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._executor.everywhere(release, self._job.session)
        finally:
            self._count_losses()
            self._record()

    def fit(self) -> None:
        """Fit every submission without a model, as many at the same time as there are workers."""
        unfitted = [n for n, entry in enumerate(self._entries) if entry.missing and not entry.has_model]
        entries = [self._entries[number] for number in unfitted]
        if self._executor.is_here and entries:
            self._fit_here(entries)
        else:
            tasks = [(self._entries[n].name, (n, self._crewing.n_threads)) for n in unfitted]
            for entry, found in zip(entries, self._each(fit, tasks), strict=True):
                entry.record_fit(found)
        needs_training = any(entry.needs_training for entry in self._entries if entry.has_model)
        self._job = replace(self._job, needs_training=needs_training)

    def _fit_here(self, entries: Sequence[Entry]) -> None:
        """Start fits from this process, so that one copy of the training events does for all of them."""
        benchmark = self._job.benchmark(self._crewing.n_threads)
        n_fits = self._executor.n_workers
        with closing(share_training(benchmark)) as training, ThreadPoolExecutor(n_fits) as threads:
            fits = [threads.submit(entry.station.fit_for_others, training) for entry in entries]
            try:
                for entry, found in zip(entries, fits, strict=True):
                    entry.record_fit(found.result())
            except BaseException:
                self._crewing.stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def answer(self, watch: Callable[[Tally], object]) -> None:
        """Have all blocks answered.

        Args:
            watch: Told whenever something is finished.
        """
        todo = deque(self._blocks())
        self._tally.n_todo = sum(map(len, todo))
        known = {n: entry.lost_block() for n, entry in enumerate(self._entries) if entry.has_model}
        self._lost = {number: block for number, block in known.items() if block is not None}
        running: dict[Future[Report], Sequence[Block]] = {}
        try:
            while todo or running:
                self._tally.n_workers = self._executor.n_workers
                while todo and len(running) < _AHEAD * max(self._tally.n_workers, 1):
                    if blocks := self._without_lost(self._next(todo)):
                        running[self._executor.submit(answer, self._job, blocks)] = blocks
                done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    todo.extendleft(reversed(self._finished(future, running.pop(future))))
                self._count_losses()
                self._record_losses()
                watch(self._tally)
        finally:
            for future in running:
                future.cancel()
        for number, block in self._lost.items():
            self._entries[number].give_up_after(block)
        self._require_all_there()

    def ask_again(self) -> None:
        """Have some toys of every submission asked again, by processes that have seen no other."""
        recorded = {n: entry.to_ask_again() for n, entry in enumerate(self._entries) if entry.has_model}
        shares = share_out({n: toys for n, toys in recorded.items() if toys}, self._executor.n_workers)
        names = [", ".join(self._entries[n].name for n in share) for share in shares]
        tasks = [(name, (share,)) for name, share in zip(names, shares, strict=True)]
        found: dict[int, list[Repeatability]] = {}
        for part in self._each(ask_again, tasks):
            for number, outcome in part.items():
                found.setdefault(number, []).append(outcome)
        for number, parts in found.items():
            self._entries[number].record_repeatability(together(parts))

    def _record(self) -> None:
        """Write into the manifests what this session did."""
        for entry in self._entries:
            entry.record_session(**self._tally.to_json())

    def _count_losses(self) -> None:
        self._tally.n_lost = self._executor.n_lost
        self._tally.given_again = tuple(self._executor.given_again)

    def _record_losses(self) -> None:
        """The same before the session ends, if something was lost: this process may be the next."""
        lost = self._tally.n_lost, len(self._tally.retries) + len(self._tally.given_again)
        if lost != self._recorded and time.monotonic() - self._recorded_at > _RECORD_S:
            self._recorded, self._recorded_at = lost, time.monotonic()
            self._record()

    def _each(self, task: Callable[..., T], named: Sequence[tuple[str, tuple[Any, ...]]]) -> Iterator[T]:
        """Outcome of a task for each of some arguments with names; one whose worker is lost is done again."""
        futures = [self._executor.submit(task, self._job, *arguments) for _, arguments in named]
        for (name, arguments), future in zip(named, futures, strict=True):
            for n_tries in itertools.count(1):
                try:
                    yield self._wait_for(future)
                    break
                except WorkerLostError as error:
                    what = f"{task.__name__} of {name}: {error}"
                    self._tally.retries.append(what)
                    if n_tries == MAX_TRIES:
                        raise ExecutorError(f"{what}, {n_tries} times") from error
                    future = self._executor.submit(task, self._job, *arguments)

    def _wait_for(self, future: Future[T]) -> T:
        """Outcome of a task, as long as there may be workers."""
        while True:
            try:
                return future.result(timeout=1.0)
            except TimeoutError:
                if future.done():
                    raise
                self._tally.n_workers = self._executor.n_workers

    def _require_all_there(self) -> None:
        """Wait until this machine sees what others wrote; some file systems take their time."""
        for entry in self._entries:
            end = time.monotonic() + _VISIBLE_S
            while entry.has_model and (missing := entry.still_missing()):
                if time.monotonic() > end:
                    raise StorageError(
                        f"{entry.store.folder} lacks {len(missing)} answers that workers have written: see "
                        "that all machines share this folder, and give the same command again"
                    )
                time.sleep(1)

    def _next(self, todo: deque[Block]) -> list[Block]:
        """Blocks of the next task; one that was lost before is alone in its own."""
        blocks = [todo.popleft()]
        while todo and len(blocks) < self._n_together() and not self._tries[blocks[0].number]:
            if self._tries[todo[0].number]:
                break
            blocks.append(todo.popleft())
        return blocks

    def _blocks(self) -> Iterator[Block]:
        """What is missing, block by block in the order of presentation."""
        missing: dict[int, dict[int, list[int]]] = {}
        for number, entry in enumerate(self._entries):
            if entry.has_model:
                for place in entry.missing:
                    missing.setdefault(block_of(place), {}).setdefault(number, []).append(place)
        for block in sorted(missing):
            yield Block(block, missing[block])

    def _without_lost(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks without those submissions that died too often in an earlier one."""
        kept = []
        for block in blocks:
            places = {
                n: p for n, p in block.places.items() if self._lost.get(n, block.number) >= block.number
            }
            self._tally.n_done += len(block) - sum(map(len, places.values()))
            if places:
                kept.append(replace(block, places=places))
        return kept

    def _n_together(self) -> int:
        """Blocks of a task: as many as take long enough."""
        return max(1, min(100, round(TASK_S / self._block_s))) if self._block_s else 1

    def _finished(self, future: Future[Report], blocks: Sequence[Block]) -> list[Block]:
        """Note what a task did; gives back the blocks that have to be done again."""
        try:
            report = future.result()
        except WorkerLostError as error:
            return self._again(blocks, str(error))
        self._tally.n_done += sum(map(len, blocks))
        self._tally.statuses.update(itertools.chain(*(c.elements() for c in report.statuses.values())))
        self._tally.busy_s += report.wall_time_s
        self._tally.hosts.add(report.host)
        self._tally.gpus.update(report.gpus)
        self._block_s = report.wall_time_s / len(blocks)
        for block in blocks:
            del self._tries[block.number]
        for number, first in report.lost.items():
            self._lost[number] = min(first, self._lost.get(number, first))
        return []

    def _again(self, blocks: Sequence[Block], reason: str) -> list[Block]:
        numbers = [block.number for block in blocks]
        self._tries.update(numbers)
        if len(numbers) == 1 and self._tries[numbers[0]] >= MAX_TRIES:
            raise ExecutorError(
                f"block {numbers[0]} of pseudo-experiments was lost {self._tries[numbers[0]]} times, "
                f"the last: {reason}. See whether a worker has enough memory; the same command goes on from "
                "there"
            )
        self._tally.retries += [f"block {number}: {reason}" for number in numbers]
        return list(blocks)


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
