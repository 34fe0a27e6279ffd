"""First pass: rows to buckets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.datasets import Dataset, Piece
from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.events import Events
from fairuniverse.files import atomic_path
from fairuniverse.seeding import generator, seed_sequence
from fairuniverse.shuffling.storage import write_json

PURPOSE = "data set order"
"""Name of the streams; the order is no secret and the same for all benchmarks."""

UNIT_ROWS = 1 << 20
"""Rows after which it is written down how far the first pass is."""

PART_BYTES = 1 << 27
"""Memory for rows that wait to be written."""

BUCKET_BYTES = 1 << 26
"""Size of a bucket, about."""

N_TENTHS = 10
"""The number of buckets is a multiple of it, so that a share of tenths is one of whole buckets."""

MAX_BUCKETS = 60_000

Rows = NDArray[Any]
"""Structured array with ``weight``, ``process`` and ``row``."""


@dataclass(frozen=True)
class Share:
    """Which tenths of a data set, in its random order.

    Attributes:
        first: The first tenth, from 0.
        end: One past the last.
    """

    first: int = 0
    end: int = N_TENTHS

    def buckets(self, n_buckets: int) -> range:
        """The buckets that belong to it."""
        return range(*(n_buckets * tenth // N_TENTHS for tenth in (self.first, self.end)))


WHOLE = Share()
"""All of a data set."""


@dataclass(frozen=True)
class Octave:
    """Weights of one process with the same binary exponent."""

    process: int
    exponent: int
    n_rows: int
    total: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class Summary:
    """What the first pass found.

    Attributes:
        width: Numbers per row.
        totals: Sum of weights by process, of the whole data set.
        octaves: The weights of the rows in the share.
        parts: Files of rows in the share, in the order of the data set.
    """

    width: int
    totals: NDArray[np.float64]
    octaves: tuple[Octave, ...]
    parts: tuple[Path, ...]

    @property
    def scales(self) -> NDArray[np.float64]:
        """Factor on the weights of each process that makes the share stand for the whole."""
        kept = np.zeros(len(self.totals))
        for octave in self.octaves:
            kept[octave.process] += octave.total
        return np.divide(self.totals, kept, out=np.ones_like(kept), where=kept > 0)


class Scatter:
    """First pass: rows to buckets."""

    def __init__(
        self, dataset: Dataset, encode: Callable[[Events], NDArray[np.float32]], work: Path, share: Share
    ) -> None:
        self._dataset = dataset
        self._encode = encode
        self._work = work
        self._units = dataset.units(UNIT_ROWS)
        # The organiser learns now, not after an hour, if the events lack what a toy needs.
        self.width = encode(next(dataset.read(self._units[0])).select([0])).shape[1]
        self._dtype = np.dtype([("weight", "<f8"), ("process", "u1"), ("row", "<f4", (self.width,))])
        self.n_buckets = _n_buckets(dataset.n_rows * self._dtype.itemsize)
        self.kept = share.buckets(self.n_buckets)

    def run(self, progress: Callable[[int], object] | None) -> Summary:
        """Write the files of all units that are missing."""
        self._require_space()
        first_row = 0
        found = []
        for i, unit in enumerate(self._units):
            path = self._work / f"unit-{i:06d}.json"
            if not path.exists():
                write_json(path, self._scatter(path, unit, first_row))
            found.append(json.loads(path.read_text(encoding="utf-8")))
            n = sum(piece.n_rows for piece in unit)
            first_row += n
            if progress is not None:
                progress(n)
        return self._summary(found)

    def bucket(self, parts: Sequence[Path], number: int) -> Rows:
        """Rows of one bucket in their final order."""
        slices = []
        for path in parts:
            ends = np.load(path.with_suffix(".ends.npy"))
            begin = int(ends[number - 1]) if number else 0
            slices.append(np.array(np.load(path, mmap_mode="r")[begin : int(ends[number])]))
        rows = np.concatenate(slices)
        return np.asarray(rows[generator(0, PURPOSE, number).permutation(len(rows))])

    def _scatter(self, path: Path, unit: Sequence[Piece], first_row: int) -> dict[str, Any]:
        """Write the rows of one unit; what is to be remembered of them."""
        n_processes = len(self._dataset.processes)
        totals, octaves = np.zeros(n_processes), np.zeros((0, 6))
        waiting: list[Rows] = []
        buckets: list[NDArray[np.int64]] = []
        n_parts = 0
        for events in self._dataset.read(unit):
            assert events.weights is not None
            assert events.process is not None
            totals += np.bincount(events.process, events.weights, n_processes)
            bucket = _buckets(first_row, len(events), self.n_buckets)
            first_row += len(events)
            rows, bucket = self._kept_rows(events, bucket)
            octaves = _merged([*octaves, *_octaves_of(rows)])
            waiting.append(rows)
            buckets.append(bucket)
            if sum(r.nbytes for r in waiting) >= PART_BYTES:
                self._write_part(path.with_name(f"{path.stem}-{n_parts:02d}.npy"), waiting, buckets)
                waiting, buckets, n_parts = [], [], n_parts + 1
        if waiting:
            self._write_part(path.with_name(f"{path.stem}-{n_parts:02d}.npy"), waiting, buckets)
            n_parts += 1
        return {"n_parts": n_parts, "totals": totals.tolist(), "octaves": octaves.tolist()}

    def _kept_rows(self, events: Events, bucket: NDArray[np.int64]) -> tuple[Rows, NDArray[np.int64]]:
        """Rows in the share that have a weight, and their buckets."""
        assert events.weights is not None
        is_kept = (bucket >= self.kept.start) & (bucket < self.kept.stop) & (events.weights > 0)
        rows = np.empty(int(is_kept.sum()), self._dtype)
        rows["weight"] = events.weights[is_kept]
        rows["process"] = events.process[is_kept] if events.process is not None else 0
        rows["row"] = self._encode(events)[is_kept]
        return rows, bucket[is_kept]

    def _write_part(self, path: Path, waiting: Sequence[Rows], buckets: Sequence[NDArray[np.int64]]) -> None:
        rows, bucket = np.concatenate(waiting), np.concatenate(buckets)
        order = np.argsort(bucket.astype(np.uint16), kind="stable")
        with atomic_path(path) as temporary:
            np.save(temporary, rows[order])
        with atomic_path(path.with_suffix(".ends.npy")) as temporary:
            np.save(temporary, np.cumsum(np.bincount(bucket, minlength=self.n_buckets)))

    def _summary(self, found: Sequence[Mapping[str, Any]]) -> Summary:
        octaves = _merged([row for unit in found for row in unit["octaves"]])
        parts = [
            self._work / f"unit-{i:06d}-{k:02d}.npy"
            for i, unit in enumerate(found)
            for k in range(unit["n_parts"])
        ]
        totals = np.sum([unit["totals"] for unit in found], axis=0)
        for process, total in zip(self._dataset.processes, totals.tolist(), strict=True):
            if not total > 0:
                raise InvalidDataError(
                    f"{self._dataset.path} has no weight of the process {process.name}: add events of it"
                )
        entries = tuple(Octave(int(p), int(e), int(n), *rest) for p, e, n, *rest in octaves.tolist())
        return Summary(self.width, totals, entries, tuple(parts))

    def _require_space(self) -> None:
        """Refuse a disk that is too small, before anything is written."""
        wanted = 2 * self._dataset.n_rows * self._dtype.itemsize * len(self.kept) // self.n_buckets
        there = sum(path.stat().st_size for path in self._work.parent.rglob("*") if path.is_file())
        free = free_bytes(self._work.parent)
        if free < wanted - there:
            raise StorageError(
                f"bringing {self._dataset.path} into random order takes {wanted / 1e9:.1f} GB in "
                f"{self._work.parent.parent}, of which {free / 1e9:.1f} GB are free: free some space, or set "
                "FAIRUNIVERSE_CACHE to a folder with more"
            )


def key_of(process: Any, exponent: Any) -> Any:
    """One number for process and binary exponent of a weight."""
    return process * 4096 + exponent + 2048


def free_bytes(folder: Path) -> int:
    """Free space of the disk that holds a folder."""
    return shutil.disk_usage(folder).free


def _n_buckets(n_bytes: int) -> int:
    n_tenths = -(-n_bytes // (BUCKET_BYTES * N_TENTHS))
    return min(max(1, n_tenths) * N_TENTHS, MAX_BUCKETS)


def _buckets(first_row: int, n_rows: int, n_buckets: int) -> NDArray[np.int64]:
    """Bucket of each row, found from its number in the data set."""
    bits = np.random.PCG64DXSM(seed_sequence(0, PURPOSE))
    bits.advance(first_row)
    words = bits.random_raw(n_rows) >> np.uint64(32)
    return np.asarray((words * np.uint64(n_buckets)) >> np.uint64(32)).astype(np.int64)


def _octaves_of(rows: Rows) -> NDArray[np.float64]:
    """Process, exponent, number, sum, smallest and largest of the weights, octave by octave."""
    return _merged(
        np.column_stack(
            [
                rows["process"].astype(float),
                np.frexp(rows["weight"])[1].astype(float),
                np.ones(len(rows)),
                rows["weight"],
                rows["weight"],
                rows["weight"],
            ]
        )
    )


def _merged(entries: Any) -> NDArray[np.float64]:
    """Entries of `_octaves_of` with those of the same process and exponent put together."""
    table = np.asarray(entries, dtype=np.float64).reshape(-1, 6)
    if not len(table):
        return table
    keys = key_of(table[:, 0], table[:, 1])
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    columns = table[order]
    return np.column_stack(
        [
            columns[starts, :2],
            np.add.reduceat(columns[:, 2], starts),
            np.add.reduceat(columns[:, 3], starts),
            np.minimum.reduceat(columns[:, 4], starts),
            np.maximum.reduceat(columns[:, 5], starts),
        ]
    )
