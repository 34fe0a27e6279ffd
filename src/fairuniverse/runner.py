"""Running submissions on a benchmark: fit each once, show every toy to all, leave run folders that resume.

The host draws toys ahead of the workers and writes what they answer. It alone knows truths, and toys come in
an order that says nothing about them.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

from fairuniverse.crew import Crew
from fairuniverse.distribution import Distribution, Site, Tally
from fairuniverse.entry import Entry
from fairuniverse.errors import InvalidDataError
from fairuniverse.isolation.backends import Backend
from fairuniverse.isolation.process import SharedTraining
from fairuniverse.presentation import Presentation
from fairuniverse.provenance import n_cores
from fairuniverse.repeatability import ask_again
from fairuniverse.station import Benchmark, Crewing, share_training
from fairuniverse.store import LocalPlace, RunStore, Where, open_place, read_results
from fairuniverse.submission import Submission
from fairuniverse.tasks import Job

if TYPE_CHECKING:
    from tqdm import tqdm

    from fairuniverse.events import Events
    from fairuniverse.pseudo_experiments import Truth
    from fairuniverse.results import Results
    from fairuniverse.team import Team


_AT_ONCE = 8
"""Run folders that are opened at the same time."""

LINE_S = 60.0
"""How often a run on a cluster says in a log how far it is, seconds."""


def run_submission(
    benchmark: Benchmark,
    submission: Submission,
    run_folder: Where,
    *,
    backend: Backend,
    n_workers: int = 1,
    n_threads: int | None = None,
    overwrite: bool = False,
) -> Results:
    """Run one submission: `run_submissions` of it alone."""
    (results,) = run_submissions(
        benchmark,
        [(submission, run_folder)],
        backend=backend,
        n_workers=n_workers,
        n_threads=n_threads,
        overwrite=overwrite,
    )
    return results


def run_submissions(
    benchmark: Benchmark,
    submissions: Sequence[tuple[Submission, Where]],
    *,
    backend: Backend,
    n_workers: int = 1,
    n_threads: int | None = None,
    overwrite: bool = False,
    site: Site | None = None,
) -> list[Results]:
    """Fit submissions, let them answer every toy, and read the results back from their run folders.

    The training events are there once for all, and each toy is drawn once for all that have not answered it.
    A run that was interrupted, in whatever way, goes on where it was. The answers do not depend on the number
    of workers nor on the other submissions, provided that a submission's answer to one toy does not depend on
    the toys before.

    Args:
        benchmark: What to measure.
        submissions: What measures it, each with a run folder of its own, where its results go: a path or URL.
        backend: How the submissions' processes are isolated.
        n_workers: Processes that answer toys at the same time, each with one thread.
        n_threads: Threads for drawing toys and for the fits; all cores by default.
        overwrite: Whether to throw away runs that are in the folders.
        site: Where to do it if not in this process, whose `n_workers` then says nothing.

    Raises:
        InvalidDataError: A run folder belongs to another benchmark or submission,
            or lies inside the submission.
        StorageError: A run folder cannot be written; what is finished is kept.
        IsolationError: A worker cannot be started as safely as asked.
        ExecutorError: The site is lost; what is finished is kept.
    """
    crewing = Crewing(backend, n_workers, n_threads or n_cores(), threading.Event())
    presentation = Presentation(benchmark.pseudo_experiments, benchmark.config.seed)
    for submission, folder in submissions:
        _require_outside(folder, submission)
    with ExitStack() as stack, _ending_on_sigterm():
        stores = _stores(benchmark, submissions, stack, overwrite=overwrite)
        entries = [
            Entry(benchmark, submission, store, crewing, presentation)
            for (submission, _), store in zip(submissions, stores, strict=True)
        ]
        for entry in entries:
            if entry.is_finished and not entry.store.has_truths:
                entry.store.write_truths(benchmark.pseudo_experiments.truths())
        unfinished = [entry for entry in entries if not entry.is_finished]
        if unfinished:
            _Session(benchmark, unfinished, crewing, presentation.toys, site).work()
        return [read_results(entry.store.folder) for entry in entries]


def _stores(
    benchmark: Benchmark,
    submissions: Sequence[tuple[Submission, Where]],
    stack: ExitStack,
    *,
    overwrite: bool,
) -> list[RunStore]:
    """Run folders, opened at the same time: in an object store each may wait for its last keeper."""

    def opened(submission: Submission, folder: Where) -> RunStore:
        identity = {"benchmark_digest": benchmark.config.digest(), "submission_digest": submission.digest}
        return RunStore(folder, identity, overwrite=overwrite)

    with _clock("opening the runs"), ThreadPoolExecutor(_AT_ONCE) as threads:
        futures = [threads.submit(opened, *each) for each in submissions]
    for future in futures:
        if future.exception() is None:
            stack.enter_context(future.result())
    return [future.result() for future in futures]


def _require_outside(run_folder: Where, submission: Submission) -> None:
    place = open_place(run_folder)
    if isinstance(place, LocalPlace) and submission.path in (place.path, *place.path.parents):
        raise InvalidDataError(f"run folder {run_folder} is inside the submission: choose one outside")


class _Session:
    """One session of a run.

    Args:
        benchmark: What to measure.
        entries: The submissions that have something left to do.
        crewing: How workers are started.
        toys: All toys, in the order of presentation.
        site: Where to do it if not in this process.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        entries: Sequence[Entry],
        crewing: Crewing,
        toys: Sequence[Truth],
        site: Site | None,
    ) -> None:
        self._benchmark = benchmark
        self._entries = entries
        self._crewing = crewing
        self._toys = toys
        self._site = site

    def work(self) -> None:
        """Fit what is not fitted, answer what is not answered, and ask some of all toys again."""
        for entry in self._entries:
            entry.record_start()
        here = self._entries
        if self._site:
            self._distribute(self._site)
            here = [entry for entry in here if entry.needs_this_process]
        if here:
            self._work_here(here)
        for entry in self._entries:
            entry.record_end()

    def _work_here(self, entries: Sequence[Entry]) -> None:
        """Do for some submissions what is left to do."""
        is_needed = any(entry.needs_training for entry in entries if entry.missing or entry.has_model)
        with closing(share_training(self._benchmark, is_needed=is_needed)) as training:
            self._answer([entry for entry in entries if entry.missing], training)
            self._crewing.stop.clear()
            self._ask_again(entries, training)

    def _ask_again(self, entries: Sequence[Entry], training: SharedTraining) -> None:
        """Record whether answers depend on the toy alone, for submissions with a model that gave any."""
        recorded = {entry: toys for entry in entries if (toys := entry.to_ask_again())}
        doubted = [entry.station.doubted(training, toys) for entry, toys in recorded.items()]
        with _clock(f"asking {_names(list(recorded))} again"):
            for entry, found in zip(recorded, ask_again(doubted, draw=self._draw), strict=True):
                entry.record_repeatability(found)

    def _draw(self, truth: Truth) -> Events:
        """A toy's events; their arrays are reused by the next draw."""
        return self._benchmark.pseudo_experiments.draw(truth, n_threads=self._crewing.n_threads).events

    def _distribute(self, site: Site) -> None:
        """Have everything done elsewhere that can be."""
        entries = tuple((e.submission, str(e.store.folder), e.store.run) for e in self._entries)
        job = Job(uuid4().hex, site.benchmark, site.backend, entries)
        names, n_all = _names(self._entries), len(self._toys) * len(self._entries)
        with ExitStack() as stack:
            with _clock("waiting for workers"):
                executor = stack.enter_context(site.open())
            _say(f"on {executor.description}", is_needed=not executor.is_here)
            distribution = stack.enter_context(
                Distribution(job, self._entries, executor, self._crewing, len(self._toys))
            )
            with _clock(f"fitting {names}"):
                distribution.fit()
            n_todo = sum(len(e.missing) for e in self._entries)
            with _progress(names, n_all, n_todo) as bar:
                distribution.answer(_Watch(bar, n_all, is_log=not executor.is_here))
            with _clock(f"asking {names} again"):
                distribution.ask_again()

    def _answer(self, entries: Sequence[Entry], training: SharedTraining) -> None:
        """Let submissions answer the toys that they have not."""
        with ExitStack() as stack:
            teams: dict[Entry, Team] = {}
            for entry in entries:
                with _clock(f"fitting {entry.name}"):
                    team = entry.fit(training)
                if team is not None:
                    stack.callback(team.close)
                    teams[entry] = team
            if teams:
                self._show(list(teams.values()))
        for entry in teams:
            entry.give_up()

    def _show(self, teams: Sequence[Team]) -> None:
        n_workers, stop = self._crewing.n_workers, self._crewing.stop
        crew = Crew(self._toys, teams, draw=self._draw, n_workers=n_workers, stop=stop)
        with _progress(_names(self._entries), len(self._toys) * len(teams), sum(map(len, teams))) as bar:
            crew.work(bar.update)


