"""Hostile probes, run inside a sandbox at the start of every run: ``... probe TRUTH TCP UDP UNIX PID``.

Prints, as JSON, each probe with whether it succeeded; one that succeeds is a hole.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_CLONE_NEWUSER = 0x10000000


def main() -> None:
    """Try everything and report."""
    print(json.dumps({name: _succeeds(probe) for name, probe in probes(*sys.argv[1:]).items()}))


def probes(truth: str, tcp: str, udp: str, unix: str, pid: str) -> dict[str, Callable[[], object]]:
    """The probes by what each tries; one that returns without an error succeeded."""
    libc = ctypes.CDLL(None, use_errno=True)
    return {
        "reading a file of the host": lambda: Path(truth).read_bytes(),
        "reading /etc/shadow": lambda: Path("/etc/shadow").read_bytes(),
        "seeing the folder of a host's file": lambda: _require(Path(truth).parent.is_dir()),
        "a TCP connection": lambda: socket.create_connection(("127.0.0.1", int(tcp)), timeout=1),
        "a UDP packet": lambda: _udp().sendto(b"x", ("127.0.0.1", int(udp))),
        "an abstract Unix socket of the host": lambda: socket.socket(socket.AF_UNIX).connect("\0" + unix),
        "signalling a process of the host": lambda: _kill(int(pid)),
        "seeing the processes of the host": lambda: _require(_n_processes() > 8),
        "a folder of the host in the mount tables": lambda: _require(_is_mentioned(Path(truth).parent)),
        "writing to /": lambda: Path("/probe").write_bytes(b"x"),
        "writing to /usr": lambda: Path("/usr/probe").write_bytes(b"x"),
        "writing to /dev": lambda: Path("/dev/probe").write_bytes(b"x"),
        "writing to the installed packages": lambda: Path(__file__).with_name("probe.txt").write_bytes(b"x"),
        "writing to the submission": lambda: Path("probe").write_bytes(b"x"),
        "mounting": lambda: _checked(libc.mount(b"none", os.environ["HOME"].encode(), b"tmpfs", 0, None)),
        "tracing": lambda: _checked(libc.ptrace(0, 0, None, None)),
        "a new user name space": lambda: _checked(libc.unshare(_CLONE_NEWUSER)),
        "becoming root": _become_root,
        "holding a capability": lambda: _require(_status("CapEff") != "0" * 16),
        "gaining privileges": lambda: _require(_status("NoNewPrivs") != "1"),
        "unfiltered system calls": lambda: _require(_status("Seccomp") != "2"),
    }


def _succeeds(probe: Callable[[], object]) -> bool:
    try:
        probe()
    except OSError:
        return False
    return True


def _require(is_hole: bool) -> None:
    if not is_hole:
        raise PermissionError


def _checked(code: int) -> None:
    if code < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _become_root() -> None:
    if os.geteuid():
        os.setuid(0)


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _kill(pid: int) -> None:
    if pid in (os.getpid(), os.getppid()):  # our own, of the same number
        raise PermissionError
    os.kill(pid, signal.SIGKILL)


def _n_processes() -> int:
    return sum(path.name.isdigit() for path in Path("/proc").iterdir())


def _is_mentioned(folder: Path) -> bool:
    return any(
        str(folder) in Path(f"/proc/self/{name}").read_text() for name in ("mountinfo", "cgroup", "maps")
    )


def _status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((line.split()[1] for line in lines if line.startswith(field + ":")), "")


if __name__ == "__main__":
    main()
