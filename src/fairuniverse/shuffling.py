"""Data sets larger than memory, brought once into a random order on disk.

The order is that of Rao (1961) and Sandelius (1962): every row goes to a random one of many buckets, then the
rows of each bucket are permuted, and the buckets follow one another; all orders are equally likely. Rows are
assigned by a stream of their number in the data set, so that the order depends on nothing but the data set:
not on memory, threads or interruptions.

Layout of a prepared folder::

    manifest.json                  what is in it, made of what; written last: with it the folder is finished
    *.rows, *.thresholds           a pool, see `fairuniverse.pools`
    features, record, ...          training events, column by column, see `stored_events`
    unfinished/unit-000000.json    a unit of the data set whose rows have been written to
    unfinished/unit-000000-00.npy  these files, bucket by bucket
    unfinished/buckets.json        how many buckets are in their final place

What is finished survives any interruption; the next call goes on from there. Several processes may ask for
the same folder: one works, the others wait.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.datasets import Dataset, Piece
from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.events import Events, Schema
from fairuniverse.pools import FORMAT, PoolClass, read_manifest
from fairuniverse.seeding import generator, seed_sequence
from fairuniverse.tables import atomic_path

logger = logging.getLogger(__name__)

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

MAX_CLASSES = 8
"""Classes of a process: weights within a factor two each, the last one holds the rest."""

MAX_CLASS_ROWS = 1 << 31
"""Rows are numbered by 32 bits."""

EQUAL_WEIGHTS = 1e-9
"""Relative spread of weights that counts as none."""

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


def shuffled_pool(
    dataset: Dataset,
    pool_rows: Callable[[Events], NDArray[np.float32]],
    folder: Path,
    *,
    encoding: str,
    share: Share = Share(),
    progress: Callable[[int], object] | None = None,
) -> Path:
    """The pool of a data set for `fairuniverse.pools.StoredPool`, made if it is not there.

    Args:
        dataset: Weighted labelled events.
        pool_rows: What the sampler needs of each event, shape (n_events, width).
        folder: Where prepared folders are.
        encoding: Text that differs if `pool_rows` gives other numbers.
        share: Which part of the data set; weights are scaled so that it stands for the whole, process by
            process.
        progress: Called with numbers of rows, each row twice in all.

    Returns:
        The finished folder.

    Raises:
        InvalidDataError: Events that no pool can be made of.
        StorageError: A file is damaged, or the disk full or not writable.
    """
    return _prepare(dataset, pool_rows, _PoolFiles, folder, "pool", encoding, share, progress)


def shuffled_training(
    dataset: Dataset,
    derive: Callable[[Events], Events],
    folder: Path,
    *,
    encoding: str,
    share: Share = Share(),
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Training events of a data set in random order for `stored_events`, made if they are not there.

    Args:
        dataset: Weighted labelled events.
        derive: Computes the derived features.
        folder: As for `shuffled_pool`, as are the other arguments and errors.
        encoding: Text that differs if `derive` gives other numbers.
        share: Which part of the data set.
        progress: Called with numbers of rows.
    """

    def rows(events: Events) -> NDArray[np.float32]:
        derived = derive(events)
        blocks = [derived.features] if derived.record is None else [derived.features, derived.record]
        return np.concatenate(blocks).T

    return _prepare(dataset, rows, _TrainingFiles, folder, "training", encoding, share, progress)


def stored_events(folder: Path, schema: Schema) -> Events:
    """Training events as `shuffled_training` wrote them, in memory only as far as they are looked at.

    Raises:
        StorageError: The folder holds none, or files are damaged.
    """
    manifest = read_manifest(folder)
    n, n_features = int(manifest["n_rows"]), len(schema.features)
    n_record = int(manifest["width"]) - n_features
    try:
        features = np.memmap(folder / "features", np.float32, "r", shape=(n_features, n))
        record = np.memmap(folder / "record", np.float32, "r", shape=(n_record, n)) if n_record else None
        weights = np.memmap(folder / "weights", np.float64, "r", shape=(n,))
        process = np.memmap(folder / "process", np.uint8, "r", shape=(n,))
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder} is damaged ({error}): remove it, it is made anew") from error
    return Events(schema, features, weights, process, tuple(manifest["processes"]), record)


