"""Columns that pass through anonymous memory."""

import numpy as np
import pytest

from fairuniverse.errors import StorageError
from fairuniverse.isolation import shared
from fairuniverse.isolation.shared import SharedTable, TableReader, as_block


@pytest.fixture
def table():
    """A table that is closed at the end."""
    table = SharedTable()
    yield table
    table.close()


@pytest.mark.parametrize("n", [0, 1, 5, 1000])
def test_columns_arrive_as_they_were_written(table, n):
    """Types, names and values are kept; the source may be a strided view."""
    block = np.arange(3.0 * (n + 7), dtype=np.float32).reshape(3, n + 7)[:, :n]
    codes = np.arange(n).astype(np.uint8)
    table.write({"a": block[0], "b": block[1], "c": block[2], "code": codes})
    columns = TableReader(table.fd).read(table.used)
    assert list(columns) == ["a", "b", "c", "code"]
    np.testing.assert_array_equal(columns["code"], codes)
    np.testing.assert_array_equal(as_block([columns[k] for k in "abc"]), block)


def test_a_block_is_a_read_only_view(table):
    """Nothing is copied on the worker's side, and nothing can be changed there."""
    table.write({"a": np.ones(1000, np.float32), "b": np.zeros(1000, np.float32)})
    columns = TableReader(table.fd).read(table.used)
    block = as_block(list(columns.values()))
    assert np.shares_memory(block, columns["a"])
    assert np.shares_memory(block, columns["b"])
    with pytest.raises(ValueError, match="read-only"):
        block[0, 0] = 7


def test_the_table_grows_and_shrinks(table):
    """A reader follows a writer whose events become more and fewer."""
    reader = TableReader(table.fd)
    for n in (10, 100_000, 3, 300_000):
        table.write({"a": np.arange(n)})
        np.testing.assert_array_equal(reader.read(table.used)["a"], np.arange(n))


def test_a_copy_is_independent(table):
    """The worker keeps its toy while the host prepares the next."""
    staged = SharedTable()
    staged.write({"a": np.arange(10)})
    table.copy(staged)
    staged.write({"a": np.zeros(10)})
    np.testing.assert_array_equal(TableReader(table.fd).read(table.used)["a"], np.arange(10))
    staged.close()


def test_large_tables_go_to_disk(tmp_path, monkeypatch):
    """What would take a large part of the free memory is an unnamed file instead."""
    monkeypatch.setattr(shared.tempfile, "tempdir", str(tmp_path))
    table = SharedTable(n_bytes=1 << 60)
    table.write({"a": np.arange(10)})
    np.testing.assert_array_equal(TableReader(table.fd).read(table.used)["a"], np.arange(10))
    assert not list(tmp_path.iterdir())
    table.close()


def test_no_room_is_said_at_once(table, monkeypatch):
    """A full disk is an error with a remedy, not a bus error at the first touch."""

    def refuse(fd, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared, "_allocate", refuse)
    with pytest.raises(StorageError, match=r"No space left on device.*TMPDIR"):
        table.write({"a": np.arange(10)})
