"""Running a submission in a small world: once through everything a benchmark would ask of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fairuniverse.checking.small import SmallBenchmark
from fairuniverse.errors import SubmissionError
from fairuniverse.events import Events
from fairuniverse.isolation.answers import Answer, check
from fairuniverse.isolation.backends import Backend
from fairuniverse.isolation.installed import source_files
from fairuniverse.isolation.output import OutputLog
from fairuniverse.isolation.process import Reply, SharedTraining, Worker, feature_columns
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.submission import Submission
from fairuniverse.training import locate

IN_ORDER = (0, 0, 1, 2, 0)
"""Toys that the fitted model is asked about: one twice, and again after others."""

IN_ANOTHER_ORDER = (2, 0)
"""Toys that the model is asked about after it was saved and loaded by a new process."""


@dataclass(frozen=True)
class Asked:
    """One question and what came of it.

    Attributes:
        i_toy: Which toy.
        n_events: Its size.
        answer: The answer, or the status of its failure.
        reply: What it cost; None if the process did not survive it.
    """

    i_toy: int
    n_events: int
    answer: Answer
    reply: Reply | None


@dataclass
class Trial:
    """What a submission did, as far as it got.

    Attributes:
        started: Cost of its start.
        fitted: Cost of the fit.
        failure: Where it ended (``"start"`` or ``"fit"``), and why; None if it did not.
        unsaved: Why it could not be saved and loaded; empty if it could.
        fresh: Answers of the process that fitted, to the toys `IN_ORDER`.
        loaded: Answers of a new process, to the toys `IN_ANOTHER_ORDER`.
        joined: Its answer to all toys as one, for the cost.
        output: What it printed.
    """

    started: Reply | None = None
    fitted: Reply | None = None
    failure: tuple[str, SubmissionError] | None = None
    unsaved: str = ""
    fresh: Sequence[Asked] = ()
    loaded: Sequence[Asked] = ()
    joined: Asked | None = None
    output: str = field(default="", repr=False)

    @property
    def asked(self) -> list[Asked]:
        """Every question about a single toy."""
        return [*self.fresh, *self.loaded]


def try_submission(
    submission: Submission, benchmark: SmallBenchmark, *, backend: Backend, folder: Path
) -> Trial:
    """Start it, fit it, ask it, save and load it, ask it again.

    Args:
        submission: What to try.
        benchmark: The small world.
        backend: How its processes are isolated.
        folder: Empty folder for its output and its saved model.

    Raises:
        IsolationError: A process cannot be started as safely as asked.
    """
    trial, log = Trial(), folder / "worker.log"
    with ExitStack() as stack:
        shared = SharedTraining(benchmark.training_events, benchmark.spec)
        stack.callback(shared.close)
        shared.code = source_files(locate(benchmark.world))  # the scaled world's own file is ours
        tester = _Tester(submission, benchmark, shared, backend, OutputLog(log))
        tester.run(trial, folder / "model")
    trial.output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return trial


@dataclass(frozen=True)
class _Tester:
    """Makes the processes of a trial."""

    submission: Submission
    benchmark: SmallBenchmark
    training: SharedTraining
    backend: Backend
    log: OutputLog

    def run(self, trial: Trial, model: Path) -> None:
        toys = self.benchmark.toys
        stage = "start"
        try:
            with self._worker() as worker:
                trial.started, stage = worker.started, "fit"
                trial.fitted = worker.fit()
                trial.unsaved = self._save(worker, model)
                if worker.is_usable:
                    trial.fresh = _ask(worker, toys, IN_ORDER)
                if trial.unsaved and worker.is_usable:
                    trial.joined = _ask(worker, [_joined(toys)], [0])[0]
        except SubmissionError as error:
            trial.failure = (stage, error)
            return
        if not trial.unsaved:
            self._run_loaded(trial, model)

    def _run_loaded(self, trial: Trial, model: Path) -> None:
        toys = self.benchmark.toys
        try:
            with self._worker() as worker:
                worker.load(model)
                trial.loaded = _ask(worker, toys, IN_ANOTHER_ORDER)
                if worker.is_usable:
                    trial.joined = _ask(worker, [_joined(toys)], [0])[0]
        except SubmissionError as error:
            trial.unsaved = str(error)

    def _save(self, worker: Worker, model: Path) -> str:
        """Save the model; why that failed, or nothing."""
        try:
            worker.save(model)
        except SubmissionError as error:
            return str(error)
        return ""

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = Worker(
            self.submission,
            self.training,
            backend=self.backend,
            limits=self.benchmark.config.limits,
            log=self.log,
            stop=threading.Event(),
        )
        try:
            yield worker
        finally:
            worker.close()


def _ask(worker: Worker, toys: Sequence[Events], order: Sequence[int]) -> list[Asked]:
    """Ask about toys until the process dies."""
    asked: list[Asked] = []
    table = SharedTable()
    try:
        for i in order:
            table.write(feature_columns(toys[i]))
            worker.show(table)
            try:
                reply = worker.predict()
            except SubmissionError as death:
                return [*asked, Asked(i, len(toys[i]), Answer(death.status, str(death)), None)]
            asked.append(Asked(i, len(toys[i]), check(reply.content), reply))
    finally:
        table.close()
    return asked


def _joined(toys: Sequence[Events]) -> Events:
    """All toys as one, several times as large."""
    return replace(toys[0], features=np.concatenate([t.features for t in toys], axis=1))
