"""Running a submission on a benchmark: fit once, answer every toy, leave a run folder that can be resumed.

The host draws toys ahead of the workers and writes what they answer. It alone knows truths, and toys come in
an order that says nothing about them.
"""

from __future__ import annotations

import math
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from fairuniverse._version import __version__
from fairuniverse.crew import Crew, Lane, Outcome, Patience, Row
from fairuniverse.errors import InvalidDataError, SubmissionError
from fairuniverse.isolation.answers import KEYS, Answer
from fairuniverse.isolation.backends import Backend
from fairuniverse.isolation.process import OutputLog, SharedTraining, Worker
from fairuniverse.repeatability import Recorded, Repeatability, ask_again, choose
from fairuniverse.seeding import generator
from fairuniverse.store import RunStore, prefixed, read_results
from fairuniverse.submission import Submission
from fairuniverse.training import TrainingSpec, locate, training_seed

if TYPE_CHECKING:
    from tqdm import tqdm

    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.events import Events
    from fairuniverse.protocols import Simulator
    from fairuniverse.pseudo_experiments import PseudoExperiments, Truth
    from fairuniverse.results import Results

_LIBRARIES = (
    "numpy",
    "pandas",
    "scipy",
    "pyarrow",
    "xgboost",
    "xgboost-cpu",
    "scikit-learn",
    "iminuit",
    "torch",
)


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


def run_submission(
    benchmark: Benchmark,
    submission: Submission,
    run_folder: str | Path,
    *,
    backend: Backend,
    n_workers: int = 1,
    n_threads: int | None = None,
    overwrite: bool = False,
) -> Results:
    """Fit a submission, let it answer every toy, and read the results back from the run folder.

    A run that was interrupted, in whatever way, goes on where it was. The answers do not depend on the number
    of workers, provided that the submission's answer to one toy does not depend on the toys before.

    Args:
        benchmark: What to measure.
        submission: What measures it.
        run_folder: Where results go; one folder per submission.
        backend: How the submission's processes are isolated.
        n_workers: Processes that answer toys at the same time, each with one thread.
        n_threads: Threads for drawing toys and for the fit; all cores by default.
        overwrite: Whether to throw away a run that is in the folder.

    Raises:
        InvalidDataError: The run folder belongs to another benchmark or submission,
            or lies inside the submission.
        StorageError: The run folder cannot be written; what is finished is kept.
        IsolationError: The worker cannot be started as safely as asked.
    """
    run_path = Path(run_folder).resolve()
    if submission.path in (run_path, *run_path.parents):
        raise InvalidDataError(f"run folder {run_folder} is inside the submission: choose one outside")
    identity = {"benchmark_digest": benchmark.config.digest(), "submission_digest": submission.digest}
    with RunStore(run_path, identity, overwrite=overwrite) as store, _ending_on_sigterm():
        toys = _in_random_order(benchmark, store.finished())
        if toys or "finished" not in store.manifest:
            run = _Run(benchmark, submission, store, backend, n_workers, n_threads or n_cores())
            run.record_start()
            run.work(toys)
            store.update(finished=_now())
        return read_results(store.folder)


@dataclass(frozen=True)
class _Fitted:
    """A fitted model: in a folder, or alive in one worker that must not be lost."""

    folder: Path | None
    worker: Worker | None


