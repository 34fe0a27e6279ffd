"""Events handed to a worker through anonymous memory: written once by the host, mapped by the worker.

The format is an Arrow IPC stream of one record batch, so that the worker's columns are views. Pages are
reused from one toy to the next, because touching fresh pages costs several times the copy. The file has no
name: nothing is left behind, however the processes end.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from fairuniverse.errors import StorageError

_COLUMN_OVERHEAD = 1024
"""Room for the description and padding of one column, bytes; Arrow takes about 200."""

_ROOM_TO_GROW = 1.2

_SEAL_FUTURE_WRITE = 0x10  # F_SEAL_FUTURE_WRITE in include/uapi/linux/fcntl.h

Column = NDArray[Any]


class SharedTable:
    """The host's end: a growing anonymous file that holds the columns of the last `write`.

    Workers are handed `reader_fd`. Shrinking the file is forbidden to all, because touching a page that is
    gone would kill the host, and writing to all but the host's mapping: a worker of the same user could
    otherwise open the file for writing, and leave something in it for those that come after.
    """

    def __init__(self, *, n_bytes: int = 0) -> None:
        self.fd = _anonymous_file(n_bytes)
        self.reader_fd = _read_only(self.fd)
        self.used = 0
        self._map: mmap.mmap | None = None

    def write(self, columns: Mapping[str, Column]) -> None:
        """Replace the content by these columns of equal length.

        Raises:
            StorageError: Neither memory nor disk has room for them.
        """
        import pyarrow as pa

        batch = pa.RecordBatch.from_arrays([pa.array(c) for c in columns.values()], list(columns))
        room = self._reserve(sum(c.nbytes + _COLUMN_OVERHEAD for c in columns.values()) + _COLUMN_OVERHEAD)
        with pa.FixedSizeBufferWriter(pa.py_buffer(room)) as sink:
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            self.used = sink.tell()

    def copy(self, other: SharedTable) -> None:
        """Replace the content by that of another."""
        room = self._reserve(other.used)
        assert other._map is not None
        with memoryview(room) as target, memoryview(other._map) as source:
            target[: other.used] = source[: other.used]
        self.used = other.used

    def close(self) -> None:
        """Give the memory back once the worker has ended, too."""
        self._map = None
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self.reader_fd)
            self.fd = self.reader_fd = -1

    def _reserve(self, n_bytes: int) -> mmap.mmap:
        if self._map is None or len(self._map) < n_bytes:
            size = int(n_bytes * _ROOM_TO_GROW) if self._map else n_bytes
            try:
                _allocate(self.fd, size)
            except OSError as error:
                raise StorageError(
                    f"no room for {size >> 20} MiB of events ({error.strerror}): free memory, "
                    "or point TMPDIR to a disk with space"
                ) from error
            if self._map is not None and sys.platform == "linux":
                self._map.resize(size)  # the seal forbids another mapping
            else:
                self._map = mmap.mmap(self.fd, size)
                _seal(self.fd)
        return self._map


class TableReader:
    """The worker's end: read-only views of the columns, valid until the host's next `write`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map: mmap.mmap | None = None

    def read(self, used: int) -> dict[str, Column]:
        """The columns, of `used` bytes together."""
        import pyarrow as pa

        if self._map is None or len(self._map) < used:
            self._map = mmap.mmap(self._fd, os.fstat(self._fd).st_size, prot=mmap.PROT_READ)
        batch = pa.ipc.open_stream(pa.py_buffer(self._map)).read_next_batch()
        return {n: c.to_numpy() for n, c in zip(batch.schema.names, batch.columns, strict=True)}


def as_block(columns: Sequence[Column]) -> Column:
    """Columns of one type as a block of shape (n_columns, n_rows); a view where they are equally spaced."""
    starts = [c.ctypes.data for c in columns]
    steps = set(np.diff(starts).tolist())
    if len(steps) != 1 or len(columns[0]) == 0:
        return np.stack(columns)
    shape, strides = (len(columns), len(columns[0])), (steps.pop(), columns[0].itemsize)
    return np.lib.stride_tricks.as_strided(columns[0], shape, strides, writeable=False)


def _anonymous_file(n_bytes: int) -> int:
    """A nameless file: in memory, or on disk if it would take a large part of what is free."""
    if sys.platform == "linux" and n_bytes < psutil.virtual_memory().available // 4:
        fd = os.memfd_create("events", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.fchmod(fd, stat.S_IRUSR)
        return fd
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _seal(fd: int) -> None:
    """Forbid everybody to shrink a file in memory, and to write to it but by the mappings that there are."""
    if sys.platform == "linux" and hasattr(fcntl, "F_ADD_SEALS"):
        for seal in (fcntl.F_SEAL_SHRINK, _SEAL_FUTURE_WRITE, fcntl.F_SEAL_SEAL):
            with suppress(OSError):  # a file on disk; a kernel before 5.1
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seal)


def _read_only(fd: int) -> int:
    """Another descriptor of the same file, which does not write."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY) if sys.platform == "linux" else os.dup(fd)


def _allocate(fd: int, size: int) -> None:
    """Reserve the space now: a full disk is an error here, and a bus error at the first touch otherwise."""
    if sys.platform == "linux":
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)
