"""What an executor is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")


class WorkerLostError(Exception):
    """A worker ended before its task did: the task can be done again."""


class Executor(Protocol):
    """Does tasks somewhere.

    What a task raises is in its future, as is `WorkerLostError` if its worker was lost on the way, and
    `fairuniverse.errors.ExecutorError` if all workers are.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def n_workers(self) -> int:
        """Tasks that can be done at the same time now.

        Raises:
            ExecutorError: There has been no worker for so long that none will come.
        """
        ...

    @property
    def is_here(self) -> bool:
        """Whether its workers share the cores and the memory of this machine, and nobody else's."""
        ...

    @property
    def n_lost(self) -> int:
        """Workers that ended before their time."""
        ...

    @property
    def given_again(self) -> Sequence[str]:
        """What it gave to another worker without being asked, because the first was lost."""
        ...

    @property
    def description(self) -> str:
        """What it is, in a few words, with the address of its dashboard if it has one."""
        ...

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """Do a task. It can be cancelled as long as it has not begun."""
        ...

    def everywhere(self, function: Callable[..., object], /, *arguments: Any) -> None:
        """Do something once in each process that outlives the executor, as far as it can be reached."""
        ...