def _names(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.name for entry in entries)


def _progress(names: str, n_answers: int, n_todo: int) -> tqdm[NoReturn]:
    """Progress over all answers on standard error, where that is a terminal."""
    from tqdm import tqdm

    unit = " answers"
    return tqdm(total=n_answers, initial=n_answers - n_todo, desc=names, unit=unit, delay=2, disable=None)


class _Watch:
    """Shows how far a run is: on the bar of a terminal, or by a line now and then in the log of a job.

    Args:
        bar: The bar.
        n_answers: Answers that the run is to have.
        is_log: Whether standard error, where it is no terminal, is a log that somebody reads.
    """

    def __init__(self, bar: tqdm[NoReturn], n_answers: int, *, is_log: bool) -> None:
        self._bar = bar
        self._n_answers = n_answers
        self._is_log = is_log and not sys.stderr.isatty()
        self._said = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        """Show a tally."""
        self._bar.set_postfix_str(tally.summary(), refresh=False)
        self._bar.update(tally.n_new())
        if self._is_log and time.monotonic() - self._said > LINE_S:
            self._said = time.monotonic()
            n_there = self._n_answers - tally.n_todo + tally.n_done
            _say(f"{n_there} of {self._n_answers} answers, {tally.summary()}", is_needed=True)


def _say(line: str, *, is_needed: bool) -> None:
    """A line on standard error, where that is a terminal or the line is needed anyway."""
    if is_needed or sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


@contextmanager
def _clock(title: str) -> Iterator[None]:
    """Elapsed time on standard error, where that is a terminal, of something without other progress."""
    from tqdm import tqdm

    done = threading.Event()
    with tqdm(desc=title, bar_format="{desc}: {elapsed}", delay=2, leave=False, disable=None) as bar:

        def tick() -> None:
            while not bar.disable and not done.wait(2):
                bar.refresh()

        thread = threading.Thread(target=tick, daemon=True)
        try:
            thread.start()
            yield
        finally:
            done.set()
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
