"""Isolation in a container, through the program ``podman``: for sites that have it in place of bubblewrap.

A container sees this machine's Python and packages, as `bubblewrap` shows them, below an empty root folder,
so that no image and no registry is needed; or it is made from an image that has fairuniverse installed.
Limits are podman's own control groups. Works as root; as an ordinary user only where podman may give a
container more than one user (``/etc/subuid``) - the probes at the start say.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import psutil

from fairuniverse.isolation.backends import GPU_VARIABLES, Started, spawn
from fairuniverse.isolation.bubblewrap import (
    SHM_MIB,
    SYSTEM_FILES,
    SYSTEM_FOLDERS,
    TMP_MIB,
    find_program,
    let_everybody_read,
    spare_uid,
)
from fairuniverse.isolation.cgroup import ControlGroup, Limits, own_groups
from fairuniverse.isolation.gpu import GpuDevice
from fairuniverse.isolation.guard import FIRST_FD, Task, guarded
from fairuniverse.isolation.installed import find_installed
from fairuniverse.isolation.seccomp import container_profile

INSIDE = Path("/fairuniverse")
"""Where a process in a container finds its private folder."""

REMEDY = (
    "install podman and runc (Debian, Ubuntu: apt-get install podman runc), use bubblewrap, "
    "or run only code that you trust, with --isolation none"
)

_CONTAINER_TMP_MIB = 64
_OF_THIS_MACHINE = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", *GPU_VARIABLES)
"""Variables that mean nothing in an image."""


class Podman:
    """Containers made by ``podman``; see the module.

    Args:
        image: Image with fairuniverse installed; without one, this machine's Python is shown.
        hidden: Files and folders that no process may see, such as run folders and configurations.
        gpus: Graphics processors that processes are given.

    Raises:
        IsolationError: There is no ``podman``, it does not work here, a hostile probe succeeded inside, or
            something hidden lies where packages are installed.
    """

    is_isolated = True
    remedy = REMEDY

    def __init__(
        self, *, image: str = "", hidden: Sequence[Path] = (), gpus: Sequence[GpuDevice] = ()
    ) -> None:
        from fairuniverse.isolation.selfcheck import check_sandbox

        self._program = find_program("podman", REMEDY)
        self._image = image
        self.name = f"podman:{image}" if image else "podman"
        self._profile = json.dumps(container_profile(platform.machine()))
        self._installed = None if image else find_installed()
        if self._installed:
            self._installed.require_hidden(self._installed.folders, hidden)
        self._hidden = hidden
        self.gpus = gpus
        check_sandbox(self)

    def folder_inside(self, folder: Path) -> Path:
        """Where the process sees its private folder."""
        return INSIDE

    def fds_inside(self, fds: Sequence[int]) -> Sequence[int]:
        """3, 4, 5, ...: podman passes on no others."""
        return range(FIRST_FD, FIRST_FD + len(fds))

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
        """Start a command in a container of its own; see `Backend.start`."""
        if self._installed:
            self._installed.require_hidden(readable, self._hidden)
        let_everybody_read(folder / "submission")
        (folder / "seccomp.json").write_text(self._profile)
        podman = [self._program, *self._state(folder)]
        task = Task(
            str(folder), fds=tuple(fds), farewell=(*podman, "rm", "--force", "--time", "0", folder.name)
        )
        what = [self._image, "python3", *command[1:]] if self._image else [*self._root(folder), *command]
        container = [*podman, "run", *self._walls(folder, readable), *_limits(limits, len(fds))]
        kept = {k: v for k, v in environment.items() if not (self._image and k in _OF_THIS_MACHINE)}
        variables = [f"--env={key}={value}" for key, value in {**kept, "USER": "worker"}.items()]
        process = spawn(
            guarded(task, [*container, *variables, *what]),
            cwd=Path("/"),
            environment=_own_environment(),
            fds=fds,
            output=output,
        )
        return Started(process, ContainerGroup({}, podman=process.pid))

    def _state(self, folder: Path) -> list[str]:
        """Where podman keeps what it knows: with an image where that is, otherwise in the private folder."""
        places = ("root", "runroot", "tmpdir")
        own = [] if self._image else [f"--{name}={folder / 'podman' / name}" for name in places]
        driver = [] if self._image else ["--storage-driver=vfs"]
        return [*own, *driver, *self._runtime]

    @cached_property
    def _runtime(self) -> list[str]:
        """Without systemd, podman must make control groups itself; crun refuses mixed versions of them."""
        has_systemd = Path("/run/systemd/system").is_dir()
        runtime = ["--runtime=runc"] if shutil.which("runc") else []
        return [*runtime, *([] if has_systemd else ["--cgroup-manager=cgroupfs"]), "--events-backend=none"]

    def _root(self, folder: Path) -> list[str]:
        """An almost empty root folder, for a container without an image."""
        root = folder / "root"
        for name in (
            "usr",
            "etc",
            "proc",
            "sys",
            "dev",
            "tmp",
            "run",
            "fairuniverse/submission",
            "fairuniverse/scratch",
        ):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("tmp", "fairuniverse/scratch"):
            (root / name).chmod(0o1777)  # which the memory that is mounted there takes over
        for path in (Path("/") / name for name in SYSTEM_FOLDERS):
            if path.is_symlink():
                (root / path.name).symlink_to(path.readlink())
        return ["--rootfs", str(root)]

    def _walls(self, folder: Path, readable: Sequence[Path]) -> Iterator[str]:
        uid = spare_uid()
        yield from ("--rm", "--name", folder.name, "--hostname", "sandbox", "--network=none", "--no-hosts")
        yield from ("--read-only", "--read-only-tmpfs=false", "--ipc=none", "--cap-drop=all", "--pull=never")
        yield from ("--security-opt=no-new-privileges", f"--security-opt=seccomp={folder / 'seccomp.json'}")
        yield from (f"--user={uid}:{uid}", "--http-proxy=false", "--log-driver=none")
        for place, size in (
            ("/tmp", _CONTAINER_TMP_MIB),
            ("/dev/shm", SHM_MIB),
            (f"{INSIDE}/scratch", TMP_MIB),
        ):
            yield f"--tmpfs={place}:rw,nosuid,nodev,size={size}m,mode=1777,notmpcopyup"
        yield f"--workdir={INSIDE}/submission"
        yield f"--volume={folder / 'submission'}:{INSIDE}/submission:ro"
        yield from (f"--device={gpu.path}:{gpu.inside}" for gpu in self.gpus)
        yield from sorted({f"--group-add={gpu.group}" for gpu in self.gpus if gpu.group is not None})
        for path in (*readable, *(self._shown() if self._installed else ())):
            yield f"--volume={path}:{path}:ro"
        for mask in self._installed.masks if self._installed else ():
            yield f"--mount=type=tmpfs,destination={mask},tmpfs-size=4096,ro"

    def _shown(self) -> Iterator[Path]:
        assert self._installed is not None
        yield Path("/usr")
        folders = (Path("/") / name for name in SYSTEM_FOLDERS)
        yield from (path for path in folders if path.is_dir() and not path.is_symlink())
        yield from (path for path in map(Path, SYSTEM_FILES) if path.exists())
        yield from (path for path in self._installed.folders if path not in self._installed.masks)


@dataclass(frozen=True)
class ContainerGroup(ControlGroup):
    """The group that podman makes, found by what is in it; its processes are those below podman.

    Attributes:
        podman: Process that started podman.
        found: Where the kernel counts, once there is a container.
    """

    podman: int = 0
    found: list[ControlGroup] = field(default_factory=list)

    def pids(self) -> list[int] | None:
        """Processes in the container, podman's own not among them; None until there is a container."""
        self._look()
        return [pid for group in self.found for pid in group.pids() or ()] if self.found else None

    def n_killed(self) -> int:
        """Processes that the kernel killed because the container's memory was full."""
        self._look()
        return sum(group.n_killed() for group in self.found)

    def _look(self) -> None:
        """Search, which means to look at every process of the machine, until there is a container."""
        if not self.found:
            self.found.extend({g.folders["memory"]: g for g in self._find()}.values())

    def _find(self) -> Iterator[ControlGroup]:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.podman).children(recursive=True):
                with suppress(OSError):
                    group = _memory_group(process.pid)
                    if group and any(map(_is_container, group.folders["memory"].parts)):
                        yield group


