"""What asks one submission on one machine: it fits the model, starts workers, and writes what they answer."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.backends import Backend
from fairuniverse.isolation.output import OutputLog
from fairuniverse.isolation.process import SharedTraining, Worker
from fairuniverse.repeatability import Doubted, Recorded
from fairuniverse.store import RunFolder, prefixed
from fairuniverse.submission import Submission
from fairuniverse.team import PART_S, Lane, Outcome, Patience, Team
from fairuniverse.training import TrainingSpec, locate, training_seed

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
class Fit:
    """How a fit went; an entry of the manifest.

    Attributes:
        status: "ok" or "fit_failed".
        message: What was wrong; empty if nothing.
        is_saved: Whether the model is in the run folder, for any worker to load.
        needs_training: Whether the saved model refers to the training events.
        wall_time_s: Time of the fit, seconds.
        cpu_time_s: Its processor time, seconds.
        memory_mib: Largest memory of the fit, MiB.
    """

    status: str = "ok"
    message: str = ""
    is_saved: bool = False
    needs_training: bool = True
    wall_time_s: float = math.nan
    cpu_time_s: float = math.nan
    memory_mib: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Entry of the manifest."""
        return {k: v for k, v in asdict(self).items() if not (isinstance(v, float) and math.isnan(v))}


Trial = Callable[[Path], bool]
"""Starts workers with the model in a folder where toys will be answered: False if that could not be tried.

It raises `SubmissionError` if the model cannot be loaded.
"""


class Station:
    """What asks one submission on this machine.

    Args:
        benchmark: What to measure.
        submission: What measures it.
        folder: Its run folder.
        crewing: How its workers are started.
        who: Name of this process among several that ask the same submission.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        submission: Submission,
        folder: RunFolder,
        crewing: Crewing,
        *,
        who: str = "",
    ) -> None:
        self.submission = submission
        self.folder = folder
        self._limits = benchmark.config.limits
        self._crewing = crewing
        self._log = OutputLog(folder.log_path(who))

    @property
    def is_fresh(self) -> bool:
        """Whether every toy has a process of its own."""
        return self._limits.state == "fresh"

    def fit(self, training: SharedTraining, trial: Trial | None = None) -> tuple[Fit, Worker | None]:
        """Fit, save, and load again in a new process.

        Toys are always answered by a model that was loaded, so that any number of workers, and a resumed run,
        give the same answers. A model that cannot be saved and loaded stays in the process that fitted it.

        Args:
            training: The training set.
            trial: Tries elsewhere whether a model can be loaded that needs no training events.

        Returns:
            How it went, and a worker that has the model, if there is one here.
        """
        try:
            return self._fit(training, trial)
        except SubmissionError as error:
            return Fit("fit_failed", str(error)), None
        finally:
            self.folder.publish()

    def fit_for_others(self, training: SharedTraining, trial: Trial | None = None) -> Fit:
        """Fit and save, as `fit` does: the model is for other processes to load."""
        fit, worker = self.fit(training, trial)
        if worker:
            worker.close()
        return fit

    def lane(self, training: SharedTraining, worker: Worker | None = None) -> Lane:
        """A worker with the saved model, replaced whenever it dies; without one, each fits the model again.

        Args:
            training: The training set.
            worker: One that is there already.
        """

        def start() -> Worker:
            folder = self.folder.model_folder
            return self.start_worker(training, (lambda: folder) if folder.is_dir() else None)

        return Lane(worker, start, is_fresh=self.is_fresh)

    def team(
        self,
        places: Sequence[int],
        lanes: Sequence[Lane],
        patience: Patience,
        *,
        part_s: float = PART_S,
    ) -> Team:
        """Workers that answer these toys.

        Args:
            places: The toys, by when they are shown.
            lanes: The workers.
            patience: Ends a hopeless run.
            part_s: Time after which a part is written, seconds.
        """
        return Team(places, lanes, write=self.write, patience=patience, told=self.told, part_s=part_s)

    def doubted(self, training: SharedTraining, recorded: Sequence[Recorded]) -> Doubted:
        """The submission as it is asked again, by processes that end with the check.

        Args:
            training: The training set.
            recorded: Toys with valid answers.
        """
        return Doubted(recorded, partial(self.lane, training), Lane.close, self.told)

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Record finished toys in the run folder."""
        self.folder.write_part([_row(self.submission, outcome) for outcome in outcomes])

    def told(self, truth: Truth) -> Mapping[str, float] | None:
        """What the submission is told of a truth: a reference the nuisances, a method nothing."""
        return truth.nuisances if self.submission.is_reference else None

    def start_worker(self, training: SharedTraining, folder: Callable[[], Path] | None) -> Worker:
        """A worker with the fitted model.

        Args:
            training: The training set.
            folder: Tells where the model is once the process has started; None to fit again.

        Raises:
            SubmissionError: It cannot be loaded, or fitted.
        """
        worker = self._new_worker(training, n_threads=1)
        try:
            if folder is None:
                worker.fit()
            else:
                worker.load(folder())
        except BaseException:
            worker.close()
            raise
        return worker

    def _new_worker(self, training: SharedTraining, n_threads: int) -> Worker:
        return Worker(
            self.submission,
            training,
            backend=self._crewing.backend,
            limits=self._limits,
            log=self._log,
            stop=self._crewing.stop,
            n_threads=n_threads,
        )

    def _fit(self, training: SharedTraining, trial: Trial | None) -> tuple[Fit, Worker | None]:
        with ExitStack() as stack:
            fitter = self._new_worker(training, self._crewing.n_threads)
            stack.callback(fitter.close)
            reply = fitter.fit()
            fit = Fit(wall_time_s=reply.wall_time_s, cpu_time_s=reply.cpu_time_s, memory_mib=reply.memory_mib)
            try:
                return self._saved_and_loaded(fitter, training, fit, trial)
            except SubmissionError as error:
                if self.is_fresh:
                    raise SubmissionError(
                        "fit_failed",
                        f"each toy has a process of its own, which loads the fitted model, but: {error}",
                    ) from error
                if not fitter.is_usable:
                    return replace(fit, message=str(error)), None
                stack.pop_all()
                return replace(fit, message=str(error)), fitter

    def _saved_and_loaded(
        self, fitter: Worker, training: SharedTraining, fit: Fit, trial: Trial | None
    ) -> tuple[Fit, Worker | None]:
        """A worker with the saved model; the run folder keeps the model only if it can be loaded."""
        candidate, worker = self.folder.new_candidate_folder(), None
        try:
            fit = replace(fit, is_saved=True, needs_training=fitter.save(candidate))
            if fit.needs_training or trial is None or not trial(candidate):
                worker = self.start_worker(training, lambda: candidate)
            self.folder.keep_model(candidate, fit.to_json())
        except BaseException:
            if worker:
                worker.close()
            shutil.rmtree(candidate, ignore_errors=True)
            raise
        return fit, worker


