"""What a process on any machine does for a run: fit one submission, or answer a block of toys.

A task is plain and small: which benchmark, which submissions, which toys. Seeds travel, never events. Each
process keeps what it needs from one task to the next, and writes what it finishes into the run folders.
"""

from __future__ import annotations

import atexit
import math
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from fairuniverse.errors import InvalidDataError, StorageError, SubmissionError
from fairuniverse.isolation.answers import Answer
from fairuniverse.isolation.backends import Backend
from fairuniverse.isolation.process import SharedTraining, feature_columns
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.presentation import Presentation
from fairuniverse.provenance import versions
from fairuniverse.repeatability import Doubted, Recorded, Repeatability
from fairuniverse.repeatability import ask_again as ask_fresh
from fairuniverse.station import Benchmark, Crewing, Fit, Station, share_training
from fairuniverse.store import RunFolder
from fairuniverse.submission import Submission, load_submission
from fairuniverse.team import Lane, Outcome, Patience, Team, close_all

if TYPE_CHECKING:
    from fairuniverse.events import Events
    from fairuniverse.pseudo_experiments import Truth


IDLE_S = 120.0
"""Time without a task after which a session loses what it holds in a process, if another one works there."""


@dataclass(frozen=True)
class Job:
    """What all tasks of a session have in common. It can be pickled.

    Attributes:
        session: Name of the session, by which processes know the job again.
        benchmark: Makes the benchmark for a number of threads, from files that are the same on every machine.
        backend: Makes the backend that isolates submissions.
        submissions: The submissions, each with its run folder and the name of its run.
        needs_training: Whether a fitted model refers to the training events.
        versions: What must be the same where tasks are done, to give the same bits.
    """

    session: str
    benchmark: Callable[[int], Benchmark]
    backend: Callable[[], Backend]
    submissions: tuple[tuple[Submission, str, str], ...]
    needs_training: bool = True
    versions: Mapping[str, str] = field(default_factory=versions)


@dataclass(frozen=True)
class Block:
    """Toys that are answered by one process, one after the other.

    Attributes:
        places: What each submission has to answer, by its number in the job.
    """

    places: Mapping[int, Sequence[int]]

    def __len__(self) -> int:
        """Number of answers."""
        return sum(map(len, self.places.values()))

    @cached_property
    def toys(self) -> list[int]:
        """Places of its toys, in the order of presentation."""
        return sorted(set().union(*self.places.values()))


@dataclass
class Report:
    """What a process tells of the blocks that it did.

    Attributes:
        host: Name of the machine and number of the process.
        wall_time_s: Time that it took, seconds.
        statuses: Answers by status, for each submission.
        deaths: Places of the toys at which workers of a submission died, by its number in the job.
        gpus: Graphics processors that the submissions were given there.
    """

    host: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    wall_time_s: float = 0.0
    statuses: dict[int, Counter[str]] = field(default_factory=dict)
    deaths: dict[int, list[int]] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()


def answer(job: Job, blocks: Sequence[Block]) -> Report:
    """Answer blocks of toys, and write each as a part into each run folder.

    Raises:
        InvalidDataError: A submission's files, or this package, differ from those where the run was started.
        StorageError: A part cannot be written.
        IsolationError: A worker cannot be started as safely as asked.
    """
    start, report = time.perf_counter(), Report()
    with _host(job) as host:
        for block in blocks:
            host.answer(block, report)
    report.wall_time_s = time.perf_counter() - start
    report.gpus = host.gpus
    return report


def fit(job: Job, number: int, n_threads: int) -> Fit:
    """Fit one submission of a job and leave the model in its run folder.

    Args:
        job: The job.
        number: Number of the submission in the job.
        n_threads: Threads to fit with.
    """
    with _host(job, n_threads) as host:
        return host.stations[number].fit_for_others(host.training)


