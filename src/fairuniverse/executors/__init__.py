"""Where tasks are done: processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

from fairuniverse.errors import ExecutorError, InvalidDataError

from .processes import ProcessPool
from .protocol import Executor, WorkerLostError

__all__ = ["EXECUTORS", "Executor", "ProcessPool", "WhereToWork", "WorkerLostError"]

EXECUTORS = ("threads", "processes", "dask")
"""Names of executors; threads are those of a process that looks after all workers itself."""


@dataclass(frozen=True)
class WhereToWork:
    """Choice of an executor.

    Attributes:
        executor: ``threads`` or ``processes`` of this machine, or ``dask``, the default with an address or
            file.
        n_workers: Processes, or workers of a cluster that is started.
        scheduler: Address of a running Dask scheduler, or the file that it writes.
        cluster: File that describes a cluster to start; see `fairuniverse.executors.dask.DaskCluster`.
    """

    executor: str | None = None
    n_workers: int = 1
    scheduler: str | None = None
    cluster: Path | None = None

    @property
    def name(self) -> str | None:
        """Name of the executor; None if there was no choice."""
        return self.executor or ("dask" if self.scheduler or self.cluster else None)

    def require_possible(self) -> None:
        """Make sure that the choices go together.

        Raises:
            InvalidDataError: There is no executor of that name, or it has no use for an address or file.
            ExecutorError: This process is one of an executor, and imports the script that started it.
        """
        # What multiprocessing itself looks at before it starts a process; by then our run folders are taken.
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise ExecutorError(
                "this script does its work again in every process that it starts: put what it does, but for "
                'imports and definitions, below: if __name__ == "__main__":'
            )
        if self.name not in (None, *EXECUTORS):
            raise InvalidDataError(f"no executor {self.name!r}; there are: {', '.join(EXECUTORS)}")
        if self.scheduler == "":
            raise InvalidDataError("the address of the scheduler is empty: is a variable not set?")
        if self.scheduler and self.cluster:
            raise InvalidDataError(
                f"scheduler {self.scheduler} and cluster {self.cluster}: choose one that is there or to start"
            )
        if self.name != "dask" and (self.scheduler or self.cluster):
            raise InvalidDataError(f"executor {self.name!r} has no scheduler or cluster: choose dask")

    def open(self) -> Executor:
        """The executor, processes if there was no choice.

        Raises:
            InvalidDataError: The choices do not go together, or are this process itself.
            ExecutorError: The cluster cannot be reached.
        """
        self.require_possible()
        if self.name == "threads":
            raise InvalidDataError("executor 'threads' has no processes of its own: choose processes or dask")
        if self.name == "dask":
            from .dask import DaskCluster

            return DaskCluster(self.scheduler, cluster=self.cluster, n_workers=self.n_workers)
        return ProcessPool(self.n_workers)