def _prepare(
    dataset: Dataset,
    encode: Callable[[Events], NDArray[np.float32]],
    files: type[_Files],
    folder: Path,
    kind: str,
    encoding: str,
    share: Share,
    progress: Callable[[int], object] | None,
) -> Path:
    identity = {
        "format": FORMAT,
        "data": dataset.fingerprint,
        "encoding": encoding,
        "tenths": [share.first, share.end],
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    target = folder / f"{kind}-{digest}"
    if (target / "manifest.json").exists():
        return target
    with _locked(target):
        if not (target / "manifest.json").exists():
            scatter = _Scatter(dataset, encode, target / "unfinished", share)
            summary = scatter.run(progress)
            manifest = files(target, dataset, summary).write(scatter, progress)
            _write_json(target / "manifest.json", {"identity": identity, **manifest})
            shutil.rmtree(target / "unfinished")
    return target


@dataclass(frozen=True)
class _Octave:
    """Weights of one process with the same binary exponent."""

    process: int
    exponent: int
    n_rows: int
    total: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class _Summary:
    """What the first pass found.

    Attributes:
        width: Numbers per row.
        totals: Sum of weights by process, of the whole data set.
        octaves: The weights of the rows in the share.
        parts: Files of rows in the share, in the order of the data set.
    """

    width: int
    totals: NDArray[np.float64]
    octaves: tuple[_Octave, ...]
    parts: tuple[Path, ...]

    @property
    def scales(self) -> NDArray[np.float64]:
        """Factor on the weights of each process that makes the share stand for the whole."""
        kept = np.zeros(len(self.totals))
        for octave in self.octaves:
            kept[octave.process] += octave.total
        return np.divide(self.totals, kept, out=np.ones_like(kept), where=kept > 0)


class _Scatter:
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

    def run(self, progress: Callable[[int], object] | None) -> _Summary:
        """Write the files of all units that are missing."""
        self._require_space()
        first_row = 0
        found = []
        for i, unit in enumerate(self._units):
            path = self._work / f"unit-{i:06d}.json"
            if not path.exists():
                _write_json(path, self._scatter(path, unit, first_row))
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

    def _summary(self, found: Sequence[Mapping[str, Any]]) -> _Summary:
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
        entries = tuple(_Octave(int(p), int(e), int(n), *rest) for p, e, n, *rest in octaves.tolist())
        return _Summary(self.width, totals, entries, tuple(parts))

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
    keys, which = np.unique(table[:, :2], axis=0, return_inverse=True)
    which = which.ravel()
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(len(keys)))
    columns = table[order]
    return np.column_stack(
        [
            keys,
            np.add.reduceat(columns[:, 2], starts),
            np.add.reduceat(columns[:, 3], starts),
            np.minimum.reduceat(columns[:, 4], starts),
            np.maximum.reduceat(columns[:, 5], starts),
        ]
    )


