"""Where tasks are done: processes of this machine, or the workers of a Dask cluster.

An executor gives `concurrent.futures.Future`. What a task raises is in its future; a worker that was lost on
the way is there as `WorkerLostError`, and the task can be submitted again.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from fairuniverse.errors import ExecutorError, InvalidConfigError, MissingDependencyError

if TYPE_CHECKING:
    import distributed

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1

_LOOK_S = 2.0
"""How often a scheduler is asked for its workers, seconds: the answer grows with their number."""


class WorkerLostError(Exception):
    """A worker ended before its task did."""


class Executor(Protocol):
    """Does tasks somewhere."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def n_workers(self) -> int:
        """Tasks that can be done at the same time now."""
        ...

    @property
    def n_lost(self) -> int:
        """Workers that ended before their time."""
        ...

    @property
    def description(self) -> str:
        """What it is, in a few words, with the address of its dashboard if it has one."""
        ...

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """Do a task."""
        ...

    def everywhere(self, function: Callable[..., object], /, *arguments: Any) -> None:
        """Do something once in each process that outlives the executor."""
        ...

    def translate(self, error: BaseException) -> BaseException:
        """An error of a future in our own terms: `WorkerLostError` if the task should be done again."""
        ...


class ProcessPool:
    """Processes of this machine, one core each.

    Args:
        n_workers: Number of processes.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self.n_lost = 0
        self.description = f"{n_workers} processes"
        self._pool = self._new()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """Do a task; after a process was lost, in a new pool."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool:
            self.n_lost += 1
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = self._new()
            return self._pool.submit(function, *arguments)

    def everywhere(self, function: Callable[..., object], /, *arguments: Any) -> None:
        """See `Executor.everywhere`: these processes end with the executor."""

    def translate(self, error: BaseException) -> BaseException:
        """See `Executor.translate`: all tasks of a pool are lost with one process."""
        return WorkerLostError("a worker process ended") if isinstance(error, BrokenProcessPool) else error

    def _new(self) -> ProcessPoolExecutor:
        # A new interpreter each: threads of this one are not copied into processes that know nothing of them.
        return ProcessPoolExecutor(
            self.n_workers, multiprocessing.get_context("spawn"), initializer=_follow, initargs=(os.getpid(),)
        )


def _follow(parent: int) -> None:
    """Leave Ctrl-C to the host of the run, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            _leave()


def _leave(*_: object) -> None:
    os._exit(128 + signal.SIGTERM)


class DaskCluster:
    """Workers of a Dask cluster, running already or started for this run.

    Args:
        scheduler: Address of a scheduler, such as ``tcp://host:8786``.
        cluster: YAML file that describes a cluster for dask-jobqueue: one key, the name of its class, such as
            ``SLURMCluster``, with its keyword arguments.
        n_workers: Workers to ask a new cluster for.
        timeout_s: How long to wait for a running scheduler and its first worker, seconds; a new cluster's
            jobs may wait in their queue for as long as it takes.

    Raises:
        MissingDependencyError: Dask is not installed.
        ExecutorError: There is no scheduler.
        InvalidConfigError: The file does not describe a cluster.
    """

    def __init__(
        self,
        scheduler: str | None = None,
        *,
        cluster: Path | None = None,
        n_workers: int = 1,
        timeout_s: float = 30.0,
    ) -> None:
        self._dask = _distributed()
        self._cluster = _start(cluster, n_workers) if cluster else None
        self._address = scheduler
        self._seen: set[str] = set()
        self._present: set[str] = set()
        self._looked_at, self._n_threads = -math.inf, 1
        try:
            self._client = self._connect(timeout_s)
            # Jobs of a cluster may wait in its queue for hours.
            self._client.wait_for_workers(1, timeout=None if cluster else timeout_s)
        except BaseException as error:
            self._close()
            if isinstance(error, OSError | TimeoutError):
                raise ExecutorError(self._unreachable(timeout_s)) from error
            raise
        self._executor: Any = self._client.get_executor(pure=False)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def n_workers(self) -> int:
        """Threads of all workers that are there now: a task takes one."""
        if time.monotonic() - self._looked_at > _LOOK_S:
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
            self._looked_at = time.monotonic()
            self._present = set(workers)
            self._seen |= self._present
            self._n_threads = sum(worker["nthreads"] for worker in workers.values())
        return self._n_threads

    @property
    def n_lost(self) -> int:
        """Workers that were there and are not any more."""
        return len(self._seen - self._present)

    @property
    def description(self) -> str:
        """Scheduler and dashboard."""
        link = self._client.dashboard_link
        return f"Dask at {self._client.scheduler_info()['address']}" + (f", dashboard {link}" if link else "")

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """Do a task."""
        future: Future[T] = self._executor.submit(function, *arguments)
        return future

    def everywhere(self, function: Callable[..., object], /, *arguments: Any) -> None:
        """See `Executor.everywhere`."""
        with suppress(OSError, TimeoutError, RuntimeError):  # workers that are gone hold nothing any more
            self._client.run(function, *arguments, on_error="ignore")

    def translate(self, error: BaseException) -> BaseException:
        """See `Executor.translate`."""
        if isinstance(error, self._dask.KilledWorker):
            return WorkerLostError(f"worker {error.last_worker.address} was lost")
        if isinstance(error, CancelledError | self._dask.CancelledError | self._dask.comm.CommClosedError):
            return ExecutorError(
                f"the scheduler at {self._address or 'the new cluster'} is gone: start one and give the same "
                "command again; what is finished is kept"
            )
        return error

    def _connect(self, timeout_s: float) -> distributed.Client:
        where = self._cluster if self._cluster is not None else self._address
        if where is None:
            raise ExecutorError("the executor dask needs --scheduler ADDRESS or --cluster FILE")
        client: distributed.Client = self._dask.Client(where, timeout=timeout_s, set_as_default=False)
        return client

    def _unreachable(self, timeout_s: float) -> str:
        return (
            f"no Dask scheduler with a worker at {self._address} within {timeout_s:g} s: start them "
            "(dask scheduler, dask worker ADDRESS), or mend the address"
        )

    def _close(self) -> None:
        for part in (getattr(self, "_client", None), self._cluster):
            if part is not None:
                part.close()


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "running on Dask needs more packages: pip install 'fairuniverse[cluster]'"
        ) from error
    return distributed


def _start(file: Path, n_workers: int) -> Any:
    """A cluster of dask-jobqueue, as a file describes it."""
    import yaml

    try:
        described = yaml.safe_load(file.read_text(encoding="utf-8"))
        ((name, options),) = described.items()
    except (OSError, yaml.YAMLError, AttributeError, ValueError) as error:
        raise InvalidConfigError(
            f"{file} does not describe a cluster ({error}): give one key, such as SLURMCluster, "
            "with the keyword arguments of that class of dask-jobqueue"
        ) from error
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingDependencyError(
            "starting a cluster needs more packages: pip install 'fairuniverse[cluster]'"
        ) from error
    classes = [n for n in dir(dask_jobqueue) if n.endswith("Cluster")]
    if name not in classes:
        raise InvalidConfigError(f"{file}: no cluster {name!r}; dask-jobqueue has {', '.join(classes)}")
    try:
        cluster = getattr(dask_jobqueue, name)(**options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidConfigError(f"{file}: {name} cannot be made so: {error}") from error
    cluster.adapt(minimum=n_workers, maximum=n_workers)  # unlike scale, this replaces workers that are lost
    return cluster
