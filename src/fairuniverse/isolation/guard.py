"""A parent for the strangers' process: when either ends, however it ends, every process below is killed.

The guard is the process that the host starts: it makes itself the reaper of orphans and forks; the child goes
on as the worker, or as the sandbox around it. A daemon that leaves its session and process group is still
re-parented to the guard, so it is found.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

FOLDER_PREFIX = "fairuniverse-worker-"
"""Private folders of workers begin so; the guard removes no other."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """``python -m fairuniverse.isolation.guard FOLDER PROGRAM ARGUMENT...``: run a program under a guard."""
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    fork_under_guard(folder)
    os.execv(command[0], command)


def fork_under_guard(folder: Path) -> None:
    """Fork. The child returns; the parent stays as its guard and never returns.

    Args:
        folder: Private folder of the worker, removed at the end.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard = os.getpid()
    child = os.fork()
    if child:
        _guard(child, folder)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)


def _guard(child: int, folder: Path) -> NoReturn:
    code = 1
    try:
        os.closerange(3, 1024)  # the host sees the worker's end of the socket close
        code = _wait_for(child)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_below(os.getpid(), reap=True)
        if folder.name.startswith(FOLDER_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)


def _leave(*_: object) -> NoReturn:
    raise SystemExit


def _wait_for(child: int) -> int:
    """Exit code of the child, 128 + signal if it was killed; orphans are reaped meanwhile."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def kill_below(pid: int, *, reap: bool = False) -> None:
    """Kill every descendant of a process, again and again until there is none."""
    while True:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        if not reap:
            return
        try:
            os.wait()
        except ChildProcessError:
            return


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
