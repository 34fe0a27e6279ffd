"""A folder as one stream of bytes, so that a saved model passes between processes that share no folder.

The stream is the length of a header (8 bytes), the header (JSON: names and sizes) and the contents. Whoever
unpacks trusts nothing in it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from fairuniverse.errors import StorageError, SubmissionError
from fairuniverse.submission import open_regular

MAX_MODEL_BYTES = 1 << 30
"""Largest size of a saved model, bytes."""

_MAX_FILES = 10_000
_MAX_DEPTH = 16
"""Folders cost room, too, and a short name can ask for a thousand of them."""

_MAX_NAME = 255
"""Longest name of a file or folder that file systems take, bytes."""

_MAX_HEADER = 4 << 20
_CHUNK = 1 << 20


def pack_folder(folder: Path, fd: int) -> None:
    """Write the regular files of a folder to an open file, from its start.

    Raises:
        SubmissionError: A link or special file among them, or too much.
        OSError: The folder cannot be read, or goes away meanwhile.
    """
    walk = os.walk(folder, onerror=_raise)
    files = sorted(Path(base) / name for base, _, names in walk for name in names)
    sizes = [_size(file) for file in files]
    entries = [[file.relative_to(folder).as_posix(), size] for file, size in zip(files, sizes, strict=True)]
    header = json.dumps(entries).encode()
    _check(entries, len(header))
    with _rewound(fd, "wb") as out:
        out.truncate()
        out.write(len(header).to_bytes(8, "big") + header)
        for file, size in zip(files, sizes, strict=True):
            with open_regular(file) as source:
                _copy(source, out, size)


def _raise(error: OSError) -> NoReturn:
    raise error


def unpack_folder(fd: int, destination: Path) -> None:
    """Make a new folder, which appears only when complete, of what `pack_folder` wrote.

    Raises:
        SubmissionError: Not such a stream, a path that leads out of the folder, or too much.
        StorageError: No room, or no permission.
    """
    partial = destination.with_name(destination.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        with _rewound(fd, "rb") as source:
            for name, size in _entries(source):
                file = partial / name
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("xb") as out:
                    _copy(source, out, size)
        partial.rename(destination)
    except (FileExistsError, NotADirectoryError, ValueError) as error:
        raise _refusal(f"two of its files have one name, or a name is impossible ({error})") from error
    except OSError as error:
        raise StorageError(
            f"cannot copy the saved model to {destination}: {error}; free space or change it"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _entries(source: IO[bytes]) -> list[tuple[str, int]]:
    length = int.from_bytes(source.read(8), "big")
    if length > _MAX_HEADER:
        raise _refusal("its list of files is too long")
    try:
        entries = json.loads(source.read(length))
    except (ValueError, RecursionError) as error:
        raise _refusal("its list of files cannot be read") from error
    _check(entries, length)
    return [(name, size) for name, size in entries]


def _check(entries: object, header_bytes: int) -> None:
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise _refusal(
            "its list of files is not one of names and sizes inside the folder, of names up to "
            f"{_MAX_NAME} bytes and at most {_MAX_DEPTH - 1} folders deep"
        )
    if len(entries) > _MAX_FILES or header_bytes > _MAX_HEADER:
        raise _refusal(f"more than {_MAX_FILES} files")
    if sum(size for _, size in entries) > MAX_MODEL_BYTES:
        raise _refusal(f"larger than {MAX_MODEL_BYTES >> 20} MiB")


def _is_entry(entry: object) -> bool:
    if not (isinstance(entry, list) and list(map(type, entry)) == [str, int]):
        return False
    path = PurePosixPath(entry[0])
    is_inside = path.parts and not path.is_absolute() and ".." not in path.parts
    is_possible = len(path.parts) <= _MAX_DEPTH and all(map(_is_name, path.parts))
    return bool(is_inside) and is_possible and entry[1] >= 0


def _is_name(part: str) -> bool:
    return len(part.encode("utf-8", "replace")) <= _MAX_NAME


def _size(file: Path) -> int:
    try:
        with open_regular(file) as opened:
            return os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise _refusal(f"{file.name} is not a regular file ({error})") from error


def _copy(source: IO[bytes], out: IO[bytes], size: int) -> None:
    while size:
        chunk = source.read(min(size, _CHUNK))
        if not chunk:
            raise _refusal("it ends early")
        out.write(chunk)
        size -= len(chunk)


def _rewound(fd: int, mode: str) -> IO[bytes]:
    opened: Callable[..., IO[bytes]] = os.fdopen
    file = opened(os.dup(fd), mode)
    file.seek(0)
    return file


def _refusal(reason: str) -> SubmissionError:
    return SubmissionError("fit_failed", f"saved model: {reason}")
