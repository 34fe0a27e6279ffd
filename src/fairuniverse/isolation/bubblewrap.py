"""Isolation by the kernel's name spaces, through the program ``bwrap``.

A process sees the interpreter, the installed packages, its submission and the descriptors it was handed, all
read-only, and a private /tmp and /dev/shm of limited size. It has no network, sees no other process, holds no
capability and may not make the system calls of `seccomp`. An ordinary user's sandbox is a user name space of
its own; root's sandbox is run by a spare user.
"""

from __future__ import annotations

import itertools
import os
import platform
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fairuniverse.errors import IsolationError
from fairuniverse.isolation.backends import Started, spawn
from fairuniverse.isolation.cgroup import Limits, make_group
from fairuniverse.isolation.gpu import DESCRIPTIONS, GpuDevice
from fairuniverse.isolation.guard import Task, guarded
from fairuniverse.isolation.installed import Installed, find_installed, is_below
from fairuniverse.isolation.seccomp import filter_program

INSIDE = Path("/tmp/fairuniverse")
"""Where a sandboxed process finds its private folder."""

TMP_MIB = 1024
"""Room in the private /tmp, MiB; a saved model must fit, too."""

SHM_MIB = 256
"""Room in the private /dev/shm, MiB."""

REMEDY = (
    "install bubblewrap 0.7 or newer (Debian, Ubuntu: apt-get install bubblewrap), "
    "or run only code that you trust, with --isolation none"
)

_USER_FLAGS = ("--unshare-all", "--unshare-user", "--cap-drop", "ALL")
_ROOT_FLAGS = (
    *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
    *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
)
SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")

_SPARE_UIDS = range(61184, 65520)  # systemd's for short-lived services: nobody's files belong to them
_next_uid = itertools.count(secrets.randbelow(len(_SPARE_UIDS)))


class Bubblewrap:
    """Sandboxes made by ``bwrap``; see the module.

    Args:
        hidden: Files and folders that no process may see, such as run folders and configurations.
        gpus: Graphics processors that processes are given.

    Raises:
        IsolationError: There is no ``bwrap``, it does not work here, a hostile probe succeeded inside, or
            something hidden lies where packages are installed.
    """

    name = "bubblewrap"
    is_isolated = True
    remedy = (
        "bubblewrap needs user name spaces, or root with CAP_SYS_ADMIN (an AppArmor profile or a container "
        "may forbid them); if that cannot be changed, run only code that you trust, with --isolation none"
    )

    def __init__(self, *, hidden: Sequence[Path] = (), gpus: Sequence[GpuDevice] = ()) -> None:
        from fairuniverse.isolation.selfcheck import check_sandbox

        self._program = find_program("bwrap")
        self._is_root = os.geteuid() == 0
        self._filter = filter_program(platform.machine())
        self._installed = find_installed()
        self._installed.require_hidden(self._installed.folders, hidden)
        self._hidden = hidden
        self.gpus = gpus
        check_sandbox(self)

    def folder_inside(self, folder: Path) -> Path:
        """Where the process sees its private folder."""
        return INSIDE

    def fds_inside(self, fds: Sequence[int]) -> Sequence[int]:
        """Under the same numbers."""
        return fds

    def start(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        readable: Sequence[Path],
        environment: Mapping[str, str],
        fds: Sequence[int],
        output: int,
        limits: Limits,
    ) -> Started:
        """Start a command in a sandbox of its own; see `Backend.start`."""
        self._installed.require_hidden(readable, self._hidden)
        if self._is_root:
            let_everybody_read(folder / "submission")
        group = make_group(folder.name, limits)
        task = Task(str(folder), groups=[str(path) for path in group.joinable])
        with self._filter_file() as filter_fd:
            sandbox = self._arguments(folder / "submission", readable, filter_fd)
            process = spawn(
                guarded(task, [*sandbox, *command]),
                cwd=Path("/"),
                environment={**environment, "USER": "worker"},
                fds=(*fds, filter_fd),
                output=output,
            )
        return Started(process, group)

    @contextmanager
    def _filter_file(self) -> Iterator[int]:
        """The filter as an open file; bwrap reads it to the end, so each start has its own."""
        with tempfile.TemporaryFile() as file:
            file.write(self._filter)
            file.flush()
            file.seek(0)
            yield file.fileno()

    def _arguments(self, submission: Path, readable: Sequence[Path], filter_fd: int) -> list[str]:
        """The program and its arguments; what is mounted is mounted in this order."""
        return [
            self._program,
            *(_ROOT_FLAGS if self._is_root else _USER_FLAGS),
            *("--die-with-parent", "--new-session", "--hostname", "sandbox", "--seccomp", str(filter_fd)),
            *_system_mounts(),
            *("--proc", "/proc", "--dev", "/dev"),
            *_gpu_mounts(self.gpus),
            *("--size", str(SHM_MIB << 20), "--perms", "1777", "--tmpfs", "/dev/shm"),
            *("--size", str(TMP_MIB << 20), "--perms", "1777", "--tmpfs", "/tmp"),
            *_read_only(self._installed, readable),
            *("--perms", "0755", "--dir", str(INSIDE), "--perms", "0777", "--dir", str(INSIDE / "scratch")),
            *("--ro-bind", str(submission), str(INSIDE / "submission")),
            *("--remount-ro", "/dev", "--remount-ro", "/"),  # made of memory that no size limits
            *("--chdir", str(INSIDE / "submission"), "--"),
            *(_become_somebody_else(self.gpus) if self._is_root else ()),
        ]


