"""The right to change what lies where there are no locks, held for as long as it is renewed."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Protocol
from uuid import uuid4

RENEWAL_S = 5.0
"""How often the holder writes the file anew, seconds."""

PATIENCE_S = 20.0
"""Time after which a file that has not changed was left by a process that was killed, seconds."""

_SETTLING_S = 1.0
"""Time in which others who take over at the same moment have written, seconds."""


class Store(Protocol):
    """What a lease asks of a store."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one."""
        ...

    def read(self, name: str) -> bytes:
        """Content of a file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        ...

    def remove(self, names: list[str]) -> None:
        """Remove files."""
        ...


class Lease:
    """A file that its holder keeps changing. Clocks of different machines are never compared.

    Args:
        store: Where the file is.
        name: Its name.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The store cannot be written.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._holder = f"{socket.gethostname()} {os.getpid()} {uuid4().hex}"
        self._n_renewals = 0
        self.is_held = True
        self._ended = threading.Event()
        if not store.create(name, self._content()):
            self._take_over()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let others have it at once."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            if self._is_mine():
                self._store.remove([self._name])

    def _take_over(self) -> None:
        """Wait whether the holder lives."""
        seen, end = self._seen(), time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            time.sleep(min(RENEWAL_S, PATIENCE_S) / 5)
            if self._seen() != seen:
                break
        if self._seen() not in (seen, None):
            raise BlockingIOError(f"{self._name} is held")
        self._store.write(self._name, self._content())
        time.sleep(_SETTLING_S)
        if not self._is_mine():
            raise BlockingIOError(f"{self._name} was taken by another process")

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL_S):
            with suppress(OSError):  # a store that cannot be reached for a while
                if not self._is_mine():
                    self.is_held = False
                    return
                self._n_renewals += 1
                self._store.write(self._name, self._content())

    def _is_mine(self) -> bool:
        return (self._seen() or b"").startswith(self._holder.encode())

    def _seen(self) -> bytes | None:
        try:
            return self._store.read(self._name)
        except FileNotFoundError:
            return None

    def _content(self) -> bytes:
        return f"{self._holder} {self._n_renewals}\n".encode()