def try_out(job: Job, number: int, candidate: Path) -> str:
    """Start a worker of a submission with a model that has just been fitted on this machine, and keep it.

    Args:
        job: The job.
        number: Number of the submission in the job.
        candidate: Folder of the model.

    Returns:
        Why the model cannot be loaded; empty if it can.
    """
    with _host(job) as host:
        return host.try_out(number, candidate)


def ask_again(job: Job, recorded: Mapping[int, Sequence[Recorded]]) -> dict[int, Repeatability]:
    """Ask submissions of a job some toys again, in processes that have seen no other.

    Args:
        job: The job.
        recorded: The toys of each submission, by its number in the job, with the answers that they have.
    """
    with _host(job) as host:
        return host.ask_again(recorded)


class _Host:
    """What a process holds for a job: the benchmark, the submissions' workers, room for one toy.

    Attributes:
        purpose: Whether it has training events, if asked for them, and the threads that it works with.
        idle_since: When its last task ended; None during a task.
    """

    idle_since: float | None = None

    def __init__(self, job: Job, n_threads: int = 1) -> None:
        _require_same_versions(job.versions)
        self._benchmark = job.benchmark(n_threads)
        self._crewing = Crewing(_backend(job), 1, n_threads, threading.Event())
        self.purpose = job.needs_training, n_threads
        self._stack = ExitStack()
        who = Report().host
        for submission, _, _ in job.submissions:
            _require_same_files(submission)
        self.stations = [
            Station(self._benchmark, submission, RunFolder(folder, run), self._crewing, who=who)
            for submission, folder, run in job.submissions
        ]
        for station in self.stations:
            station.folder.require_visible()
        self._lanes: dict[int, Lane] = {}
        self._toys = Presentation(self._benchmark.pseudo_experiments, self._benchmark.config.seed).toys
        self._table = SharedTable()
        self._stack.callback(self._table.close)

    @property
    def gpus(self) -> tuple[str, ...]:
        """Graphics processors that submissions are given."""
        return tuple(str(gpu.inside) for gpu in self._crewing.backend.gpus)

    def close(self) -> None:
        """End the workers and give memory back."""
        self._crewing.stop.set()
        try:
            close_all(list(self._lanes.values()))  # on Dask a task may still add one
        finally:
            self._stack.close()

    @cached_property
    def training(self) -> SharedTraining:
        """The training set; without events if no model refers to them."""
        needs_training, _ = self.purpose
        training = share_training(self._benchmark, is_needed=needs_training)
        self._stack.callback(training.close)
        return training

    def try_out(self, number: int, candidate: Path) -> str:
        """Have a worker with this model, unless there is one; gives back why it cannot be loaded.

        Where others try it out, too, it may be kept as the model of the run meanwhile.
        """
        if number not in self._lanes:
            station = self.stations[number]
            try:
                worker = station.start_worker(
                    self.training, lambda: candidate if candidate.is_dir() else station.folder.model_folder
                )
            except SubmissionError as error:
                return str(error)
            finally:
                station.folder.publish()
            self._keep(number, station.lane(self.training, worker))
        return ""

    def answer(self, block: Block, report: Report) -> None:
        """Answer one block."""
        todo = {n: p for n, p in block.places.items() if not self.stations[n].folder.has_part(p[0], p[-1])}
        teams = {
            n: self.stations[n].team(places, [self._lane(n)], Patience(), part_s=math.inf)
            for n, places in todo.items()
        }
        for place in sorted(set().union(*todo.values())):
            self._ask(place, [(n, team) for n, team in teams.items() if team.has(place)], report)
        for team in teams.values():
            team.flush()

    def ask_again(self, recorded: Mapping[int, Sequence[Recorded]]) -> dict[int, Repeatability]:
        """Compare answers with those of fresh processes, which take the place of those that gave them."""
        doubted = [
            Doubted(toys, partial(self._fresh_lane, number), lambda _: None, self.stations[number].told)
            for number, toys in recorded.items()
        ]
        return dict(zip(recorded, ask_fresh(doubted, draw=self._draw), strict=True))

    def _fresh_lane(self, number: int) -> Lane:
        """The submission's lane, which has a new process from the next toy on."""
        lane = self._lane(number)
        lane.close()
        return lane

    def _draw(self, truth: Truth) -> Events:
        return self._benchmark.pseudo_experiments.draw(truth).events

    def _ask(self, place: int, asked: Sequence[tuple[int, Team]], report: Report) -> None:
        """Show one toy to these submissions, one after the other."""
        truth, n_events = self._toys[place], 0
        if not all(team.gives_up(place) for _, team in asked):
            events = self._draw(truth)
            self._table.write(feature_columns(events))
            n_events = len(events)
        for number, team in asked:
            answer, reply = Answer("missing"), None
            if not team.gives_up(place):
                answer, reply = self._lane(number).ask(self._table, nuisances=team.told(truth))
                if reply is None:
                    report.deaths.setdefault(number, []).append(place)
            team.record(Outcome(place, truth, answer, reply, n_events))
            report.statuses.setdefault(number, Counter())[answer.status] += 1

    def _lane(self, number: int) -> Lane:
        if number not in self._lanes:
            folder = self.stations[number].folder.model_folder
            if not folder.is_dir():
                raise StorageError(f"no {folder} here: choose an output folder that all machines share")
            self._keep(number, self.stations[number].lane(self.training))
        return self._lanes[number]

    def _keep(self, number: int, lane: Lane) -> None:
        self._lanes[number] = lane


