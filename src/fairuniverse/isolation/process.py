"""The host's handle on one worker process: requests with a clock and a memory watch, and a sure end."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError, SubmissionError
from fairuniverse.isolation.answers import clean
from fairuniverse.isolation.backends import Backend, Started, clean_environment
from fairuniverse.isolation.cgroup import ControlGroup, Limits, remove
from fairuniverse.isolation.guard import FOLDER_PREFIX, see_ended
from fairuniverse.isolation.installed import source_files
from fairuniverse.isolation.messages import receive, send
from fairuniverse.isolation.output import LAST_WORDS_S, OutputLog
from fairuniverse.isolation.parcel import pack_folder, unpack_folder
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.isolation.usage import MAX_OUTPUT, Budget, Usage, usage_of, worker_processes
from fairuniverse.lifetimes import wait_for_end
from fairuniverse.submission import Submission

if TYPE_CHECKING:
    from fairuniverse.config import LimitsConfig
    from fairuniverse.events import Events
    from fairuniverse.training import TrainingSpec

_COMMAND = (sys.executable, "-P", "-m", "fairuniverse.isolation.worker")
"""-P: a json.py in a submission must not take the place of Python's own before its code is wanted."""

_WATCH_S = 0.1
"""How often the memory of the process tree is looked at, seconds."""

_WATCH_SHARE = 0.02
"""Most of the time that goes into looking."""

_PROCESSES = 256
"""Processes in a sandbox, to which come some threads of the libraries for each thread they may use."""

_LIBRARIES_WITH_THREADS = 8


def feature_columns(events: Events) -> dict[str, NDArray[Any]]:
    """What a worker may see of events, column by column."""
    return dict(zip(events.schema.names, events.features, strict=True))


class SharedTraining:
    """The training set as every worker of a run receives it.

    Args:
        events: Nominal weighted labelled events.
        spec: What else the workers must know.
    """

    def __init__(self, events: Events, spec: TrainingSpec) -> None:
        if events.weights is None or events.process is None:
            raise InvalidDataError("training events need weights and process codes; these events lack them")
        table = feature_columns(events) | {"weights": events.weights, "process": events.process}
        if events.record is not None:
            table |= dict(zip(events.schema.record_names, events.record, strict=True))
        self.spec = spec
        self.code = source_files(spec.simulator)
        self.features = list(events.schema.names)
        self.table = SharedTable(n_bytes=sum(c.nbytes for c in table.values()))
        self.table.write(table)

    def close(self) -> None:
        """Give the memory back."""
        self.table.close()


@dataclass(frozen=True)
class Reply:
    """A worker's reply and what it cost.

    Attributes:
        content: The reply, not to be trusted.
        wall_time_s: Time from request to reply on the host's clock, seconds.
        cpu_time_s: Processor time of the process tree meanwhile, seconds.
        memory_mib: Largest memory of the process tree seen meanwhile, MiB.
    """

    content: Mapping[str, Any]
    wall_time_s: float
    cpu_time_s: float
    memory_mib: float


