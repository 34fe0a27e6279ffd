"""A parent for the strangers' process: when either ends, however it ends, every process below is killed.

The guard is the process that the host starts: it makes itself the reaper of orphans and forks; the child goes
on as the worker, or as the sandbox around it. A daemon that leaves its session and process group is still
re-parented to the guard, so it is found.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

from fairuniverse.isolation.cgroup import join, remove
from fairuniverse.lifetimes import SUBREAPER, end_with_parent, prctl, wait_for_end

FOLDER_PREFIX = "fairuniverse-worker-"
"""Private folders of workers begin so; the guard removes no other."""

FIRST_FD = 3
"""Where descriptors begin that are renumbered."""

_FDS = Path("/proc/self/fd")
_OOM_FIRST = "1000"
_FAREWELL_S = 5.0


@dataclass(frozen=True)
class Task:
    """What a guard does for its child.

    Attributes:
        folder: Private folder of the worker, removed at the end.
        groups: Folders of the control group that the child joins, removed at the end.
        fds: Descriptors that the child has as 3, 4, 5, ...; if empty, it inherits them as they are.
        farewell: Command that ends the child in order; whatever it leaves is killed.
    """

    folder: str
    groups: Sequence[str] = ()
    fds: Sequence[int] = ()
    farewell: Sequence[str] = ()

    def to_json(self) -> str:
        """As an argument of a command."""
        return json.dumps(asdict(self))


def guarded(task: Task, command: Sequence[str]) -> list[str]:
    """Command that runs another one under a guard."""
    return [sys.executable, "-P", "-m", "fairuniverse.isolation.guard", task.to_json(), *command]


def main() -> None:
    """``python -m fairuniverse.isolation.guard TASK PROGRAM ARGUMENT...``: run a program under a guard."""
    task, command = Task(**json.loads(sys.argv[1])), sys.argv[2:]
    fork_under_guard(task)
    _open_anew()
    _renumber(task.fds)
    os.execv(command[0], command)


def fork_under_guard(task: Task) -> None:
    """Fork. The child returns, in its control group; the parent stays as its guard and never returns."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGTERM)
    prctl(SUBREAPER, 1)
    guard = os.getpid()
    child = os.fork()
    if child:
        _guard(child, task)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)
    join([Path(group) for group in task.groups])
    with suppress(OSError):  # the first to go, before anything of the host
        Path("/proc/self/oom_score_adj").write_text(_OOM_FIRST)


def _open_anew() -> None:
    """Give the child a place of its own in every file that it may only read.

    Processes that inherit one open file share its position and flags, and whoever comes after them finds
    these as they were left: a toy would be remembered there.
    """
    for fd in [int(path.name) for path in _FDS.iterdir()] if _FDS.is_dir() else ():
        with suppress(OSError):  # the folder itself was open while it was listed
            is_read = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            if fd >= FIRST_FD and is_read and stat.S_ISREG(os.fstat(fd).st_mode):
                own = os.open(_FDS / str(fd), os.O_RDONLY)
                os.dup2(own, fd)
                os.close(own)


def _renumber(fds: Sequence[int]) -> None:
    """Move descriptors to 3, 4, 5, ..., whatever is there."""
    aside = [fcntl.fcntl(fd, fcntl.F_DUPFD, FIRST_FD + len(fds)) for fd in fds]
    for place, fd in enumerate(aside, FIRST_FD):
        os.dup2(fd, place)
        os.close(fd)


def _guard(child: int, task: Task) -> NoReturn:
    code, folder = 1, Path(task.folder)
    try:
        os.closerange(3, 1024)  # the host sees the worker's end of the socket close
        code = _wait_for(child)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if task.farewell:
            _run(task.farewell)
        kill_below(os.getpid(), reap=True)
        remove([Path(group) for group in task.groups])
        if folder.name.startswith(FOLDER_PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)


def _run(command: Sequence[str]) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_FAREWELL_S)


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


def see_ended(process: subprocess.Popen[Any], timeout_s: float) -> None:
    """Wait for a guard that was asked to end; if it does not answer in time, kill everything from here."""
    try:
        wait_for_end(process, timeout_s)
    except subprocess.TimeoutExpired:
        kill_below(process.pid)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