_backends: dict[str, Backend] = {}


def _backend(job: Job) -> Backend:
    """The backend of a job, tried out once in a process and session."""
    if job.session not in _backends:
        _backends[job.session] = job.backend()
    return _backends[job.session]


_kept: dict[tuple[str, int], _Host] = {}
_keeping = threading.Lock()


@contextmanager
def _host(job: Job, n_threads: int = 1) -> Iterator[_Host]:
    """The host of a job in this thread, kept until another is needed or the session is released.

    All fits of a process share its training set. It goes when toys are answered by models that need none.
    """
    key, purpose = (job.session, threading.get_ident()), (job.needs_training, n_threads)
    with _keeping:
        if host := _kept.get(key):
            host.idle_since = None
    _release_idle()
    if host is None or host.purpose != purpose:
        if host:
            _kept.pop(key).close()
        host = _kept[key] = _Host(job, n_threads)
    try:
        yield host
    finally:
        host.idle_since = time.monotonic()


def _release_idle() -> None:
    """Release hosts that have had no task for long: a client that is killed releases nothing."""
    end = time.monotonic() - IDLE_S
    with _keeping:
        idle = [key for key, host in _kept.items() if host.idle_since is not None and host.idle_since < end]
        hosts = [_kept.pop(key) for key in idle]
    for host in hosts:
        host.close()


@atexit.register
def release(session: str | None = None) -> None:
    """End what this process holds for a session, or for all of them."""
    for key in [key for key in _kept if session in (None, key[0])]:
        _kept.pop(key).close()
    for name in [name for name in _backends if session in (None, name)]:
        del _backends[name]


def _require_same_versions(versions_there: Mapping[str, str]) -> None:
    """The versions here must be those of where the run was started."""
    for name, version in versions().items():
        if versions_there.get(name) != version:
            raise InvalidDataError(
                f"a worker on {socket.gethostname()} has {name} {version}, and the run was started with "
                f"{versions_there.get(name)}: install the same versions on both"
            )


def _require_same_files(submission: Submission) -> None:
    """The submission must be on this machine what it is where the run was started."""
    try:
        digest = load_submission(submission.path).digest
    except (InvalidDataError, SubmissionError):
        digest = ""
    if digest != submission.digest:
        raise InvalidDataError(
            f"{submission.path} is not the same here as where the run was started: put it on a file system "
            "that all machines share, and leave it unchanged during the run"
        )
