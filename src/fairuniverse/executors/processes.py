"""Processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from fairuniverse.errors import ExecutorError
from fairuniverse.lifetimes import end_quickly, end_with_parent

from .protocol import WorkerLostError

T = TypeVar("T")

_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class ProcessPool:
    """Processes of this machine, one core each. One that ends costs its own task and is replaced.

    Args:
        n_workers: Number of processes.
    """

    is_here = True
    """See `Executor.is_here`."""

    given_again = ()
    """See `Executor.given_again`: whoever gave a task that was lost is told."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self.description = f"{n_workers} processes"
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._processes: list[_Process] = []
        self._lost: list[WorkerLostError] = []
        self._is_stopped = False
        # Each process has a thread: on Linux it ends with the thread that started it.
        self._threads = [threading.Thread(target=self._look_after_one, daemon=True) for _ in range(n_workers)]
        for thread in self._threads:
            thread.start()

    @property
    def n_lost(self) -> int:
        """See `Executor.n_lost`."""
        return len(self._lost)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._is_stopped = True
            self._drop_tasks()
            for process in list(self._processes):
                process.terminate()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """See `Executor.submit`."""
        future: Future[T] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def everywhere(self, function: Callable[..., object], /, *arguments: Any) -> None:
        """See `Executor.everywhere`: these processes end with the executor."""

    def _drop_tasks(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                return
            if task:
                task[0].cancel()

    def _look_after_one(self) -> None:
        """Give a process its tasks, and take a new one when it has ended."""
        process: _Process | None = None
        while task := self._tasks.get():
            future, function, arguments = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                process = process or self._start()
                future.set_result(process.do(function, arguments))
            except BaseException as error:
                if process and isinstance(error, WorkerLostError):
                    self._lost.append(error)
                    self._end(process)
                    process = None
                future.set_exception(error)
        if process:
            self._end(process)

    def _start(self) -> _Process:
        process = _Process()
        self._processes.append(process)
        if self._is_stopped:
            process.terminate()
        return process

    def _end(self, process: _Process) -> None:
        self._processes.remove(process)
        process.close()


class _Process:
    """A new interpreter that does one task after the other.

    Threads of this one are not copied into it, as a fork would.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, there = context.Pipe()
        # Not a daemon in the sense of multiprocessing: tasks start processes of their own.
        self._process = context.Process(target=_serve, args=(there, os.getpid()))
        self._process.start()
        there.close()

    def do(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """What the function gives there, or raises."""
        message = pickle.dumps((function, arguments))
        try:
            self._connection.send_bytes(message)
            reply = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerLostError(f"a worker process ended {self._how()}") from error
        is_done, value = pickle.loads(reply)
        if not is_done:
            raise value
        return value

    def terminate(self) -> None:
        """End it in the middle of a task."""
        self._process.terminate()

    def close(self) -> None:
        """End it after its task."""
        self._connection.close()
        self._process.join()

    def _how(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        if code >= 0:
            return f"with status {code}"
        return f"by signal {-code}" + (" (out of memory?)" if code == -signal.SIGKILL else "")


def _serve(connection: Connection, parent: int) -> None:
    """Do tasks until the other side is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host of the run decides what Ctrl-C ends
    signal.signal(signal.SIGTERM, _leave)
    end_with_parent(signal.SIGTERM)
    end_quickly()
    if os.getppid() != parent:
        _leave()
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            return
        reply = _reply(message)
        try:
            connection.send_bytes(reply)
        except OSError:
            return


def _reply(message: bytes) -> bytes:
    """Pickled outcome of a pickled task."""
    try:
        function, arguments = pickle.loads(message)
        return pickle.dumps((True, function(*arguments)))
    except Exception as error:
        error.add_note(f"in process {os.getpid()}:\n{traceback.format_exc()}")
        return _pickled(error)


def _pickled(error: Exception) -> bytes:
    try:
        failure = pickle.dumps((False, error))
        pickle.loads(failure)  # many an exception can be pickled but not unpickled
    except Exception:
        failure = pickle.dumps((False, ExecutorError(f"{type(error).__name__}: {error}")))
    return failure


def _leave(*_: object) -> None:
    os._exit(128 + signal.SIGTERM)