def _memory_group(pid: int) -> ControlGroup | None:
    """The group that counts the memory of a process."""
    cgroup, mounts = (Path(p).read_text() for p in (f"/proc/{pid}/cgroup", "/proc/self/mountinfo"))
    homes = own_groups(cgroup, mounts)
    home = homes.get("memory") or homes.get("v2")
    return ControlGroup({"memory": home}, is_v2="memory" not in homes) if home else None


def _is_container(name: str) -> bool:
    """Whether a folder is the group of a container, not of the program that watches it."""
    return name.startswith("libpod-") and not name.startswith("libpod-conmon")


def _limits(limits: Limits, n_fds: int) -> Iterator[str]:
    yield from (f"--memory={limits.memory_mib}m", f"--memory-swap={limits.memory_mib}m")
    yield from (f"--pids-limit={limits.n_processes}", f"--cpus={limits.n_cores}")
    # podman's own defaults may be above the hard limits
    yield from (f"--ulimit=nproc={limits.n_processes}", "--ulimit=nofile=1024:1024")
    if n_fds:
        yield f"--preserve-fds={n_fds}"


def _own_environment() -> dict[str, str]:
    """What podman itself needs; none of it gets into the container."""
    names = ("PATH", "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    return {name: os.environ[name] for name in names if name in os.environ}
