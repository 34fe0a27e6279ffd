"""Workers of a Dask cluster."""

from __future__ import annotations

import json
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fairuniverse.errors import ExecutorError, MissingDependencyError

from .jobs import JobCluster
from .protocol import WorkerLostError

if TYPE_CHECKING:
    import distributed

T = TypeVar("T")

_FILE_S = 0.1
"""How often the file of a scheduler that is not there yet is looked for, seconds."""

_NOISY = re.compile(r"(distributed|tornado|asyncio)\b")
"""Loggers of Dask and of what it is made of."""

_WAIT_S = 0.5
"""How often a new cluster is asked for its first worker, seconds."""

_LOOK_S = 2.0
"""How often a scheduler is asked for its workers, seconds: the answer grows with their number."""


class DaskCluster:
    """Workers of a Dask cluster, running already or started for this run.

    Args:
        scheduler: Address of a scheduler, such as ``tcp://host:8786``, or the file that it writes, ending in
            ``.json`` (``dask scheduler --scheduler-file``), which may be yet to come.
        cluster: YAML file that describes a cluster for dask-jobqueue: one key, the name of its class, such as
            ``SLURMCluster``, with its keyword arguments.
        n_workers: Workers to ask a new cluster for.
        timeout_s: How long to wait for a running scheduler and its first worker, seconds; a new cluster's
            jobs may wait in their queue for as long as it takes.
        patience_s: How long a running scheduler may be without a worker later, seconds.

    Raises:
        MissingDependencyError: Dask is not installed.
        ExecutorError: There is no scheduler.
        InvalidConfigError: The file does not describe a cluster.
    """

    is_here = False
    """See `Executor.is_here`."""

    def __init__(
        self,
        scheduler: str | None = None,
        *,
        cluster: Path | None = None,
        n_workers: int = 1,
        timeout_s: float = 30.0,
        patience_s: float = 300.0,
    ) -> None:
        self._dask = _distributed()
        self._loud = ExitStack()
        self._jobs: JobCluster | None = None
        self._address = _address(scheduler, timeout_s)
        self._where = self._address or "the new cluster"
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self.n_lost = 0
        self._executing: dict[str, int] = {}
        self.given_again: list[str] = []
        self._n_threads = 0
        try:
            self._loud.enter_context(_quiet())
            self._jobs = JobCluster(cluster, n_workers) if cluster else None
            self._client = self._connect()
            self._wait_for_workers()
        except BaseException as error:
            self._close()
            if isinstance(error, OSError | TimeoutError):
                raise ExecutorError(self._unreachable()) from error
            raise
        self._executor: Any = self._client.get_executor(pure=False)  # type: ignore[no-untyped-call]
        link = self._client.dashboard_link
        where = self._client.scheduler_info()["address"]
        self.description = f"Dask at {where}" + (f", dashboard {link}" if link else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def n_workers(self) -> int:
        """Threads of all workers that are there now: a task takes one.

        Raises:
            ExecutorError: The scheduler is gone, or has been without a worker for too long.
        """
        if self._client.status in ("closing", "closed"):
            raise self._gone()
        now = time.monotonic()
        if now - self._looked_at > _LOOK_S:
            self._look()
        if not self._executing and self._jobs:
            self._jobs.require_hope()
        elif not self._executing and now - self._staffed_at > self._patience_s:
            raise ExecutorError(
                f"the scheduler at {self._where} has had no worker for {self._patience_s:g} s: has an "
                "allocation ended? Start workers and give the same command again; what is finished is kept"
            )
        return self._n_threads

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """See `Executor.submit`."""
        ours: Future[T] = Future()
        theirs: Future[T] = self._executor.submit(function, *arguments)
        ours.add_done_callback(lambda done: done.cancelled() and theirs.cancel())
        theirs.add_done_callback(partial(self._hand_over, ours))
        return ours

    def everywhere(self, function: Callable[..., object], /, *arguments: Any) -> None:
        """See `Executor.everywhere`."""
        if self._client.status == "running":
            with suppress(OSError, TimeoutError, RuntimeError):  # workers that are gone hold nothing any more
                self._client.run(function, *arguments, on_error="ignore")

    def _hand_over(self, ours: Future[T], theirs: Future[T]) -> None:
        """What became of a task of theirs, in our terms."""
        if not ours.set_running_or_notify_cancel():
            return
        if theirs.cancelled():  # not by us: so end all tasks when their scheduler does
            ours.set_exception(self._gone())
        elif error := theirs.exception():
            ours.set_exception(self._translated(error))
        else:
            ours.set_result(theirs.result())

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, self._dask.KilledWorker):
            return WorkerLostError(f"worker {error.last_worker.address} was lost")
        if isinstance(error, self._dask.CancelledError | self._dask.comm.CommClosedError):
            return self._gone()
        if isinstance(error, RuntimeError) and "deserialization" in str(error):
            return ExecutorError(
                f"the scheduler or a worker at {self._where} cannot load a task ({error}): "
                "install fairuniverse there, with the same versions of Python and packages as here"
            )
        return error

    def _look(self) -> None:
        """Ask the scheduler for its workers."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        self._looked_at = time.monotonic()
        gone = {address: n for address, n in self._executing.items() if address not in workers}
        self.n_lost += len(gone)
        self.given_again += [f"what worker {a}, which was lost, had begun" for a, n in gone.items() if n]
        self._executing = {address: _n_executing(worker) for address, worker in workers.items()}
        self._n_threads = sum(worker["nthreads"] for worker in workers.values())
        if workers:
            self._staffed_at = self._looked_at
            if self._jobs:
                self._jobs.note_workers()

    def _wait_for_workers(self) -> None:
        """Wait for the first worker; jobs of a cluster may be in its queue for hours."""
        if self._jobs is None:
            self._client.wait_for_workers(1, timeout=self._timeout_s)
        self._look()
        while self._jobs and not self._executing:
            self._jobs.require_hope()
            time.sleep(_WAIT_S)
            self._look()

    def _connect(self) -> distributed.Client:
        where = self._jobs.cluster if self._jobs is not None else self._address
        if where is None:
            raise ExecutorError("the executor dask needs --scheduler ADDRESS or --cluster FILE")
        with warnings.catch_warnings():
            # Tasks compare versions themselves, of what matters for their bits.
            warnings.filterwarnings("ignore", r"Mismatched versions found", UserWarning)
            client: distributed.Client = self._dask.Client(
                where, timeout=self._timeout_s, set_as_default=False
            )
        return client

    def _gone(self) -> ExecutorError:
        return ExecutorError(
            f"the scheduler at {self._where} is gone: start one and give the same "
            "command again; what is finished is kept"
        )

    def _unreachable(self) -> str:
        return (
            f"no Dask scheduler with a worker at {self._address} within {self._timeout_s:g} s: start them "
            "(dask scheduler, dask worker ADDRESS), or mend the address"
        )

    def _close(self) -> None:
        cluster = self._jobs.cluster if self._jobs else None
        for part in (getattr(self, "_client", None), cluster):
            if part is not None:
                part.close()
        self._loud.close()


def _n_executing(worker: Mapping[str, Any]) -> int:
    """Tasks that a worker was doing when the scheduler heard of it last."""
    return int(worker["metrics"].get("task_counts", {}).get("executing", 0))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Dask logs when processes end: what it means for the run is said by the run."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if _NOISY.match(name)]
    loud = [logger for logger in loggers if not logger.disabled]
    try:
        for logger in loud:
            logger.disabled = True
        yield
    finally:
        for logger in loud:
            logger.disabled = False


def _address(scheduler: str | None, timeout_s: float) -> str | None:
    """Address of a scheduler that is known by its address, or by the file that it writes."""
    if scheduler is None:
        return None
    if "://" in scheduler or not scheduler.endswith(".json"):
        _require_address(scheduler)
        return scheduler
    end = time.monotonic() + timeout_s
    while True:
        try:
            return str(json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if time.monotonic() > end:
                raise ExecutorError(
                    f"no Dask scheduler has written its address to {scheduler} within {timeout_s:g} s "
                    f"({error}): start one with --scheduler-file {scheduler}, or mend the path"
                ) from error
        time.sleep(_FILE_S)


def _require_address(scheduler: str) -> None:
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    try:
        scheme, location = parse_address(scheduler)
        get_backend(scheme)
        parse_host_port(location)
    except ValueError as error:
        raise ExecutorError(
            f"{scheduler!r} is no address of a Dask scheduler ({error}): give one such as tcp://host:8786, "
            "or the .json file that it writes"
        ) from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "running on Dask needs more packages: pip install 'fairuniverse[cluster]'"
        ) from error
    return distributed