class _Files(ABC):
    """Second pass: buckets to their final place."""

    def __init__(self, folder: Path, dataset: Dataset, summary: _Summary) -> None:
        self.folder = folder
        self.processes = [p.name for p in dataset.processes]
        self.schema = dataset.schema
        self.summary = summary
        self._journal = folder / "unfinished" / "buckets.json"
        lost = np.flatnonzero(~np.isin(np.arange(len(self.processes)), [o.process for o in summary.octaves]))
        if len(lost):
            raise InvalidDataError(
                f"no {self.processes[lost[0]]} event is left in one part of {dataset.path}: use a larger one"
            )

    def write(self, scatter: _Scatter, progress: Callable[[int], object] | None) -> dict[str, Any]:
        """Place the buckets that are not; entries of the manifest."""
        done, at = scatter.kept.start, dict.fromkeys(self.sizes, 0)
        if self._journal.exists():
            journal = json.loads(self._journal.read_text(encoding="utf-8"))
            done, at = int(journal["done"]), {name: int(n) for name, n in journal["at"].items()}
        with ExitStack() as stack, _writing(self.folder):
            files = {
                name: stack.enter_context(_sized(self.folder / name, n)) for name, n in self.sizes.items()
            }
            for number in range(done, scatter.kept.stop):
                rows = scatter.bucket(self.summary.parts, number)
                self.place(rows, files, at)
                for fd in files.values():
                    os.fsync(fd)
                _write_json(self._journal, {"done": number + 1, "at": at})
                if progress is not None:
                    progress(len(rows))
        totals = dict(zip(self.processes, self.summary.totals.tolist(), strict=True))
        return {
            "processes": self.processes,
            "width": self.summary.width,
            "sum_weights": totals,
            **self.entries,
        }

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Final size of each file, bytes."""

    @property
    @abstractmethod
    def entries(self) -> Mapping[str, Any]:
        """What the manifest says of these files."""

    @abstractmethod
    def place(self, rows: Rows, files: Mapping[str, int], at: dict[str, int]) -> None:
        """Write rows where each file has come to, in bytes, and move that on."""


class _PoolFiles(_Files):
    """Rows of each class one after the other, and thresholds of those that are thinned."""

    def __init__(self, folder: Path, dataset: Dataset, summary: _Summary) -> None:
        super().__init__(folder, dataset, summary)
        self._classes: list[PoolClass] = []
        self._class_of: dict[int, int] = {}
        for code, name in enumerate(self.processes):
            octaves = sorted((o for o in summary.octaves if o.process == code), key=lambda o: -o.exponent)
            groups = [[o] for o in octaves[: MAX_CLASSES - 1]] + [octaves[MAX_CLASSES - 1 :]]
            for i, group in enumerate(g for g in groups if g):
                self._class_of |= {_key(code, o.exponent): len(self._classes) for o in group}
                self._classes.append(_pool_class(f"{name}-{i}", name, group, float(summary.scales[code])))
        if any(c.n_rows > MAX_CLASS_ROWS for c in self._classes):
            raise InvalidDataError(
                f"{dataset.path} has too many rows of one process, at most {MAX_CLASS_ROWS:,}: split it"
            )

    @property
    def sizes(self) -> Mapping[str, int]:
        rows = {f"{c.name}.rows": 4 * self.summary.width * c.n_rows for c in self._classes}
        return rows | {f"{c.name}.thresholds": 4 * c.n_rows for c in self._classes if c.is_thinned}

    @property
    def entries(self) -> Mapping[str, Any]:
        return {"classes": [entry.to_json() for entry in self._classes]}

    def place(self, rows: Rows, files: Mapping[str, int], at: dict[str, int]) -> None:
        keys = _key(rows["process"].astype(np.int64), np.frexp(rows["weight"])[1])
        known, which = np.unique(keys, return_inverse=True)
        which = np.array([self._class_of[k] for k in known.tolist()], dtype=np.int64)[which]
        for i, entry in enumerate(self._classes):
            chosen = rows[which == i]
            _append(files, at, f"{entry.name}.rows", chosen["row"].astype("<f4"))
            if entry.is_thinned:
                scale = self.summary.scales[self.processes.index(entry.process)]
                limits = np.rint(chosen["weight"] * (scale / entry.largest_weight) * 2.0**32) - 1
                _append(files, at, f"{entry.name}.thresholds", np.clip(limits, 0, 2.0**32 - 1).astype("<u4"))


class _TrainingFiles(_Files):
    """Each column whole, one after the other."""

    @property
    def sizes(self) -> Mapping[str, int]:
        n, n_features = self._n_rows, len(self.schema.features)
        sizes = {"features": 4 * n_features * n, "weights": 8 * n, "process": n}
        n_record = self.summary.width - n_features
        return sizes | ({"record": 4 * n_record * n} if n_record else {})

    @property
    def entries(self) -> Mapping[str, Any]:
        return {"n_rows": self._n_rows}

    def place(self, rows: Rows, files: Mapping[str, int], at: dict[str, int]) -> None:
        first, n_features = at["process"], len(self.schema.features)
        for i, column in enumerate(rows["row"].T):
            name, c = ("features", i) if i < n_features else ("record", i - n_features)
            _write_at(files[name], column.astype("<f4"), 4 * (c * self._n_rows + first))
        weights = rows["weight"] * self.summary.scales[rows["process"]]
        _write_at(files["weights"], weights, 8 * first)
        _append(files, at, "process", rows["process"])

    @property
    def _n_rows(self) -> int:
        return sum(octave.n_rows for octave in self.summary.octaves)


def _key(process: Any, exponent: Any) -> Any:
    """One number for process and binary exponent of a weight."""
    return process * 4096 + exponent + 2048


def _pool_class(name: str, process: str, octaves: Sequence[_Octave], scale: float) -> PoolClass:
    smallest, largest = min(o.smallest for o in octaves), max(o.largest for o in octaves)
    return PoolClass(
        name,
        process,
        n_rows=sum(o.n_rows for o in octaves),
        sum_weights=sum(o.total for o in octaves) * scale,
        largest_weight=largest * scale,
        is_thinned=largest - smallest > EQUAL_WEIGHTS * largest,
    )


def _append(files: Mapping[str, int], at: dict[str, int], name: str, items: NDArray[Any]) -> None:
    _write_at(files[name], items, at[name])
    at[name] += items.nbytes


def _write_at(fd: int, items: NDArray[Any], offset: int) -> None:
    view = np.ascontiguousarray(items).data.cast("B") if items.size else memoryview(b"")
    while len(view):
        n = os.pwrite(fd, view, offset)
        view, offset = view[n:], offset + n


@contextmanager
def _sized(path: Path, n_bytes: int) -> Iterator[int]:
    """File of a given size, its disk space reserved."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if n_bytes and os.fstat(fd).st_size != n_bytes:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, n_bytes)
            os.ftruncate(fd, n_bytes)
        yield fd
    finally:
        os.close(fd)


def _write_json(path: Path, content: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Errors of a disk that is full or not writable.

    Raises:
        StorageError: With the remedy.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space and repeat the command, or" if full else "make it writable, or"
        raise StorageError(
            f"cannot write {folder}: {error.strerror or error}; {remedy} set FAIRUNIVERSE_CACHE to another "
            "folder"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one process at a time; the system frees the lock of one that dies."""
    with ExitStack() as stack:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / "lock").open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("another process prepares %s; waiting for it", folder)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
