"""What workers print, followed in the background into a log of limited size."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LAST_WORDS_S = 10.0
"""How long an ended process may take to be cleaned up, seconds."""


class Output:
    """What one worker prints, on its way to the log.

    Args:
        fd: Pipe to read until it is closed.
        write: What to do with each piece.
    """

    def __init__(self, fd: int, write: Callable[[bytes], None]) -> None:
        self.n_bytes = 0
        self._write = write
        self._thread = threading.Thread(target=self._copy, args=(fd,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the last words of an ended worker."""
        self._thread.join(LAST_WORDS_S)

    def _copy(self, fd: int) -> None:
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            while chunk := pipe.read(1 << 16):
                self.n_bytes += len(chunk)
                self._write(chunk)


class OutputLog:
    """What the workers of one submission print, up to a size; more is read and dropped.

    Args:
        path: File that is appended to.
        max_bytes: Size at which it ends.
    """

    def __init__(self, path: Path, max_bytes: int = 1 << 20) -> None:
        self._path = path
        self._room = max_bytes - (path.stat().st_size if path.exists() else 0)
        self._lock = threading.Lock()

    def follow(self, fd: int) -> Output:
        """Copy everything from a pipe in the background until it is closed."""
        return Output(fd, self._write)

    def _write(self, chunk: bytes) -> None:
        with self._lock, suppress(OSError):  # a full disk must not stop the worker
            if self._room > 0:
                with self._path.open("ab") as file:
                    file.write(chunk[: self._room])
                    self._room -= len(chunk)
                    if self._room <= 0:
                        file.write(b"\n[more output was dropped]\n")