class Worker:
    """One process of a submission.

    A request that ends badly (time, memory, death, nonsense) raises `SubmissionError` and leaves the worker
    with `is_usable` False: close it and start another.

    Args:
        submission: What to run.
        training: The training set.
        backend: How to start the process.
        limits: What it may use.
        log: Where its output goes.
        stop: Once set, requests are given up.
        n_threads: Threads that it, and numerical libraries in it, may use; `train.n_threads` says so.

    Attributes:
        started: What starting it cost; ``import_s`` and ``import_mib`` are the submission's own import.
    """

    def __init__(
        self,
        submission: Submission,
        training: SharedTraining,
        *,
        backend: Backend,
        limits: LimitsConfig,
        log: OutputLog,
        stop: threading.Event,
        n_threads: int = 1,
    ) -> None:
        self.is_usable = False
        self._is_ending = False
        self._limits = limits
        self._is_reference = submission.is_reference
        self.stop = stop
        self.folder = _private_folder(submission)
        self._test = SharedTable()
        self._parcel = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._group_limits = Limits(
            limits.memory_mib, _PROCESSES + _LIBRARIES_WITH_THREADS * n_threads, n_cores=n_threads
        )
        self._is_isolated = backend.is_isolated
        self._has_gpus = bool(backend.gpus)
        self._n_requests = 0
        self._watch_again = self._peak_mib = 0.0
        self._usage = Usage()
        self._connection, theirs = socket.socketpair()
        output, their_output = os.pipe()
        self._output = log.follow(output)
        self._started: Started | None = None
        try:
            with theirs, os.fdopen(their_output, "wb"):
                self._started, fds = self._spawn(backend, training, theirs.fileno(), their_output)
            self._start(training, fds)
        except BaseException:
            self.close()
            raise

    def _spawn(
        self, backend: Backend, training: SharedTraining, connection: int, output: int
    ) -> tuple[Started, Sequence[int]]:
        """The process, and its numbers of the toy's, the training set's and the parcel's descriptors."""
        inside = backend.folder_inside(self.folder)
        fds = (connection, self._test.reader_fd, training.table.reader_fd, self._parcel.fileno())
        numbers = backend.fds_inside(fds)
        started = backend.start(
            [*_COMMAND, str(numbers[0]), str(inside)],
            folder=self.folder,
            readable=training.code,
            environment=clean_environment(inside / "scratch", self._group_limits.n_cores),
            fds=fds,
            output=output,
            limits=self._group_limits,
        )
        return started, numbers[1:]

    def fit(self) -> Reply:
        """Fit the model.

        Raises:
            SubmissionError: It failed; the status says how.
        """
        return self._demand({"op": "fit"}, self._limits.fit_timeout_s)

    def save(self, folder: Path) -> bool:
        """Save the fitted model and copy its files, which the host never runs, to a new folder.

        Returns:
            Whether the worker says that the model refers to the training events.

        Raises:
            SubmissionError: The model cannot be saved.
            StorageError: The files cannot be copied.
        """
        reply = self._demand({"op": "save"}, self._limits.fit_timeout_s)
        unpack_folder(self._parcel.fileno(), folder)
        return bool(reply.content.get("needs_training", True))

    def load(self, folder: Path) -> None:
        """Load a model saved by another worker.

        Raises:
            SubmissionError: The model cannot be loaded.
            StorageError: The files cannot be copied.
        """
        pack_folder(folder, self._parcel.fileno())
        self._demand({"op": "load"}, self._limits.fit_timeout_s)

    def show(self, test: SharedTable) -> None:
        """Copy the features of one toy, shape (n_features, n_events), to where the worker sees them."""
        self._test.copy(test)

    def predict(self, nuisances: Mapping[str, float] | None = None) -> Reply:
        """Ask about the toy that was shown.

        Args:
            nuisances: Its true nuisance values, for a reference only.

        Raises:
            SubmissionError: The worker did not survive it, or took too long.
        """
        told = {} if nuisances is None else {"nuisances": dict(nuisances)}
        request = {"op": "predict", "test_bytes": self._test.used, **told}
        return self._request(request, self._limits.predict_timeout_s)

    def begin_to_end(self) -> None:
        """Ask the guard to kill everything; `close`, which is still needed, then has less to wait for."""
        if self._started is not None and not self._is_ending:
            self._is_ending = True
            self._running.terminate()

    def close(self) -> None:
        """End the process and everything it started, and remove its private folder."""
        self._end()
        self._output.join()
        self._connection.close()
        self._test.close()
        self._parcel.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Identifier of the guard, above every process of the worker."""
        return self._running.pid

    def _start(self, training: SharedTraining, fds: Sequence[int]) -> None:
        test_fd, train_fd, parcel_fd = fds
        request = {
            "op": "start",
            # Drivers of graphics processors reserve far more than they use; what is used is watched anyway.
            "memory_mib": None if self._has_gpus else self._limits.memory_mib,
            "features": training.features,
            "is_reference": self._is_reference,
            "n_threads": self._group_limits.n_cores,
            "n_processes": self._group_limits.n_processes if self._is_isolated else None,
            "parcel_fd": parcel_fd,
            "test_fd": test_fd,
            "train_fd": train_fd,
            "train_bytes": training.table.used,
            "training": training.spec.to_json(),
        }
        self.started = self._demand(request, self._limits.fit_timeout_s)

    def _demand(self, request: Mapping[str, Any], timeout_s: float) -> Reply:
        """Request that must succeed."""
        reply = self._request(request, timeout_s)
        if "status" in reply.content:
            raise SubmissionError("fit_failed", clean(reply.content.get("message", "")))
        return reply

    def _request(self, request: Mapping[str, Any], timeout_s: float) -> Reply:
        self._n_requests += 1
        self.is_usable = False
        cpu_s, start = self._cpu_s_now(), time.perf_counter()
        self._peak_mib = self._usage.memory_mib
        self._budget = self._new_budget(request["op"], timeout_s)
        with suppress(OSError):  # a dead worker is found by the missing reply
            send(self._connection, {"id": self._n_requests, **request})
        self._wait(start, timeout_s, request["op"])
        content = self._receive(max(start + timeout_s - time.perf_counter(), _WATCH_S))
        wall_time_s = time.perf_counter() - start
        if content.get("id") != self._n_requests:
            raise SubmissionError(
                "crashed", "a reply that nobody asked for: model.py must not write to the socket"
            )
        self._watch()
        self.is_usable = True
        return Reply(content, wall_time_s, self._cpu_s_now() - cpu_s, self._peak_mib)

    def _wait(self, start: float, timeout_s: float, operation: str) -> None:
        """Wait until there is something to read, watching time, memory and life."""
        while not select.select([self._connection], [], [], _WATCH_S)[0]:
            self._watch()
            if self.stop.is_set():
                raise SubmissionError("missing", "the run was stopped")
            if time.perf_counter() - start > timeout_s:
                raise SubmissionError("timeout", f"{operation} took more than {timeout_s:g} s")
            if self._running.poll() is not None:
                raise self._obituary()

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        self._connection.settimeout(timeout_s)
        try:
            content = receive(self._connection)
        except TimeoutError as error:
            raise SubmissionError("timeout", "half a reply, and then nothing") from error
        if content is None:
            raise self._obituary()
        return content

    def _new_budget(self, operation: str, timeout_s: float) -> Budget:
        n_cores = self._group_limits.n_cores
        cpu_s = self._cpu_s() + n_cores * timeout_s
        return Budget(operation, timeout_s, n_cores, cpu_s, self._output.n_bytes + MAX_OUTPUT)

    def _watch(self) -> None:
        """Look at what the process tree uses, not more often than every `_WATCH_S`.

        The kernel goes through all pages to count those of a process: with gigabytes this takes much longer
        than everything else here, so it is done as rarely as it must to take a small share of the time.
        """
        start = time.perf_counter()
        if start < self._watch_again:
            return
        self._usage = usage_of(worker_processes(self.pid, self._group.pids()))
        end = time.perf_counter()
        self._watch_again = end + max(_WATCH_S, (end - start) / _WATCH_SHARE)
        self._peak_mib = max(self._peak_mib, self._usage.memory_mib)
        self._require_memory()
        self._budget.require(self._cpu_s(), self._output.n_bytes)

    def _cpu_s(self) -> float:
        """Processor time so far: what the kernel counts, or what the processes said when last looked at."""
        counted = self._group.cpu_s()
        return self._usage.cpu_s if counted is None else counted

    def _cpu_s_now(self) -> float:
        """Processor time so far; where the kernel does not count it, the processes are asked."""
        counted = self._group.cpu_s()
        return usage_of(worker_processes(self.pid, self._group.pids())).cpu_s if counted is None else counted

    def _require_memory(self) -> None:
        limit = self._limits.memory_mib
        if self._usage.memory_mib > limit:
            raise SubmissionError(
                "out_of_memory", f"{self._usage.memory_mib:.0f} MiB used, at most {limit} MiB are allowed"
            )
        if self._group.n_killed():
            raise SubmissionError(
                "out_of_memory", f"more than {limit} MiB used, files in memory included: the kernel killed it"
            )

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._started is not None
        return self._started.process

    @property
    def _group(self) -> ControlGroup:
        assert self._started is not None
        return self._started.group

    def _obituary(self) -> SubmissionError:
        """What the kernel's count and the exit code say of a dead worker."""
        try:
            self._require_memory()
            code = wait_for_end(self._running, LAST_WORDS_S)
        except SubmissionError as death:
            return death
        except subprocess.TimeoutExpired:
            return SubmissionError("crashed", "the worker process closed its connection")
        if code > 128:
            name = signal.Signals(code - 128).name if code - 128 in set(signal.Signals) else code - 128
            return SubmissionError("crashed", f"the worker process was killed by signal {name}")
        return SubmissionError("crashed", f"the worker process ended with exit code {code}")

    def _end(self) -> None:
        if self._started is None:
            return
        self.begin_to_end()
        see_ended(self._running, LAST_WORDS_S)
        remove(self._group.joinable)


def _private_folder(submission: Submission) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX)).resolve()
    try:
        submission.unpack(folder / "submission")
        (folder / "scratch").mkdir()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
