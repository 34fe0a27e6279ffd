"""One submission in a run: its run folder, its fitted model and its workers."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.answers import KEYS, Answer
from fairuniverse.isolation.backends import Backend
from fairuniverse.isolation.process import OutputLog, SharedTraining, Worker
from fairuniverse.provenance import provenance
from fairuniverse.repeatability import Recorded, Repeatability, ask_again, choose
from fairuniverse.seeding import generator
from fairuniverse.store import RunStore, prefixed
from fairuniverse.submission import Submission
from fairuniverse.team import Lane, Outcome, Patience, Row, Team

if TYPE_CHECKING:
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.events import Events
    from fairuniverse.protocols import Simulator
    from fairuniverse.pseudo_experiments import PseudoExperiments, Truth


class Benchmark(Protocol):
    """What the runner asks of a benchmark; everything is made when first needed."""

    @property
    def config(self) -> BenchmarkConfig:
        """Its configuration."""
        ...

    @property
    def simulator(self) -> Simulator:
        """The world."""
        ...

    @property
    def training_events(self) -> Events:
        """Nominal weighted labelled events to learn from."""
        ...

    @property
    def pseudo_experiments(self) -> PseudoExperiments:
        """The toys."""
        ...


@dataclass(frozen=True)
class Crewing:
    """How workers are started and toys drawn, the same for all submissions of a run.

    Attributes:
        backend: How processes are isolated.
        n_workers: Workers that answer at the same time.
        n_threads: Threads for drawing and for fits.
        stop: Once set, requests are given up.
    """

    backend: Backend
    n_workers: int
    n_threads: int
    stop: threading.Event


@dataclass(frozen=True)
class _Fitted:
    """A fitted model: in a folder, or alive in one worker that must not be lost."""

    folder: Path | None
    worker: Worker | None


class Entry:
    """One submission in a run.

    Args:
        benchmark: What to measure.
        submission: What measures it.
        store: Its run folder.
        crewing: How its workers are started.
    """

    def __init__(
        self, benchmark: Benchmark, submission: Submission, store: RunStore, crewing: Crewing
    ) -> None:
        self.submission = submission
        self.store = store
        self._benchmark = benchmark
        self._crewing = crewing
        self._log = OutputLog(store.log_path)
        self._answered = store.finished()

    @property
    def name(self) -> str:
        """Its name."""
        return self.submission.name

    @property
    def is_finished(self) -> bool:
        """Whether an earlier session came to its end."""
        return "finished" in self.store.manifest

    def missing(self, toys: Sequence[Truth]) -> list[Truth]:
        """Those of the toys that had no row when this session began."""
        return [t for t in toys if (t.i_mu, t.i_toy) not in self._answered]

    def record_start(self) -> None:
        """Write the manifest and the truths; a run is isolated only if every session of it was."""
        self.store.write_truths(self._benchmark.pseudo_experiments.truths())
        sessions = [
            *self.store.manifest.get("sessions", []),
            {"started": _now(), "n_workers": self._crewing.n_workers},
        ]
        earlier = self.store.manifest.get("isolation", {"is_isolated": True})
        described = provenance(
            self._benchmark, self.submission, self._crewing.backend, was_isolated=earlier["is_isolated"]
        )
        self.store.update(**described, sessions=sessions)

    def record_end(self) -> None:
        """Note in the manifest that nothing is left to do."""
        self.store.update(finished=_now())

    def team(self, toys: Sequence[Truth], training: SharedTraining) -> Team | None:
        """The fitted model's workers, to answer these toys; None if there is no model that could.

        Args:
            toys: Those without a row, in the order of presentation.
            training: The training set.
        """
        try:
            fitted = self._fitted(training)
        except SubmissionError as error:
            failure = Answer("fit_failed", str(error))
            self.store.update(fit={"status": "fit_failed", "message": str(error)})
            self._write([Outcome(t, failure) for t in toys])
            return None
        n_lanes = min(self._crewing.n_workers, len(toys)) if fitted.folder else 1
        workers = [fitted.worker, *[None] * (n_lanes - 1)]
        return Team(
            toys,
            [self._lane(training, fitted.folder, worker) for worker in workers],
            write=self._write,
            patience=Patience(self.store.rows()),
            told=self._told,
        )

    def ask_again(self, training: SharedTraining) -> None:
        """Record whether answers depend on the toy alone."""
        self.store.update(repeatability=self._repeatability(training).to_json())

    def _draw(self, truth: Truth) -> Events:
        return self._benchmark.pseudo_experiments.draw(truth, n_threads=self._crewing.n_threads).events

    def _repeatability(self, training: SharedTraining) -> Repeatability:
        if self._is_fresh:
            return Repeatability("fresh")
        folder = self.store.model_folder
        if not folder.is_dir():
            return Repeatability("not_checked", "the model cannot be saved, so no fresh process has it")
        truths = self._benchmark.pseudo_experiments.truths()
        rng = generator(self._benchmark.config.seed, "toys asked again")
        return ask_again(
            choose(_recorded(truths, self.store.rows()), rng=rng),
            lane=partial(self._lane, training, folder),
            draw=self._draw,
            told=self._told,
        )

    def _lane(self, training: SharedTraining, folder: Path | None, worker: Worker | None = None) -> Lane:
        return Lane(worker, partial(self._start_worker, training, folder), is_fresh=self._is_fresh)

    @property
    def _is_fresh(self) -> bool:
        """Whether every toy has a process of its own."""
        return self._benchmark.config.limits.state == "fresh"

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        self.store.write_part([_row(self.submission, outcome) for outcome in outcomes])

    def _told(self, truth: Truth) -> Mapping[str, float] | None:
        return truth.nuisances if self.submission.is_reference else None

    def _start_worker(self, training: SharedTraining, folder: Path | None, n_threads: int = 1) -> Worker:
        """A worker with the fitted model, loaded from a folder or, without one, fitted again."""
        worker = self._new_worker(training, n_threads)
        try:
            if folder is None:
                worker.fit()
            else:
                worker.load(folder)
        except BaseException:
            worker.close()
            raise
        return worker

    def _new_worker(self, training: SharedTraining, n_threads: int) -> Worker:
        return Worker(
            self.submission,
            training,
            backend=self._crewing.backend,
            limits=self._benchmark.config.limits,
            log=self._log,
            stop=self._crewing.stop,
            n_threads=n_threads,
        )

    def _fitted(self, training: SharedTraining) -> _Fitted:
        """The fitted model: that of an earlier session, or a new one."""
        folder = self.store.model_folder
        return _Fitted(folder, None) if folder.is_dir() else self._fit(training)

    def _fit(self, training: SharedTraining) -> _Fitted:
        """Fit, save, and load again in a new process.

        Toys are always answered by a model that was loaded, so that any number of workers, and a resumed run,
        give the same answers. A model that cannot be saved and loaded stays in the process that fitted it.
        """
        with ExitStack() as stack:
            fitter = self._new_worker(training, self._crewing.n_threads)
            stack.callback(fitter.close)
            reply = fitter.fit()
            fit = {"status": "ok", "wall_time_s": reply.wall_time_s, "memory_mib": reply.memory_mib}
            try:
                worker = self._saved_and_loaded(fitter, training)
            except SubmissionError as error:
                if self._is_fresh:
                    raise SubmissionError(
                        "fit_failed",
                        f"each toy has a process of its own, which loads the fitted model, but: {error}",
                    ) from error
                self.store.update(fit={**fit, "is_saved": False, "message": str(error)})
                if not fitter.is_usable:
                    return _Fitted(None, None)
                stack.pop_all()
                return _Fitted(None, fitter)
            self.store.update(fit={**fit, "is_saved": True, "message": ""})
            return _Fitted(self.store.model_folder, worker)

    def _saved_and_loaded(self, fitter: Worker, training: SharedTraining) -> Worker:
        """A worker with the saved model; the run folder keeps the model only if it can be loaded."""
        candidate = self.store.candidate_folder
        fitter.save(candidate)
        worker = self._start_worker(training, candidate)
        candidate.rename(self.store.model_folder)
        return worker


def _row(submission: Submission, outcome: Outcome) -> dict[str, Any]:
    """Row of the results table."""
    truth, reply = outcome.truth, outcome.reply
    return {
        "submission": submission.name,
        "i_mu": truth.i_mu,
        "i_toy": truth.i_toy,
        "mu_true": truth.mu,
        **vars(outcome.answer),
        "n_events": outcome.n_events,
        "wall_time_s": reply.wall_time_s if reply else math.nan,
        "memory_mib": reply.memory_mib if reply else math.nan,
        **prefixed(truth.nuisances),
    }


def _recorded(truths: Sequence[Truth], rows: Sequence[Row]) -> list[Recorded]:
    """Valid answers, in the order in which they were given."""
    by_key = {(t.i_mu, t.i_toy): t for t in truths}
    return [
        Recorded(by_key[row["i_mu"], row["i_toy"]], Answer("ok", "", *(float(row[k]) for k in KEYS)))
        for row in rows
        if row["status"] == "ok"
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
