"""Writing prepared folders: one process at a time, and one message for what goes wrong."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fairuniverse.errors import StorageError
from fairuniverse.files import atomic_path

logger = logging.getLogger(__name__)


def write_json(path: Path, content: Any) -> None:
    """Write plain values; the file appears when it is complete."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Errors of a disk that is full or not writable.

    Raises:
        StorageError: With the remedy.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space and repeat the command, or" if full else "make it writable, or"
        raise StorageError(
            f"cannot write {folder}: {error.strerror or error}; {remedy} set FAIRUNIVERSE_CACHE to another "
            "folder"
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time; the system frees the lock of one that dies."""
    with ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / "lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("another process prepares %s; waiting for it", folder)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
