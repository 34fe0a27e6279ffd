"""What the processes of a worker use, and how much of it one request may take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from fairuniverse.errors import SubmissionError

MAX_OUTPUT = 64 << 20
"""Most that may be printed during one request, bytes; the log ends long before."""


@dataclass(frozen=True)
class Usage:
    """What the processes of a worker use.

    Attributes:
        memory_mib: Proportional memory, MiB; shared pages count once between their users.
        cpu_s: Processor time of the living ones and of those they waited for, seconds.
    """

    memory_mib: float = 0.0
    cpu_s: float = 0.0


def worker_processes(guard: int, pids: Sequence[int] | None) -> Iterator[psutil.Process]:
    """The processes of a group or, which means to look at every one of the machine, all below a guard."""
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        if pids is None:
            yield from psutil.Process(guard).children(recursive=True)
    for pid in pids or ():
        with suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def usage_of(processes: Iterable[psutil.Process]) -> Usage:
    """What these processes use together; those that are gone count nothing."""
    n_bytes, cpu_s = 0, 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            n_bytes += _memory_bytes(process)
            cpu_s += sum(process.cpu_times()[:4])
    return Usage(n_bytes / (1 << 20), cpu_s)


def _memory_bytes(process: psutil.Process) -> int:
    """Proportional memory; what a process that hides its own is said to have resident."""
    try:
        memory = process.memory_full_info()
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
    return int(getattr(memory, "pss", memory.rss))


@dataclass(frozen=True)
class Budget:
    """How far a request may go, beside its memory.

    Attributes:
        operation: What was asked for.
        timeout_s: Its wall time, seconds.
        n_cores: Threads it may use.
        cpu_s: Processor time of the tree at which it ends, seconds.
        n_bytes: Output of the worker at which it ends.
    """

    operation: str
    timeout_s: float
    n_cores: int
    cpu_s: float
    n_bytes: int

    def require(self, cpu_s: float, n_bytes: int) -> None:
        """Refuse to go on beyond it.

        Raises:
            SubmissionError: More processor time, or more output, than it gives.
        """
        if cpu_s > self.cpu_s:
            raise SubmissionError(
                "timeout",
                f"{self.operation} took more than {self.n_cores * self.timeout_s:g} s of processor time, "
                f"{self.timeout_s:g} s on each of {self.n_cores} threads",
            )
        if n_bytes > self.n_bytes:
            raise SubmissionError(
                "crashed", f"killed: {self.operation} printed more than {MAX_OUTPUT >> 20} MiB"
            )
