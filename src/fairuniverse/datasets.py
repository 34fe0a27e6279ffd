"""Events in one or many Parquet files, read a piece at a time.

A data set is a ``.parquet`` file, or a folder of them at any depth, in the order of their names; files and
folders whose names begin with a dot or an underscore are left out. The folder of blocks of a finished
simulated sample (see `fairuniverse.production`) is one, too: it consists of the blocks that the sample does,
their weights scaled to the expected yields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.events import Events, Schema, concatenate
from fairuniverse.protocols import Process
from fairuniverse.tables import PROCESS, WEIGHTS, metadata_path, process_codes, require_columns, to_events

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1 << 18
"""Rows that are decoded at a time."""


@dataclass(frozen=True)
class Piece:
    """Row groups of one file.

    Attributes:
        path: The file.
        row_groups: Their numbers.
        n_rows: Rows in them.
    """

    path: Path
    row_groups: tuple[int, ...]
    n_rows: int


class Dataset:
    """Weighted labelled events in Parquet files.

    Args:
        path: A file or a folder.
        schema: Columns to look for; derived features may be absent, and are zero then.
        processes: All processes of the world, in the order of their codes.

    Raises:
        InvalidDataError: A file lacks a column, or files differ in their columns.
        StorageError: There is no file, or one cannot be read, or a simulated sample is not finished.
    """

    def __init__(self, path: Path, schema: Schema, processes: Sequence[Process]) -> None:
        self.path = path
        self.schema = schema
        self.processes = tuple(processes)
        self._names = tuple(p.name for p in processes)
        files, self._scales = _files_of(path, self.processes)
        if not files:
            raise StorageError(f"{path} holds no .parquet file: name a folder that does")
        self._partitions = [_Partition.open(file) for file in files]
        for partition in self._partitions:
            self._check(partition)

    @property
    def n_rows(self) -> int:
        """Number of events."""
        return sum(p.n_rows for p in self._partitions)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the files' names, sizes and footers, and of the scales of the weights."""
        total = hashlib.sha256(json.dumps(self._scales, sort_keys=True).encode())
        for partition in self._partitions:
            name = partition.path.relative_to(self.path).as_posix()
            total.update(f"{name}\0{partition.digest}\n".encode("utf-8", "surrogateescape"))
        return total.hexdigest()

    def units(self, n_rows: int) -> list[list[Piece]]:
        """All row groups in order, in units of at least so many rows but for the last."""
        units: list[list[Piece]] = [[]]
        for piece in (p for partition in self._partitions for p in partition.pieces(n_rows)):
            if sum(p.n_rows for p in units[-1]) >= n_rows:
                units.append([])
            units[-1].append(piece)
        return units

    def read(self, pieces: Sequence[Piece]) -> Iterator[Events]:
        """Events of some pieces, at most `BATCH` at a time.

        Raises:
            InvalidDataError: A value is not finite, a process not known or a weight negative.
            StorageError: A file is damaged.
        """
        import pyarrow.parquet as pq

        for piece in pieces:
            with _readable(piece.path), pq.ParquetFile(piece.path, memory_map=True) as file:
                batches = file.iter_batches(BATCH, row_groups=list(piece.row_groups), columns=self._columns)
                for batch in batches:
                    yield self._events(piece.path, batch)

    def read_all(self) -> Events:
        """All events, in memory; errors as for `read`."""
        return concatenate([e for unit in self.units(self.n_rows) for e in self.read(unit)])

    @property
    def _has_record(self) -> bool:
        return bool(self.schema.record) and self._partitions[0].columns >= {*self.schema.record_names}

    @cached_property
    def _columns(self) -> list[str]:
        """Columns that are read."""
        record = self.schema.record_names if self._has_record else ()
        return [*self.schema.primary_names, *record, WEIGHTS, PROCESS]

    def _check(self, partition: _Partition) -> None:
        """Refuse a file without the columns, before any is read."""
        missing = [name for name in (WEIGHTS, PROCESS) if name not in partition.columns]
        if missing:
            raise InvalidDataError(
                f"{partition.path} needs the columns weights and detailed_labels, it has no {missing[0]}"
            )
        require_columns(partition.path, dict.fromkeys(partition.columns), self._columns)
        first = self._partitions[0]
        surplus = {*self.schema.record_names} & partition.columns
        if not self._has_record and len(surplus) == len(self.schema.record) > 0:
            raise InvalidDataError(
                f"{partition.path} has the detector-level record, {first.path} has not: all files of a data "
                "set need the same columns"
            )

    def _events(self, path: Path, batch: pa.RecordBatch) -> Events:
        labels = batch.column(batch.schema.get_field_index(PROCESS))
        columns = {
            name: column.to_numpy(zero_copy_only=False)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if name != PROCESS
        }
        events = to_events(path, columns, self.schema, (), self.schema.primary_names)
        codes = self._codes(path, labels)
        weights = events.weights
        assert weights is not None
        if (weights < 0).any():
            raise InvalidDataError(
                f"{path} has {int((weights < 0).sum())} negative weights in {len(weights)} rows: "
                "no toy can be drawn from them"
            )
        if self._scales:
            weights = weights * np.array([self._scales.get(name, 0.0) for name in self._names])[codes]
        return replace(events, weights=weights, process=codes, processes=self._names)

    def _codes(self, path: Path, labels: pa.Array) -> NDArray[np.uint8]:
        if labels.null_count:
            raise InvalidDataError(f"{path}: {PROCESS} is empty in {labels.null_count} rows; name a process")
        encoded = labels.dictionary_encode()
        indices = encoded.indices.to_numpy()
        used = np.unique(indices)
        codes = np.zeros(len(encoded.dictionary), dtype=np.uint8)
        names = np.array(encoded.dictionary.to_pylist(), dtype=object)[used]
        codes[used] = process_codes(path, names, self._names)
        return np.asarray(codes[indices])


