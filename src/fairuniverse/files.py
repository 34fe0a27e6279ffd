"""Files that appear complete or not at all, and the right to write them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from fairuniverse.errors import StorageError

UNFINISHED = ".*.unfinished*"
"""Pattern of the files that `replacing` leaves where a process is killed."""


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of the files in a folder."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        total.update(f"{file.relative_to(folder)}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary path beside `path` that takes its name on success and vanishes on failure.

    What is written is on the disk before it has the name; any number of processes may do so at once.

    Raises:
        OSError: Writing failed.
    """
    temporary = path.with_name(f".{path.stem}.{uuid4().hex}.unfinished{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """The same, in a folder that is made if it does not exist, and with an error that names the file.

    Raises:
        StorageError: Writing failed; what was there stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "free some space or choose" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose"
        raise StorageError(f"cannot write {path}: {reason}; {remedy} another folder") from error


class FileLock:
    """The right to change something, for one process alone, until it gives it back or ends in any way.

    A file system without locks gives it to everybody.

    Args:
        path: The file that is locked, made if it does not exist; it tells who has the lock, and stays.

    Raises:
        BlockingIOError: Another process has it.
        OSError: The file cannot be made.
    """

    is_held = True

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        try:
            _flock(self._file)
        except BlockingIOError:
            self._file.close()
            raise
        except OSError:
            pass
        with suppress(OSError):
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())

    def close(self) -> None:
        """Give it to others."""
        self._file.close()


def lock_holder(path: Path) -> str:
    """Who has a lock that was refused, as far as its file tells."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    return "another process"


def _flock(file: IO[bytes]) -> None:
    """Lock for this process alone; whoever only looks whether there is a lock holds it for a moment."""
    for n_tries in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if n_tries == 9:
                raise
            time.sleep(0.05)