class _Run:
    """One session of a run: its workers and its bookkeeping."""

    def __init__(
        self,
        benchmark: Benchmark,
        submission: Submission,
        store: RunStore,
        backend: Backend,
        n_workers: int,
        n_threads: int,
    ) -> None:
        self.benchmark = benchmark
        self.submission = submission
        self.store = store
        self.backend = backend
        self.n_workers = n_workers
        self.n_threads = n_threads
        self.log = OutputLog(store.log_path)
        self.stop = threading.Event()

    def record_start(self) -> None:
        """Write the manifest and the truths; a run is isolated only if every session of it was."""
        self.store.write_truths(self.benchmark.pseudo_experiments.truths())
        sessions = [
            *self.store.manifest.get("sessions", []),
            {"started": _now(), "n_workers": self.n_workers},
        ]
        earlier = self.store.manifest.get("isolation", {"is_isolated": True})
        provenance = _provenance(
            self.benchmark, self.submission, self.backend, was_isolated=earlier["is_isolated"]
        )
        self.store.update(**provenance, sessions=sessions)

    def work(self, toys: Sequence[Truth]) -> None:
        """Fit if need be, answer these toys, and ask some of all again."""
        training = SharedTraining(self.benchmark.training_events, _training_spec(self.benchmark))
        try:
            if not toys or self._answer(toys, training):
                with _clock(f"asking {self.submission.name} again"):
                    self._ask_again(training)
        finally:
            training.close()

    def _answer(self, toys: Sequence[Truth], training: SharedTraining) -> bool:
        """Answer these toys; False if there is no model that could."""
        try:
            with _clock(f"fitting {self.submission.name}"):
                fitted = self._fitted(training)
        except SubmissionError as error:
            failure = Answer("fit_failed", str(error))
            self.store.update(fit={"status": "fit_failed", "message": str(error)})
            self._write([Outcome(t, failure) for t in toys])
            return False
        n_lanes = min(self.n_workers, len(toys)) if fitted.folder else 1
        lanes = [self._lane(training, fitted.folder, w) for w in (fitted.worker, *[None] * (n_lanes - 1))]
        patience = Patience(self.store.rows())
        crew = Crew(toys, lanes, draw=self._draw, told=self.told, patience=patience, stop=self.stop)
        with _progress(self.benchmark, self.submission, len(toys)) as bar:
            crew.work(self._write, bar.update)
        return True

    def _ask_again(self, training: SharedTraining) -> None:
        """Record whether answers depend on the toy alone."""
        self.stop.clear()
        self.store.update(repeatability=self._repeatability(training).to_json())

    def _repeatability(self, training: SharedTraining) -> Repeatability:
        if self.is_fresh:
            return Repeatability("fresh")
        folder = self.store.model_folder
        if not folder.is_dir():
            return Repeatability("not_checked", "the model cannot be saved, so no fresh process has it")
        truths = self.benchmark.pseudo_experiments.truths()
        rng = generator(self.benchmark.config.seed, "toys asked again")
        return ask_again(
            choose(_recorded(truths, self.store.rows()), rng=rng),
            lane=partial(self._lane, training, folder),
            draw=self._draw,
            told=self.told,
        )

    def _lane(self, training: SharedTraining, folder: Path | None, worker: Worker | None = None) -> Lane:
        return Lane(worker, partial(self.start_worker, training, folder), is_fresh=self.is_fresh)

    @property
    def is_fresh(self) -> bool:
        """Whether every toy has a process of its own."""
        return self.benchmark.config.limits.state == "fresh"

    def _draw(self, truth: Truth) -> Events:
        return self.benchmark.pseudo_experiments.draw(truth, n_threads=self.n_threads).events

    def _write(self, outcomes: Sequence[Outcome]) -> None:
        self.store.write_part([_row(self.submission, outcome) for outcome in outcomes])

    def told(self, truth: Truth) -> Mapping[str, float] | None:
        """What the submission is told of a truth: a reference the nuisances, a method nothing."""
        return truth.nuisances if self.submission.is_reference else None

    def start_worker(self, training: SharedTraining, folder: Path | None, n_threads: int = 1) -> Worker:
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
            backend=self.backend,
            limits=self.benchmark.config.limits,
            log=self.log,
            stop=self.stop,
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
            fitter = self._new_worker(training, self.n_threads)
            stack.callback(fitter.close)
            reply = fitter.fit()
            fit = {"status": "ok", "wall_time_s": reply.wall_time_s, "memory_mib": reply.memory_mib}
            try:
                worker = self._saved_and_loaded(fitter, training)
            except SubmissionError as error:
                if self.is_fresh:
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
        worker = self.start_worker(training, candidate)
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


def _in_random_order(benchmark: Benchmark, finished: set[tuple[int, int]]) -> list[Truth]:
    """Toys without a row, in an order from a stream of its own."""
    truths = benchmark.pseudo_experiments.truths()
    order = generator(benchmark.config.seed, "order of presentation").permutation(len(truths))
    return [truths[i] for i in order if (truths[i].i_mu, truths[i].i_toy) not in finished]


def _training_spec(benchmark: Benchmark) -> TrainingSpec:
    config = benchmark.config
    return TrainingSpec(
        simulator=locate(benchmark.simulator),
        options=config.simulator.options,
        seed=training_seed(config.training.seed),
        nuisances=config.nuisances,
        mu_range=config.mu_range,
        confidence_level=config.confidence_level,
    )


def _provenance(
    benchmark: Benchmark, submission: Submission, backend: Backend, *, was_isolated: bool
) -> dict[str, Any]:
    """Entries of the manifest that say what was run, and where."""
    config = benchmark.config
    return {
        "benchmark": {"name": config.name, "version": config.version, "config": config.to_dict()},
        "mu_range": list(config.mu_range),
        "confidence_level": config.confidence_level,
        "n_mu": benchmark.pseudo_experiments.n_mu,
        "n_toys": benchmark.pseudo_experiments.n_toys,
        "submission": {
            "name": submission.name,
            "digest": submission.digest,
            "is_reference": submission.is_reference,
        },
        "isolation": {"backend": backend.name, "is_isolated": backend.is_isolated and was_isolated},
        "versions": _versions(),
        "machine": {"platform": platform.platform(), "n_cores": n_cores(), "processor": platform.machine()},
    }


def _versions() -> dict[str, str]:
    found = {"fairuniverse": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _progress(benchmark: Benchmark, submission: Submission, n_todo: int) -> tqdm[NoReturn]:
    """Progress over all toys on standard error, where that is a terminal."""
    from tqdm import tqdm

    total = len(benchmark.pseudo_experiments)
    return tqdm(
        total=total, initial=total - n_todo, desc=submission.name, unit=" toys", delay=2, disable=None
    )


@contextmanager
def _clock(title: str) -> Iterator[None]:
    """Elapsed time on standard error, where that is a terminal, of something without other progress."""
    from tqdm import tqdm

    done = threading.Event()
    with tqdm(desc=title, bar_format="{desc}: {elapsed}", delay=2, leave=False, disable=None) as bar:

        def tick() -> None:
            while not bar.disable and not done.wait(2):
                bar.refresh()

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            bar.clear()


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the run in order, as Ctrl-C does, where nobody else handles it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
