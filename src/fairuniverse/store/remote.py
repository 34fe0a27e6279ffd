"""Run folders behind URLs: object stores, and whatever else fsspec opens.

An object appears complete or not at all, but nothing can be renamed, appended or locked. A saved model is one
object, what submissions print is sent again as it grows, and a lease stands for the lock.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from fairuniverse.errors import InvalidDataError, MissingDependencyError, StorageError
from fairuniverse.store.lease import PATIENCE_S, Lease
from fairuniverse.store.places import LOCK, Lock, Place

_TIMES = ("LastModified", "mtime", "last_modified", "updated", "modified", "created")
"""Names under which fsspec's file systems tell the time of the last change."""

_AT_ONCE = 1000
"""Objects that are removed by one request, where a store can do that."""


class RemotePlace(Place):
    """A folder behind a URL.

    Args:
        url: Such as ``s3://bucket/runs``; keys and addresses come from fsspec's configuration or, for each
            kind of store, from its own.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") if not url.endswith("://") else url
        self._fs, path = _opened(self._url)
        self._path = path.rstrip("/")
        self._published: dict[str, int] = {}
        self._fetching = threading.Lock()

    def __str__(self) -> str:
        return self._url

    def __truediv__(self, name: str) -> RemotePlace:
        return RemotePlace(f"{self._url.rstrip('/')}/{name}")

    @cached_property
    def scratch(self) -> Path:
        """A temporary folder of this process."""
        folder = Path(tempfile.mkdtemp(prefix="fairuniverse-run-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def make(self, folder: str) -> None:
        """See `Place.make`: only some kinds have folders, and nobody wants a bucket of a misspelt name."""
        with suppress(OSError), _plain_errors():
            if self._path.startswith("/") or self._fs.exists(self._path.partition("/")[0]):
                self._fs.makedirs(self._at(folder), exist_ok=True)

    def files(self, folder: str = "") -> Collection[str]:
        """See `Place.files`."""
        return self.times(folder)

    def times(self, folder: str = "") -> Mapping[str, float]:
        """See `Place.times`."""
        prefix = f"{folder}/" if folder else ""
        return {prefix + _last(i): _time(i) for i in self._list(folder) if i["type"] == "file"}

    def folders(self, *, follow: bool = True) -> Sequence[str]:
        """See `Place.folders`."""
        return sorted(_last(info) for info in self._list("") if info["type"] == "directory")

    def is_file(self, name: str) -> bool:
        """See `Place.is_file`."""
        # Not fsspec's isfile, which takes any fault for an absence: an unreachable run would count as none.
        try:
            with _plain_errors():
                self._fs.invalidate_cache()
                return bool(self._fs.info(self._at(name))["type"] == "file")
        except FileNotFoundError:
            return False

    def read(self, name: str) -> bytes:
        """See `Place.read`."""
        with _plain_errors():
            content: bytes = self._fs.cat_file(self._at(name))
            return content

    def read_all(self, names: Sequence[str]) -> Iterable[bytes]:
        """See `Place.read_all`: many are fetched at the same time."""
        with _plain_errors():
            whole = [None] * len(names)
            contents: list[bytes] = self._fs.cat_ranges(
                [*map(self._at, names)], whole, whole, on_error="raise"
            )
            return contents

    def write(self, name: str, content: bytes) -> None:
        """See `Place.write`: stores show an object when all of it is there."""
        with _plain_errors():
            self._fs.pipe_file(self._at(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one; not every store can tell for sure."""
        try:
            self._fs.pipe_file(self._at(name), content, mode="create")
        except FileExistsError:
            return False
        except Exception:  # not known to this store, or a fault that the plain way meets again
            if self.is_file(name):
                return False
            self.write(name, content)
        return True

    def remove(self, names: Iterable[str]) -> None:
        """See `Place.remove`."""
        paths = [self._at(name) for name in names]
        for i in range(0, len(paths), _AT_ONCE):
            some = paths[i : i + _AT_ONCE]
            try:
                with _plain_errors():
                    self._fs.rm(some)
            except FileNotFoundError:  # some stores stop at the first that is gone
                for path in some:
                    with suppress(FileNotFoundError), _plain_errors():
                        self._fs.rm_file(path)

    def remove_folder(self, name: str) -> None:
        """See `Place.remove_folder`."""
        with suppress(FileNotFoundError), _plain_errors():
            self._fs.invalidate_cache()
            self._fs.rm(self._at(name), recursive=True)
        self.remove([_archive(name)])
        shutil.rmtree(self.scratch / name, ignore_errors=True)

    def keep_folder(self, source: Path, name: str) -> None:
        """See `Place.keep_folder`: as one object, which appears at once."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(source, arcname=".")
        self.create(_archive(name), packed.getvalue())
        gone = source.rename(source.with_name(f"{source.name}.gone"))  # at once, for whoever still reads it
        shutil.rmtree(gone)

    def kept_folder(self, name: str) -> Path:
        """See `Place.kept_folder`: fetched when it is asked for first."""
        folder = self.scratch / name
        with self._fetching:
            if not folder.is_dir():
                with suppress(FileNotFoundError):
                    self._fetch(name, folder)
        return folder

    def publish(self) -> None:
        """See `Place.publish`: sent as a whole whenever it has grown."""
        for log in self.scratch.glob("*.log"):
            content = log.read_bytes()
            if len(content) != self._published.get(log.name):
                self.write(log.name, content)
                self._published[log.name] = len(content)

    def clean(self) -> None:
        """See `Place.clean`: there is nothing unfinished."""

    def lock(self) -> Lock:
        """See `Place.lock`."""
        return Lease(self, LOCK)

    def is_locked(self) -> bool:
        """See `Place.is_locked`, as far as the store's clock is right."""
        return time.time() - self.times().get(LOCK, 0.0) < PATIENCE_S

    def _fetch(self, name: str, folder: Path) -> None:
        packed = self.read(_archive(name))
        unfinished = folder.with_name(f"{name}.{uuid4().hex}")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
                    raise StorageError(
                        f"{self}/{_archive(name)} holds {member.name}, which no model does: remove it"
                    )
            if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
                archive.extraction_filter = tarfile.data_filter
            archive.extractall(unfinished)
        unfinished.rename(folder)

    def _list(self, folder: str) -> list[dict[str, Any]]:
        with suppress(FileNotFoundError, NotADirectoryError), _plain_errors():
            self._fs.invalidate_cache()
            infos = self._fs.ls(self._at(folder), detail=True)
            return [i for i in infos if i["name"].rstrip("/") != self._at(folder)]
        return []

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}" if name else self._path


def _opened(url: str) -> tuple[Any, str]:
    """A file system of fsspec, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError(
            f"{url} needs one more package: pip install fsspec, or give a path"
        ) from error
    kind = url.partition("://")[0]
    try:
        fs, path = fsspec.url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(f"{url} needs one more package ({error}): install it") from error
    except ValueError as error:
        raise InvalidDataError(
            f"{url} is no address of a run ({error}): give a path, or a URL such as s3://bucket/runs; fsspec "
            f"knows what {kind}:// may be"
        ) from error
    return fs, str(path)


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Each store has errors of its own: all of them are `OSError`."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _archive(name: str) -> str:
    return f"{name}.tar"


def _last(info: Mapping[str, Any]) -> str:
    return str(info["name"]).rstrip("/").rpartition("/")[2]


def _time(info: Mapping[str, Any]) -> float:
    """Time of the last change, seconds since 1970; 0 if it is not told."""
    found = next((info[key] for key in _TIMES if info.get(key)), 0.0)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return found.timestamp() if isinstance(found, datetime) else float(found)
