"""How processes end: with the one that started them, and without delay."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

SUBREAPER = 36
"""Option of prctl(2): orphans below come to this process."""

_PR_SET_PDEATHSIG = 1


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2), Linux); elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def end_with_parent(signal_number: int) -> None:
    """Have a signal sent to this process as soon as the thread that started it is no more (Linux)."""
    prctl(_PR_SET_PDEATHSIG, signal_number)


def end_quickly() -> None:
    """Have this process not look for cycles in memory as it ends; with large libraries that takes 0.2 s."""
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def wait_for_end(process: subprocess.Popen[Any], timeout_s: float) -> int:
    """Exit code of a process, as soon as it has ended: `subprocess.Popen.wait` looks every 50 ms (Linux 5.3).

    Raises:
        subprocess.TimeoutExpired: It goes on.
    """
    start = time.monotonic()
    if process.poll() is None and hasattr(os, "pidfd_open"):
        with suppress(OSError):  # an older kernel
            fd = os.pidfd_open(process.pid)
            try:
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(1e3 * timeout_s)
            finally:
                os.close(fd)
    try:
        return process.wait(max(start + timeout_s - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired as error:
        error.timeout = timeout_s
        raise