def n_rows_of(path: Path) -> int:
    """Number of rows of a Parquet file, from its end.

    Raises:
        StorageError: It cannot be read.
    """
    return _Partition.open(path).n_rows


@dataclass(frozen=True)
class _Partition:
    """One file: what its footer says."""

    path: Path
    columns: frozenset[str]
    group_rows: tuple[int, ...]
    digest: str

    @classmethod
    def open(cls, path: Path) -> _Partition:
        import pyarrow.parquet as pq

        with _readable(path):
            footer = pq.read_metadata(path)
            names = frozenset(footer.schema.to_arrow_schema().names)
            rows = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
            return cls(path, names, rows, _footer_digest(path))

    @property
    def n_rows(self) -> int:
        return sum(self.group_rows)

    def pieces(self, n_rows: int) -> Iterator[Piece]:
        """Row groups in order, some together as long as they have less than so many rows."""
        groups: list[int] = []
        for i, n in enumerate(self.group_rows):
            if groups and sum(self.group_rows[g] for g in groups) + n > n_rows:
                yield self._piece(groups)
                groups = []
            groups.append(i)
        if groups:
            yield self._piece(groups)

    def _piece(self, groups: Sequence[int]) -> Piece:
        return Piece(self.path, tuple(groups), sum(self.group_rows[g] for g in groups))


def _footer_digest(path: Path) -> str:
    """Digest of the footer, which tells sizes and ranges of all columns."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size - 8)
        length = int.from_bytes(file.read(4), "little")
        file.seek(size - 8 - length)
        return hashlib.sha256(f"{size}\0".encode() + file.read(length)).hexdigest()


def _files_of(path: Path, processes: Sequence[Process]) -> tuple[list[Path], dict[str, float]]:
    """Files of a data set in order, and factors on the weights by process (none if empty)."""
    if path.is_file():
        return [path], {}
    if not path.is_dir():
        raise StorageError(f"no such file or folder: {path}")
    sample = _read_sample(path)
    if sample is not None:
        return _sample_files(path, sample, processes)
    inside = sorted(path.rglob("*.parquet"), key=lambda p: p.relative_to(path).as_posix())
    return [p for p in inside if not _is_hidden(p.relative_to(path))], {}


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _read_sample(folder: Path) -> Mapping[str, int] | None:
    """Events of each process that a simulated sample is to have; None if the folder holds something else."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return {str(p): int(n) for p, n in manifest["n_events"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sample_files(
    folder: Path, n_events: Mapping[str, int], processes: Sequence[Process]
) -> tuple[list[Path], dict[str, float]]:
    """The first blocks of each process that hold its events, and the factor to its expected yield."""
    files, scales = [], {}
    for process in processes:
        n_left, total, number = n_events.get(process.name, 0), 0.0, 0
        while n_left > 0:
            block = folder / process.name / f"block-{number:06d}.parquet"
            try:
                numbers = json.loads(metadata_path(block).read_text(encoding="utf-8"))
                n_left -= int(numbers["total_rows"])
                total += float(numbers["sum_weights"])
                block.stat()
            except (OSError, ValueError, KeyError) as error:
                raise StorageError(
                    f"{folder} is a simulated sample that is not finished: {block.name} of {process.name} is "
                    "missing; repeat the command that makes it"
                ) from error
            files.append(block)
            number += 1
        scales[process.name] = process.expected_yield / total if total > 0 else 0.0
    return files, scales


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Errors of a file that is damaged or gone."""
    try:
        yield
    except InvalidDataError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}; replace the file or take it away") from error
