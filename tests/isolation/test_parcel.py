"""Saved models on their way between processes that do not trust each other."""

import json
import os
import tempfile

import pytest

from fairuniverse.errors import SubmissionError
from fairuniverse.isolation import parcel
from fairuniverse.isolation.parcel import pack_folder, unpack_folder


@pytest.fixture
def stream():
    """An open file that both sides hold."""
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def write(fd, entries, content=b""):
    """A stream as a stranger could write it."""
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    os.lseek(fd, 0, os.SEEK_SET)
    os.truncate(fd, 0)
    os.write(fd, len(header).to_bytes(8, "big") + header + content)


def test_a_folder_arrives_as_it_was(stream, tmp_path):
    """Names, sub-folders and contents, also after a longer parcel in the same file."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "numbers").write_bytes(bytes(range(256)) * 9000)
    (source / "sub" / "empty").write_bytes(b"")
    pack_folder(source, stream)
    unpack_folder(stream, tmp_path / "first")
    (source / "numbers").write_bytes(b"short")
    pack_folder(source, stream)
    unpack_folder(stream, tmp_path / "second")
    assert (tmp_path / "first" / "numbers").read_bytes() == bytes(range(256)) * 9000
    assert (tmp_path / "second" / "numbers").read_bytes() == b"short"
    assert (tmp_path / "second" / "sub" / "empty").read_bytes() == b""


def test_a_folder_that_is_not_there_is_not_an_empty_one(stream, tmp_path):
    """A model that another process has just moved must not be loaded as one without files."""
    with pytest.raises(FileNotFoundError, match="moved"):
        pack_folder(tmp_path / "moved", stream)


def test_links_are_not_packed(stream, tmp_path):
    """A link in a saved model would copy another file."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "weights").symlink_to("/etc/passwd")
    with pytest.raises(SubmissionError, match="weights is not a regular file"):
        pack_folder(tmp_path / "source", stream)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([["../a", 1]], "inside the folder"),
        ([["/etc/cron.d/a", 1]], "inside the folder"),
        ([["", 1]], "inside the folder"),
        ([["a", -1]], "inside the folder"),
        ([["a/" * 1000 + "a", 1]], "at most 15 folders deep"),
        ([["a" * 256, 1]], "names up to 255 bytes"),
        ([["a", True]], "inside the folder"),
        ([["a", 1], ["a", 0]], "two of its files have one name"),
        ([["a", 1], ["a/b", 0]], "two of its files have one name"),
        ([["a\0b", 1]], "a name is impossible"),
        ([["a", 2]], "it ends early"),
        ([["a", 1 << 40]], "larger than 1024 MiB"),
        ([["a", 0]] * 20_000, "more than 10000 files"),
        ({"a": 1}, "not one of names and sizes"),
        (b"[" * 200_000, "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_forged_parcels_are_refused(stream, tmp_path, entries, message):
    """Nothing is written outside the folder, and no folder appears."""
    write(stream, entries, b"x")
    with pytest.raises(SubmissionError, match=message):
        unpack_folder(stream, tmp_path / "in" / "model")
    assert list(tmp_path.rglob("*")) == [tmp_path / "in"]


def test_a_list_of_files_without_end_is_refused(stream, tmp_path, monkeypatch):
    """Its length is judged before it is read."""
    monkeypatch.setattr(parcel, "_MAX_HEADER", 100)
    write(stream, b" " * 101)
    with pytest.raises(SubmissionError, match="list of files is too long"):
        unpack_folder(stream, tmp_path / "model")