def find_program(name: str, remedy: str = REMEDY) -> str:
    """Path of a program.

    Raises:
        IsolationError: It is not installed.
    """
    found = shutil.which(name)
    if sys.platform != "linux" or found is None:
        raise IsolationError(f"the program {name} is not here: {remedy}")
    return found


def spare_uid() -> str:
    """A user who owns nothing and runs nothing: another one each time, as far as they go."""
    return str(_SPARE_UIDS[next(_next_uid) % len(_SPARE_UIDS)])


def _become_somebody_else(gpus: Sequence[GpuDevice]) -> tuple[str, ...]:
    uid = spare_uid()
    groups = sorted({str(gpu.group) for gpu in gpus if gpu.group is not None})
    return (
        find_program("setpriv"),
        *("--reuid", uid, "--regid", uid),
        *(("--groups", ",".join(groups)) if groups else ("--clear-groups",)),
        *("--no-new-privs", "--"),
    )


def _gpu_mounts(gpus: Sequence[GpuDevice]) -> Iterator[str]:
    for folder in sorted({gpu.inside.parent for gpu in gpus} - {Path("/dev")}):
        yield from ("--perms", "0755", "--dir", str(folder))
    for gpu in gpus:
        yield from ("--dev-bind", str(gpu.path), str(gpu.inside))
    for description in DESCRIPTIONS if gpus else ():
        yield from ("--ro-bind-try", description, description)


def _system_mounts() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr", "--perms", "0755", "--dir", "/etc")
    for path in (Path("/") / name for name in SYSTEM_FOLDERS):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for file in SYSTEM_FILES:
        yield from ("--ro-bind-try", file, file)


def _read_only(installed: Installed, readable: Sequence[Path]) -> Iterator[str]:
    """Mounts of what may be read, outer folders first; folders on the way are made for everybody to pass."""
    made = {Path("/"), Path("/tmp"), Path("/usr")}
    for path in sorted({*installed.folders, *(p.absolute() for p in readable)}):
        for parent in reversed(path.parents):
            if parent not in made and not any(is_below(parent, p) for p in installed.folders):
                yield from ("--perms", "0755", "--dir", str(parent))
            made.add(parent)
        yield from ("--ro-bind", str(path), str(path))
    for mask in installed.masks:
        yield from ("--tmpfs", str(mask), "--remount-ro", str(mask))


def let_everybody_read(folder: Path) -> None:
    """Set permissions of our own copy of a submission, for the spare user."""
    for base, _, names in os.walk(folder):
        Path(base).chmod(0o755)
        for name in names:
            (Path(base) / name).chmod(0o644)
