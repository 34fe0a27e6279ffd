"""Ways to start a worker process, from none to hard isolation: one interface."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fairuniverse.errors import IsolationError
from fairuniverse.isolation.cgroup import ControlGroup, Limits, make_group
from fairuniverse.isolation.gpu import GpuDevice, find_gpus
from fairuniverse.isolation.guard import Task, guarded

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Variables by which a queue says which graphics processors are a job's."""

_PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", *GPU_VARIABLES)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Started:
    """A process that was started.

    Attributes:
        process: Its guard, which is above everything that it starts; see `guard`.
        group: Its control group, as far as there is one.
    """

    process: subprocess.Popen[bytes]
    group: ControlGroup


class Backend(Protocol):
    """Starts worker processes.

    Attributes:
        name: Its name, as in the manifest.
        is_isolated: Whether a hostile submission is kept from the host's files, memory and network.
        gpus: Graphics processors that processes are given.
    """

    name: str
    is_isolated: bool
    gpus: Sequence[GpuDevice]

    def folder_inside(self, folder: Path) -> Path:
        """Where a process sees its private folder."""
        ...

    def fds_inside(self, fds: Sequence[int]) -> Sequence[int]:
        """Numbers under which a process has the descriptors that it is handed."""
        ...

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
        """Start a command under a guard, which ends everything and removes the folder, whatever happens.

        Args:
            command: Program and arguments.
            folder: Private folder, with the submission's copy in ``submission`` and room in ``scratch``.
            readable: What else the process must be able to read.
            environment: Its whole environment.
            fds: File descriptors it inherits; see `fds_inside`.
            output: File descriptor for its output and errors.
            limits: What all its processes may use together.

        Raises:
            IsolationError: The process could not be started as safely as the backend promises.
        """
        ...


class NoIsolation:
    """A plain subprocess: enough for one's own methods, not for strangers'.

    The truth is not handed to the process, but nothing stops hostile code of the same user from reading the
    host's memory or files.

    Args:
        gpus: Graphics processors that processes are meant to use; none keeps them from it.
    """

    name = "none"
    is_isolated = False

    def __init__(self, *, gpus: Sequence[GpuDevice] = ()) -> None:
        self.gpus = gpus

    def folder_inside(self, folder: Path) -> Path:
        """Where a process sees its private folder: where it is."""
        return folder

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
        """Start a command in a session of its own; see `Backend.start`."""
        group = make_group(folder.name, limits)
        task = Task(str(folder), groups=[str(path) for path in group.joinable])
        command = guarded(task, command)
        return Started(spawn(command, cwd=folder, environment=environment, fds=fds, output=output), group)


def spawn(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], fds: Sequence[int], output: int
) -> subprocess.Popen[bytes]:
    """Start a program that signals to the host's terminal do not reach.

    Raises:
        IsolationError: It could not be started.
    """
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        raise IsolationError(f"the worker process could not be started: {error}") from error


BACKENDS = ("bubblewrap", "podman", "none")
"""Names of the backends; ``podman:IMAGE`` names an image, too."""


def get_backend(name: str, *, hidden: Sequence[Path] = (), with_gpus: bool = False) -> Backend:
    """Backend by name, checked to hold what it promises.

    Args:
        name: One of `BACKENDS`, or ``podman:IMAGE``.
        hidden: Files and folders that submissions may not see, such as run folders and configurations.
        with_gpus: Whether submissions are given the graphics processors of this machine.

    Raises:
        IsolationError: There is none of that name, or it does not work here; nothing less safe is used in
            its place.
    """
    kind, _, image = name.partition(":")
    if kind not in BACKENDS or (image and kind != "podman"):
        raise IsolationError(f"no isolation backend {name!r}; there are: {', '.join(BACKENDS)}")
    gpus = find_gpus() if with_gpus else ()
    if kind == NoIsolation.name:
        return NoIsolation(gpus=gpus)
    if kind == "podman":
        from fairuniverse.isolation.podman import Podman

        return Podman(image=image, hidden=hidden, gpus=gpus)
    from fairuniverse.isolation.bubblewrap import Bubblewrap

    return Bubblewrap(hidden=hidden, gpus=gpus)


def clean_environment(scratch: Path, n_threads: int) -> dict[str, str]:
    """Environment of a worker: what Python and numerical libraries need, and nothing else of the host's."""
    return {
        **{k: os.environ[k] for k in _PASSED_ON if k in os.environ},
        **dict.fromkeys(_THREADS, str(n_threads)),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
    }