def share_training(benchmark: Benchmark, *, is_needed: bool = True) -> SharedTraining:
    """The training set for workers.

    Args:
        benchmark: What to measure.
        is_needed: Whether there is something to fit, or a model that refers to the events. Otherwise none
            are made.
    """
    events = benchmark.training_events if is_needed else _no_events(benchmark.simulator)
    return SharedTraining(events, training_spec(benchmark))


def _no_events(simulator: Simulator) -> Events:
    from fairuniverse.events import Events

    schema, names = simulator.schema, tuple(p.name for p in simulator.processes)
    columns = [np.empty((len(names), 0), np.float32) for names in (schema.names, schema.record_names)]
    return Events(schema, columns[0], np.empty(0), np.empty(0, np.uint8), names, columns[1])


def training_spec(benchmark: Benchmark) -> TrainingSpec:
    """What workers must know of the training set apart from its events."""
    config = benchmark.config
    return TrainingSpec(
        simulator=locate(benchmark.simulator),
        options=config.simulator.options,
        seed=training_seed(config.training.seed),
        nuisances=config.nuisances,
        mu_range=config.mu_range,
        confidence_level=config.confidence_level,
    )


def _row(submission: Submission, outcome: Outcome) -> dict[str, Any]:
    """Row of the results table."""
    truth, reply = outcome.truth, outcome.reply
    return {
        "place": outcome.place,
        "submission": submission.name,
        "i_mu": truth.i_mu,
        "i_toy": truth.i_toy,
        "mu_true": truth.mu,
        **vars(outcome.answer),
        "n_events": outcome.n_events,
        "wall_time_s": reply.wall_time_s if reply else math.nan,
        "cpu_time_s": reply.cpu_time_s if reply else math.nan,
        "memory_mib": reply.memory_mib if reply else math.nan,
        **prefixed(truth.nuisances),
    }
