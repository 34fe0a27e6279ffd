"""Submissions: a folder or a flat zip with ``model.py``, read without ever importing it.

Nothing here runs a participant's code; whether ``Model`` is there and works is found out by the worker.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from fairuniverse.errors import InvalidDataError, SubmissionError

ENTRY = "model.py"
"""File that defines ``Model``."""

MAX_BYTES = 2 << 30
"""Largest size of an unpacked submission, bytes."""

MAX_FILES = 10_000
"""Largest number of files in a submission."""

_CHUNK = 1 << 20
_IGNORED_PARTS = {"__MACOSX", "__pycache__", ".DS_Store", ".git", ".ipynb_checkpoints"}

_File = tuple[PurePosixPath, Callable[[], IO[bytes]]]


@dataclass(frozen=True)
class Submission:
    """A participant's method, as handed in.

    Attributes:
        name: Name in tables and reports: that of the folder or of the zip without its suffix.
        path: The folder or zip.
        digest: SHA-256 of the names and contents of its files; the same for a folder and its zip.
        is_reference: Whether it is a line to compare with, told the true nuisance values (never mu).
    """

    name: str
    path: Path
    digest: str
    is_reference: bool = False

    def unpack(self, destination: Path) -> None:
        """Copy the files into a new folder.

        Raises:
            InvalidDataError: The files changed since the submission was loaded.
            SubmissionError: The submission breaks a rule of `load_submission`.
        """
        destination.mkdir(parents=True)
        if _digest(self.path, destination) != self.digest:
            raise InvalidDataError(
                f"{self.path} changed while it was being run: run the new version into a new run folder"
            )


def load_submission(path: str | Path, *, name: str | None = None, is_reference: bool = False) -> Submission:
    """Submission of a folder or zip, checked for what can be seen without running it.

    Args:
        path: Folder, or zip file, that holds ``model.py`` at its top.
        name: Name in tables and reports; by default that of the folder or zip.
        is_reference: Whether to tell it the true nuisance values: for code of an installed package only.

    Raises:
        InvalidDataError: The path does not exist, or is neither a folder nor a zip.
        SubmissionError: No ``model.py`` at the top, a link, a path that leaves the folder, or a size
            beyond `MAX_BYTES` or `MAX_FILES`.
    """
    path = Path(path).resolve()
    if not path.exists():
        raise InvalidDataError(f"no submission at {path}: give a folder or a zip that holds {ENTRY}")
    digest = _digest(path, None)
    return Submission(name or (path.name if path.is_dir() else path.stem), path, digest, is_reference)


def _digest(path: Path, destination: Path | None) -> str:
    """SHA-256 over the files, which are copied to `destination` on the way if there is one."""
    total, names = hashlib.sha256(), []
    budget = MAX_BYTES
    with ExitStack() as stack:
        for name, opener in sorted(_files(path, stack), key=lambda file: str(file[0])):
            names.append(name)
            if len(names) > MAX_FILES:
                raise _refusal(path, f"more than {MAX_FILES} files; leave data and environments out")
            content = hashlib.sha256()
            for chunk in _chunks(opener, path, name):
                budget -= len(chunk)
                if budget < 0:
                    raise _refusal(path, f"more than {MAX_BYTES >> 20} MiB unpacked; leave data out")
                content.update(chunk)
                if destination is not None:
                    _append(destination / name, chunk)
            if destination is not None:
                _append(destination / name, b"")  # an empty file is a file, too
            total.update(f"{name}\0{content.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    _require_entry(path, names)
    return total.hexdigest()


def _append(file: Path, chunk: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as out:
        out.write(chunk)


def _chunks(opener: Callable[[], IO[bytes]], path: Path, name: PurePosixPath) -> Iterator[bytes]:
    try:
        with opener() as source:
            yield from iter(lambda: source.read(_CHUNK), b"")
    except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError) as error:
        raise _refusal(path, f"{name} cannot be read ({error})") from error


def _files(path: Path, stack: ExitStack) -> Iterator[_File]:
    """Files that count, with a way to open each."""
    if path.is_dir():
        files = _folder_files(path)
    elif zipfile.is_zipfile(path):
        files = _zip_files(path, stack.enter_context(zipfile.ZipFile(path)))
    else:
        raise InvalidDataError(
            f"{path} is neither a folder nor a zip: hand in a folder or a zip with {ENTRY} in it"
        )
    return (f for f in files if not _IGNORED_PARTS & set(f[0].parts) and f[0].suffix != ".pyc")


def _folder_files(path: Path) -> Iterator[_File]:
    for folder, folders, files in os.walk(path):
        folders[:] = [f for f in folders if f not in _IGNORED_PARTS]
        for name in (*folders, *files):
            full = Path(folder) / name
            relative = PurePosixPath(full.relative_to(path).as_posix())
            mode = full.lstat().st_mode
            if stat.S_ISREG(mode):
                yield relative, lambda full=full: open_regular(full)  # type: ignore[misc]
            elif not stat.S_ISDIR(mode):
                raise _refusal(path, f"{relative} is a link or a special file; put the file itself there")


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading without following a link.

    Raises:
        OSError: The file is a link or a special file, or cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(fd, "rb")


def _zip_files(path: Path, archive: zipfile.ZipFile) -> Iterator[_File]:
    for info in archive.infolist():
        name = PurePosixPath(info.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in info.filename or "\0" in info.filename:
            raise _refusal(path, f"the entry {info.filename!r} leads out of the folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise _refusal(path, f"{name} is a link; put the file itself there")
        if not info.is_dir():
            yield name, lambda info=info: archive.open(info)  # type: ignore[misc]


def _require_entry(path: Path, names: list[PurePosixPath]) -> None:
    if PurePosixPath(ENTRY) in names:
        return
    nested = [n for n in names if n.name == ENTRY]
    if not nested:
        raise _refusal(path, f"no {ENTRY} in it; add {ENTRY} with a class Model that has fit and predict")
    inner = nested[0].parent
    if path.is_dir():
        raise _refusal(path, f"{ENTRY} is in the folder {inner} inside; give {path / inner}")
    raise _refusal(
        path,
        f"{ENTRY} is in the folder {inner} inside the zip; zip the content, not the folder: "
        f"cd {inner} && zip -r ../{path.name} .",
    )


def _refusal(path: Path, reason: str) -> SubmissionError:
    return SubmissionError("fit_failed", f"submission {path}: {reason}")
