"""What runs below a process."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil


def running_below(word: str, pid: int | None = None) -> list[psutil.Process]:
    """Processes below this one, or another, that have a word in their command line; dead ones have none."""
    found = []
    for process in psutil.Process(pid or os.getpid()).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # or a zombie
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found
