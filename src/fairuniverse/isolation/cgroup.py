"""Control groups: the kernel's limits on all processes of a worker together, where we may make such groups.

A group is made below the host's own, so it never escapes a limit that the host itself is under. Version 1 has
one tree per controller, version 2 one tree for all; a machine may have some controllers in each. What cannot
be made is left to the host, which looks at the processes from time to time (`process`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
"""What we ask for; in version 2, ``cpu`` also counts, which is ``cpuacct`` in version 1."""

_PERIOD_US = 100_000
_HOST_LEAF = "fairuniverse-host"
"""Where the host goes in version 2: a group with controllers below it may not hold processes itself."""


@dataclass(frozen=True)
class Limits:
    """What a group may use together.

    Attributes:
        memory_mib: Memory, MiB, files in memory included.
        n_processes: Processes and threads.
        n_cores: Cores' worth of time at any time.
    """

    memory_mib: int
    n_processes: int
    n_cores: int


@dataclass(frozen=True)
class ControlGroup:
    """A group of one worker, of which nothing may be there.

    Attributes:
        folders: Folder of the group by controller.
        is_v2: Whether these are one group of version 2.
    """

    folders: Mapping[str, Path]
    is_v2: bool = False

    @property
    def joinable(self) -> list[Path]:
        """Folders that a process must join; see `join`."""
        return sorted(set(self.folders.values()))

    def pids(self) -> list[int] | None:
        """Its processes; None if there is no group to ask."""
        return (
            [int(pid) for pid in self._read(next(iter(self.folders)), "cgroup.procs").split()]
            if self.folders
            else None
        )

    def n_killed(self) -> int:
        """Processes that the kernel killed because the group's memory was full."""
        name = "memory.events" if self.is_v2 else "memory.oom_control"
        return int(_entry(self._read("memory", name), "oom_kill") or 0)

    def cpu_s(self) -> float | None:
        """Processor time of all its processes, ended ones included, seconds; None where it is not counted."""
        if self.is_v2:
            used = _entry(self._read("cpu", "cpu.stat"), "usage_usec")
            return None if used is None else int(used) / 1e6
        text = self._read("cpuacct", "cpuacct.usage")
        return int(text) / 1e9 if text else None

    def _read(self, controller: str, name: str) -> str:
        folder = self.folders.get(controller)
        with suppress(OSError):
            return (folder / name).read_text() if folder else ""
        return ""


def make_group(name: str, limits: Limits) -> ControlGroup:
    """A group of this name with as many of these limits as this machine lets us set."""
    if sys.platform != "linux":
        return ControlGroup({})
    homes = own_groups(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    group = ControlGroup(dict(_made(homes, name, _set_v1, limits)))
    if not group.folders and "v2" in homes and (home := _delegated(homes["v2"])):
        made = dict(_made({"memory": home}, name, _set_v2, limits))
        group = replace(group, folders=dict.fromkeys(CONTROLLERS, made["memory"]) if made else {}, is_v2=True)
    return group


def join(folders: Sequence[Path]) -> None:
    """Put this process, and all it will start, into a group.

    Raises:
        OSError: A group is gone, or full.
    """
    for folder in folders:
        (folder / "cgroup.procs").write_text("0")


def remove(folders: Sequence[Path]) -> None:
    """Remove a group whose processes have ended."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def own_groups(cgroup: str, mountinfo: str) -> dict[str, Path]:
    """Folder of this process' own group, by controller of version 1 and ``v2``.

    Args:
        cgroup: Content of ``/proc/self/cgroup``.
        mountinfo: Content of ``/proc/self/mountinfo``.
    """
    mounts = dict(_mounts(mountinfo))
    homes = {}
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        for controller in ("v2",) if number == "0" else controllers.split(","):
            root, mount = mounts.get(controller, ("", Path()))
            if root and (path == root or path.startswith(root.rstrip("/") + "/")):
                homes[controller] = mount / os.path.relpath(path, root)
    return homes


def _mounts(mountinfo: str) -> Iterator[tuple[str, tuple[str, Path]]]:
    """Root and place of every mounted tree, by controller of version 1 and ``v2``."""
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        root, place = head.split()[3:5]
        kind, _, options = tail.split()[:3]
        names = ["v2"] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        yield from ((name, (root, Path(place))) for name in names)


def _made(
    homes: Mapping[str, Path], name: str, configure: Callable[[str, Path, Limits], None], limits: Limits
) -> Iterator[tuple[str, Path]]:
    """Groups that could be made and take their limits."""
    for controller in CONTROLLERS:
        if controller in homes:
            folder = homes[controller] / name
            try:
                folder.mkdir(exist_ok=True)  # cpu and cpuacct often are one tree
                configure(controller, folder, limits)
            except OSError:
                remove([folder])
            else:
                yield controller, folder


def _set_v1(controller: str, folder: Path, limits: Limits) -> None:
    n_bytes = limits.memory_mib << 20
    if controller == "memory":
        (folder / "memory.limit_in_bytes").write_text(f"{n_bytes}")
        with suppress(OSError):  # where swap is not counted
            (folder / "memory.memsw.limit_in_bytes").write_text(f"{n_bytes}")
    elif controller == "pids":
        (folder / "pids.max").write_text(f"{limits.n_processes}")
    elif controller == "cpu":
        (folder / "cpu.cfs_period_us").write_text(f"{_PERIOD_US}")
        (folder / "cpu.cfs_quota_us").write_text(f"{limits.n_cores * _PERIOD_US}")


def _set_v2(_: str, folder: Path, limits: Limits) -> None:
    (folder / "memory.max").write_text(f"{limits.memory_mib << 20}")
    with suppress(OSError):
        (folder / "memory.swap.max").write_text("0")
    (folder / "memory.oom.group").write_text("1")
    (folder / "pids.max").write_text(f"{limits.n_processes}")
    (folder / "cpu.max").write_text(f"{limits.n_cores * _PERIOD_US} {_PERIOD_US}")


def _delegated(own: Path) -> Path | None:
    """The group of version 2 below which workers' groups go; None if this is not ours to decide."""
    home = own.parent if own.name == _HOST_LEAF else own
    wanted = {"memory", "pids", "cpu"}
    try:
        if not wanted <= set((home / "cgroup.controllers").read_text().split()):
            return None
        if not wanted <= set((home / "cgroup.subtree_control").read_text().split()):
            (home / _HOST_LEAF).mkdir(exist_ok=True)
            (home / _HOST_LEAF / "cgroup.procs").write_text(f"{os.getpid()}")
            (home / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(wanted)))
    except OSError:
        return None
    return home


def _entry(text: str, key: str) -> str | None:
    """Value of a line ``key value``."""
    found = (line.split() for line in text.splitlines())
    return next((words[1] for words in found if len(words) == 2 and words[0] == key), None)
