"""Where run folders lie: on a file system of this machine, or anywhere that has a URL."""

from __future__ import annotations

import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from fairuniverse.errors import StorageError
from fairuniverse.files import UNFINISHED, FileLock, replacing

LOCK = ".lock"


class Lock(Protocol):
    """The right to change a folder, for one process alone."""

    @property
    def is_held(self) -> bool:
        """Whether nobody else has taken it since."""
        ...

    def close(self) -> None:
        """Give it to others."""
        ...


class Place(ABC):
    """A folder of files that appear complete or not at all.

    Names are relative to it, with ``/`` after a folder. Whatever fails raises `OSError`, and
    `FileNotFoundError` if there is nothing of that name. ``str`` gives a path or URL that opens it again.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        """Last part of its path."""
        return str(self).rpartition("/")[2]

    @property
    @abstractmethod
    def scratch(self) -> Path:
        """Folder of this machine for what is not finished, and for what submissions print."""

    @abstractmethod
    def __truediv__(self, name: str) -> Place:
        """A folder in it."""

    @abstractmethod
    def make(self, folder: str) -> None:
        """Make a folder, and this one, where folders are made."""

    @abstractmethod
    def files(self, folder: str = "") -> Collection[str]:
        """Files directly in a folder; one that does not exist has none."""

    @abstractmethod
    def times(self, folder: str = "") -> Mapping[str, float]:
        """The same with the time of their last change, seconds since 1970; 0 if it is not known."""

    @abstractmethod
    def folders(self, *, follow: bool = True) -> Sequence[str]:
        """Folders directly in it, sorted.

        Args:
            follow: Whether links to folders count.
        """

    @abstractmethod
    def is_file(self, name: str) -> bool:
        """Whether there is a file of that name."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Content of a file."""

    @abstractmethod
    def read_all(self, names: Sequence[str]) -> Iterable[bytes]:
        """Contents of many files."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file; one that is there is replaced at once."""

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone already do not matter."""

    @abstractmethod
    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there."""

    @abstractmethod
    def keep_folder(self, source: Path, name: str) -> None:
        """Let a folder of `scratch` appear under a name, unless there is one by now; the source is gone."""

    @abstractmethod
    def kept_folder(self, name: str) -> Path:
        """Where such a folder is on this machine; it does not exist if nobody has kept one."""

    @abstractmethod
    def publish(self) -> None:
        """Let others see what submissions have printed so far."""

    @abstractmethod
    def clean(self) -> None:
        """Remove what processes that were killed left unfinished."""

    @abstractmethod
    def lock(self) -> Lock:
        """Take the right to change it.

        Raises:
            BlockingIOError: Another process has it.
        """

    @abstractmethod
    def is_locked(self) -> bool:
        """Whether a process of this or, mostly, another machine has the lock."""


Where = str | Path | Place
"""A path, a URL, or a place that is open already."""


def open_place(where: Where) -> Place:
    """A place by its path or URL.

    Raises:
        MissingDependencyError: Its kind of URL needs a library that is not installed.
        InvalidDataError: It is no URL of a known kind.
    """
    if isinstance(where, Place):
        return where
    if not is_url(where):
        return LocalPlace(Path(where))
    if str(where).startswith(("file://", "local://")):
        return LocalPlace(Path(str(where).partition("://")[2]))
    from fairuniverse.store.remote import RemotePlace

    return RemotePlace(str(where))


def is_url(where: Where) -> bool:
    """Whether something is the URL of a place, and no path."""
    return isinstance(where, str) and "://" in where


class LocalPlace(Place):
    """A folder of a file system.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> LocalPlace:
        return LocalPlace(self.path / name)

    @property
    def scratch(self) -> Path:
        """The folder itself: what is finished only has to be renamed."""
        return self.path

    def make(self, folder: str) -> None:
        """See `Place.make`."""
        (self.path / folder).mkdir(parents=True, exist_ok=True)

    def files(self, folder: str = "") -> Collection[str]:
        """See `Place.files`."""
        prefix = f"{folder}/" if folder else ""
        with suppress(FileNotFoundError), os.scandir(self.path / folder) as entries:
            return [prefix + entry.name for entry in entries if entry.is_file()]
        return []

    def times(self, folder: str = "") -> Mapping[str, float]:
        """See `Place.times`."""
        found = {}
        for name in self.files(folder):
            with suppress(FileNotFoundError):  # gone by now
                found[name] = (self.path / name).stat().st_mtime
        return found

    def folders(self, *, follow: bool = True) -> Sequence[str]:
        """See `Place.folders`."""
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=follow))
        return []

    def is_file(self, name: str) -> bool:
        """See `Place.is_file`."""
        return (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        return (self.path / name).read_bytes()

    def read_all(self, names: Sequence[str]) -> Iterable[bytes]:
        """See `Place.read_all`."""
        return map(self.read, names)

    def write(self, name: str, content: bytes) -> None:
        """See `Place.write`."""
        with replacing(self.path / name) as temporary:
            temporary.write_bytes(content)

    def remove(self, names: Iterable[str]) -> None:
        """See `Place.remove`."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        """See `Place.remove_folder`."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path / name)

    def keep_folder(self, source: Path, name: str) -> None:
        """See `Place.keep_folder`."""
        try:
            source.rename(self.path / name)
        except OSError:
            if not (self.path / name).is_dir():
                raise
            shutil.rmtree(source)

    def kept_folder(self, name: str) -> Path:
        """See `Place.kept_folder`."""
        return self.path / name

    def publish(self) -> None:
        """See `Place.publish`: they see it already."""

    def clean(self) -> None:
        """See `Place.clean`."""
        for leftover in (*self.path.glob(UNFINISHED), *self.path.glob(f"parts/{UNFINISHED}")):
            leftover.unlink()
        for folder in self.path.glob("model.candidate*"):
            shutil.rmtree(folder, ignore_errors=True)

    def lock(self) -> Lock:
        """See `Place.lock`."""
        return FileLock(self.path / LOCK)

    def is_locked(self) -> bool:
        """See `Place.is_locked`; on most file systems also of other machines."""
        try:
            with (self.path / LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False


@contextmanager
def writing(place: Place) -> Iterator[None]:
    """Turn what a file system or a store says into what to do."""
    try:
        yield
    except StorageError:
        raise
    except BlockingIOError as error:
        raise StorageError(
            f"another process is writing to {place}: wait for it, or give another run folder"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"cannot write to {place}: {error.filename or place}, or a folder above it, is a file; give "
            "another run folder"
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot write to {place} ({error.strerror or error}): free space, get permission, or give "
            "another run folder; what is finished is kept, and the same command goes on from there"
        ) from error


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """The same for what is read; that a file is not there is left to who asks for it."""
    try:
        yield
    except (StorageError, FileNotFoundError):
        raise
    except OSError as error:
        raise StorageError(
            f"cannot read {place} ({error.strerror or error}): see whether it can be reached, and whether "
            "you may read it"
        ) from error
