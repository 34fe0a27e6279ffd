"""Handing the toys of a run to an executor, block after block, until all are answered.

Workers write what they answer into the run folders; only counts come back. What is lost is done again, and
nothing is asked twice that has an answer.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from fairuniverse.backlog import MAX_TRIES, Backlog
from fairuniverse.doubts import Doubts, share_out
from fairuniverse.entry import Entry
from fairuniverse.errors import ExecutorError, StorageError, SubmissionError
from fairuniverse.executors import Executor, WorkerLostError
from fairuniverse.isolation.backends import Backend
from fairuniverse.repeatability import Repeatability, together
from fairuniverse.station import Benchmark, Crewing, Fit, share_training
from fairuniverse.tasks import Block, Job, Report, answer, ask_again, fit, release, try_out
from fairuniverse.team import Patience

T = TypeVar("T")

_VISIBLE_S = 60.0
"""How long a file that another machine wrote may take to be seen, seconds."""

_RECORD_S = 5.0
"""How often manifests are written again while workers are being lost, seconds."""

_AHEAD = 2
"""Tasks that are handed out for each worker elsewhere; one that is here has its next at once."""


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
        n_toys: Number of toys of the run.
    """

    def __init__(
        self,
        job: Job,
        entries: Sequence[Entry],
        executor: Executor,
        crewing: Crewing,
        n_toys: int,
    ) -> None:
        self._job = job
        self._entries = entries
        self._executor = executor
        self._crewing = crewing
        self._tally = Tally()
        self._n_answered = 0
        self._n_toys = n_toys
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
        unfitted = {n: e for n, e in enumerate(self._entries) if e.missing and not e.has_model}
        if self._executor.is_here and unfitted:
            self._fit_here(unfitted)
        else:
            tasks = [(entry.name, (n, self._crewing.n_threads)) for n, entry in unfitted.items()]
            for entry, reply in zip(unfitted.values(), self._each(fit, tasks), strict=True):
                entry.record_fit(reply)
        needs_training = any(entry.needs_training for entry in self._entries if entry.has_model)
        self._job = replace(self._job, needs_training=needs_training)

    def _fit_here(self, entries: Mapping[int, Entry]) -> None:
        """Start fits from this process, so that one copy of the training events does for all of them."""
        benchmark = self._job.benchmark(self._crewing.n_threads)
        n_fits = self._executor.n_workers
        with closing(share_training(benchmark)) as training, ThreadPoolExecutor(n_fits) as threads:
            fits: dict[Future[Fit], Entry] = {}

            def try_elsewhere(number: int, candidate: Path) -> bool:
                # A copy: the first fit may be here while the last ones are submitted.
                n_unfinished = sum(not fit.done() for fit in list(fits))
                n_idle = min(n_fits - n_unfinished, len(entries[number].missing) - 1)
                return self._try_out(number, candidate, n_idle=max(n_idle, 0))

            for number, entry in entries.items():
                trial = partial(try_elsewhere, number)
                fits[threads.submit(entry.station.fit_for_others, training, trial)] = entry
            try:
                for found in as_completed(fits):
                    fits[found].record_fit(found.result())
            except BaseException:
                self._crewing.stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _try_out(self, number: int, candidate: Path, *, n_idle: int) -> bool:
        """Have a worker load a model that has just been fitted, see `Trial`, and keep it for the toys.

        Args:
            number: Number of the submission in the job.
            candidate: Folder of the model.
            n_idle: Workers that have nothing else to do, and load it as well. The first that can is enough;
                one that cannot tries again at its first toy.
        """
        job = replace(self._job, needs_training=False)
        pending = {self._executor.submit(try_out, job, number, candidate) for _ in range(1 + n_idle)}
        for trial in pending:
            trial.add_done_callback(partial(self._note_lost_trial, self._entries[number].name))
        problems: list[BaseException] = []
        while pending:
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
            if self._crewing.stop.is_set():
                raise ExecutorError("the session has ended")
            outcomes = [_outcome(trial) for trial in done]
            if None in outcomes:
                return True
            problems += [problem for problem in outcomes if problem is not None]
        if others := [problem for problem in problems if not isinstance(problem, WorkerLostError)]:
            raise others[0]
        return False

    def _note_lost_trial(self, name: str, trial: Future[str]) -> None:
        if not trial.cancelled() and isinstance(error := trial.exception(), WorkerLostError):
            self._tally.retries.append(f"{try_out.__name__} of {name}: {error}")

    def answer(self, watch: Callable[[Tally], object]) -> None:
        """Have all toys answered, and some of them asked again as soon as they are.

        Args:
            watch: Told whenever something is finished.
        """
        missing = {n: entry.missing for n, entry in enumerate(self._entries) if entry.has_model}
        patience = {n: self._entries[n].patience() for n in missing}
        backlog = Backlog(self._n_toys, missing, patience, self._entries[0].doubted)
        self._tally.n_todo = sum(map(len, missing.values()))
        running: dict[Future[Report], list[Block]] = {}
        doubts = Doubts(self._job, self._entries, self._executor)
        try:
            while backlog or running or doubts.running:
                self._tally.n_workers = self._executor.n_workers
                n_workers = max(self._tally.n_workers, 1)
                if backlog.is_watched_answered:
                    doubts.begin(n_idle=n_workers - len(backlog))
                n_tasks = (1 if self._executor.is_here else _AHEAD) * n_workers
                while backlog and len(running) + len(doubts.running) < n_tasks:
                    if blocks := backlog.next():
                        running[self._executor.submit(answer, self._job, blocks)] = blocks
                tasks: list[Future[Any]] = [*running, *doubts.running]
                done, _ = wait(tasks, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done & running.keys():
                    self._finished(future, running.pop(future), backlog)
                self._tally.retries += filter(None, map(doubts.finished, done & doubts.running.keys()))
                self._tally.n_done = self._n_answered + backlog.n_given_up
                self._count_losses()
                self._record_losses()
                watch(self._tally)
        finally:
            under_way: list[Future[Any]] = [*running, *doubts.running]
            for task in under_way:
                task.cancel()
        self._require_all_there(patience)
        for number in missing:
            self._entries[number].give_up()

    def ask_again(self) -> None:
        """Have some toys asked again of every submission of which that has not been done meanwhile."""
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

    def _require_all_there(self, patience: Mapping[int, Patience]) -> None:
        """Wait until this machine sees what others wrote; some file systems take their time."""
        for number, deaths in patience.items():
            entry, end = self._entries[number], time.monotonic() + _VISIBLE_S
            while missing := [place for place in entry.still_missing() if not deaths.gives_up(place)]:
                if time.monotonic() > end:
                    raise StorageError(
                        f"{entry.store.folder} lacks {len(missing)} answers that workers have written: see "
                        "that all machines share this folder, and give the same command again"
                    )
                time.sleep(1)

    def _finished(self, future: Future[Report], blocks: Sequence[Block], backlog: Backlog) -> None:
        """Note what a task did, or that it has to be done again."""
        try:
            report = future.result()
        except WorkerLostError as error:
            self._tally.retries.append(backlog.put_back(blocks, str(error)))
            return
        backlog.note(blocks, report)
        self._n_answered += sum(map(len, blocks))
        self._tally.statuses.update(itertools.chain(*(c.elements() for c in report.statuses.values())))
        self._tally.busy_s += report.wall_time_s
        self._tally.hosts.add(report.host)
        self._tally.gpus.update(report.gpus)


def _outcome(trial: Future[str]) -> BaseException | None:
    """What went wrong when a model was tried out, if anything did."""
    if error := trial.exception():
        return error
    reason = trial.result()
    return SubmissionError("fit_failed", reason) if reason else None
