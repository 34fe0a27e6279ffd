"""The check that a sandbox holds, made before it is trusted with anybody's code; it fails closed."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from fairuniverse.errors import IsolationError
from fairuniverse.isolation.backends import Backend, clean_environment
from fairuniverse.isolation.cgroup import Limits
from fairuniverse.isolation.guard import FOLDER_PREFIX, see_ended
from fairuniverse.isolation.output import LAST_WORDS_S
from fairuniverse.isolation.probe import probes
from fairuniverse.lifetimes import wait_for_end

_TIMEOUT_S = 60.0
_LIMITS = Limits(memory_mib=512, n_processes=64, n_cores=1)


class Sandbox(Backend, Protocol):
    """A backend that promises isolation.

    Attributes:
        remedy: What to do where it does not work.
    """

    remedy: str


def check_sandbox(backend: Sandbox) -> None:
    """Run the hostile probes in a sandbox against victims set up for them.

    Raises:
        IsolationError: A probe succeeded, or the sandbox does not work.
    """
    with ExitStack() as stack:
        victims = _victims(stack)
        report = _run(backend, [str(v) for v in victims[:-1]] + [str(victims[-1].pid)])
        if victims[-1].poll() is not None:
            report["signalling a process of the host"] = True
    expected = set(probes(*[""] * 5))
    holes = sorted(name for name in expected if report.get(name) is not False)
    if holes:
        raise IsolationError(
            f"the sandbox does not hold: inside, {'; '.join(holes)} is possible. {backend.remedy}"
        )


def _victims(stack: ExitStack) -> tuple[Path, int, int, str, subprocess.Popen[bytes]]:
    """A file, three listening sockets and a process of the host, for the probes to reach."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairuniverse-victim-")))
    folder.chmod(0o755)  # only the sandbox keeps the spare user out
    truth = folder / "truth.json"
    truth.write_text("{}")
    tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    name = f"fairuniverse-{secrets.token_hex(8)}"
    unix = stack.enter_context(socket.socket(socket.AF_UNIX))
    unix.bind("\0" + name)
    unix.listen()
    process = subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE)
    stack.enter_context(process)
    stack.callback(process.kill)
    return truth, tcp.getsockname()[1], udp.getsockname()[1], name, process


def _run(backend: Sandbox, arguments: list[str]) -> dict[str, object]:
    """What the probes report from inside."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX)))
        (folder / "submission").mkdir()
        output = stack.enter_context(tempfile.TemporaryFile())
        started = backend.start(
            [sys.executable, "-P", "-m", "fairuniverse.isolation.probe", *arguments],
            folder=folder,
            readable=(),
            environment=clean_environment(backend.folder_inside(folder) / "scratch", 1),
            fds=(),
            output=output.fileno(),
            limits=_LIMITS,
        )
        process = started.process
        try:
            wait_for_end(process, _TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            see_ended(process, LAST_WORDS_S)
        folder.mkdir(exist_ok=True)  # the guard has removed it
        output.seek(0)
        return _read(output.read(1 << 16), backend.remedy)


def _read(printed: bytes, remedy: str) -> dict[str, object]:
    try:
        report = json.loads(printed)
        if isinstance(report, dict):
            return report
    except ValueError:
        pass
    said = " ".join(printed.decode("utf-8", "replace").split())[-300:] or "nothing"
    raise IsolationError(f"the sandbox does not start (it says: {said}). {remedy}")
