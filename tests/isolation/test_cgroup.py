"""Control groups, as this machine has them and as others do."""

import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fairuniverse.isolation import cgroup
from fairuniverse.isolation.cgroup import ControlGroup, Limits, join, make_group, own_groups, remove

LIMITS = Limits(memory_mib=64, n_processes=10, n_cores=1)


@pytest.fixture
def group():
    """A real group, removed at the end."""
    if sys.platform != "linux":
        pytest.skip("control groups are the Linux kernel's")
    group = make_group(f"fairuniverse-test-{secrets.token_hex(4)}", LIMITS)
    yield group
    for _ in range(100):
        for folder in group.joinable:
            for pid in (folder / "cgroup.procs").read_text().split() if folder.exists() else ():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        remove(group.joinable)
        if not any(folder.exists() for folder in group.joinable):
            return
        time.sleep(0.02)
    raise AssertionError("a control group is left behind")


def in_group(group, deed):
    """Exit code of a child that does something in a group."""
    child = os.fork()
    if not child:
        try:
            join(group.joinable)
            os._exit(deed())
        finally:
            os._exit(100)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_kernel_limits_the_memory_of_all_together(group):
    """Three processes, each within the limit, are not within it together; one of them is killed."""
    if "memory" not in group.folders:
        pytest.skip("no control group with memory can be made here")

    def fill():
        for _ in range(2):
            if os.fork() == 0:
                break
        hog = bytearray(b"x") * (40 << 20)
        time.sleep(0.5)
        os._exit(len(hog) & 1)

    in_group(group, fill)
    assert group.n_killed() >= 1


def test_the_kernel_counts_processes(group):
    """No more than the limit, whoever starts them."""
    if "pids" not in group.folders:
        pytest.skip("no control group with processes can be made here")

    def multiply():
        for n in range(100):
            try:
                if os.fork() == 0:
                    time.sleep(1)
                    os._exit(0)
            except BlockingIOError:
                return n
        return 100

    assert in_group(group, multiply) == LIMITS.n_processes - 1


def test_the_kernel_counts_the_time_of_the_dead(group):
    """A process that ended and was never waited for by its parent has not worked for nothing."""
    if group.cpu_s() is None:
        pytest.skip("no control group with processor time can be made here")

    def work():
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
        return 0

    assert in_group(group, work) == 0
    assert group.cpu_s() >= 0.1


V1 = "5:cpu,cpuacct:/user/a\n4:memory:/user/a\n1:name=systemd:/user\n0::/user/a\n"
MOUNTS_V1 = """\
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
36 31 0:33 /user /sys/fs/cgroup/memory rw,nosuid shared:17 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
22 1 8:1 / / rw - ext4 /dev/root rw
"""


def test_our_own_groups_are_found():
    """Where each tree is mounted, from which of its groups on, and where in it we are."""
    assert own_groups(V1, MOUNTS_V1) == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct/user/a"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct/user/a"),
        "memory": Path("/sys/fs/cgroup/memory/a"),
        "v2": Path("/sys/fs/cgroup/unified/user/a"),
    }


def test_a_group_outside_of_what_is_mounted_is_not_ours():
    """In a container, our group may be above the part of the tree that can be seen."""
    assert own_groups("4:memory:/elsewhere", MOUNTS_V1) == {}


def test_what_cannot_be_made_is_left_out(tmp_path, monkeypatch):
    """An ordinary user has no groups: nothing is limited, nothing is claimed, nothing fails."""
    monkeypatch.setattr(cgroup, "own_groups", lambda *_: {"memory": tmp_path / "absent"})
    group = make_group("x", LIMITS)
    assert group == ControlGroup({})
    assert (group.n_killed(), group.cpu_s(), group.joinable) == (0, None, [])


def test_version_2_is_one_group_for_all(tmp_path, monkeypatch):
    """The host goes aside, controllers are passed down, and limits are written in the words of version 2."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr(cgroup, "own_groups", lambda *_: {"v2": tmp_path})
    group = make_group("x", LIMITS)
    assert (tmp_path / "fairuniverse-host" / "cgroup.procs").read_text() == str(os.getpid())
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert group.joinable == [tmp_path / "x"]
    written = {p.name: p.read_text() for p in (tmp_path / "x").iterdir()}
    assert written == {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "10",
        "cpu.max": "100000 100000",
    }
    (tmp_path / "x" / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n")
    (tmp_path / "x" / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
    assert (group.n_killed(), group.cpu_s()) == (2, 1.5)
