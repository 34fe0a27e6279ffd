"""Second pass: buckets to their final place."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.datasets import Dataset
from fairuniverse.errors import InvalidDataError
from fairuniverse.pools import PoolClass
from fairuniverse.shuffling.scatter import Octave, Rows, Scatter, Summary, key_of
from fairuniverse.shuffling.storage import write_json, writing

MAX_CLASSES = 8
"""Classes of a process: weights within a factor two each, the last one holds the rest."""

MAX_CLASS_ROWS = 1 << 31
"""Rows are numbered by 32 bits."""

EQUAL_WEIGHTS = 1e-9
"""Relative spread of weights that counts as none."""


class Files(ABC):
    """Files of a prepared folder, which grow bucket by bucket."""

    def __init__(self, folder: Path, dataset: Dataset, summary: Summary) -> None:
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

    def write(self, scatter: Scatter, progress: Callable[[int], object] | None) -> dict[str, Any]:
        """Place the buckets that are not; entries of the manifest."""
        done, at = scatter.kept.start, dict.fromkeys(self.sizes, 0)
        if self._journal.exists():
            journal = json.loads(self._journal.read_text(encoding="utf-8"))
            done, at = int(journal["done"]), {name: int(n) for name, n in journal["at"].items()}
        with ExitStack() as stack, writing(self.folder):
            files = {
                name: stack.enter_context(_sized(self.folder / name, n)) for name, n in self.sizes.items()
            }
            for number in range(done, scatter.kept.stop):
                rows = scatter.bucket(self.summary.parts, number)
                self.place(rows, files, at)
                for fd in files.values():
                    os.fsync(fd)
                write_json(self._journal, {"done": number + 1, "at": at})
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


class PoolFiles(Files):
    """Rows of each class one after the other, and thresholds of those that are thinned."""

    def __init__(self, folder: Path, dataset: Dataset, summary: Summary) -> None:
        super().__init__(folder, dataset, summary)
        self._classes: list[PoolClass] = []
        self._class_of: dict[int, int] = {}
        for code, name in enumerate(self.processes):
            octaves = sorted((o for o in summary.octaves if o.process == code), key=lambda o: -o.exponent)
            groups = [[o] for o in octaves[: MAX_CLASSES - 1]] + [octaves[MAX_CLASSES - 1 :]]
            for i, group in enumerate(g for g in groups if g):
                self._class_of |= {key_of(code, o.exponent): len(self._classes) for o in group}
                self._classes.append(_pool_class(f"{name}-{i}", name, group, float(summary.scales[code])))
        if any(c.n_rows > MAX_CLASS_ROWS for c in self._classes):
            raise InvalidDataError(
                f"{dataset.path} has too many rows of one process, at most {MAX_CLASS_ROWS:,}: split it"
            )

    @property
    def sizes(self) -> Mapping[str, int]:
        """As in `Files`, as are all others."""
        rows = {f"{c.name}.rows": 4 * self.summary.width * c.n_rows for c in self._classes}
        return rows | {f"{c.name}.thresholds": 4 * c.n_rows for c in self._classes if c.is_thinned}

    @property
    def entries(self) -> Mapping[str, Any]:
        """The classes."""
        return {"classes": [entry.to_json() for entry in self._classes]}

    def place(self, rows: Rows, files: Mapping[str, int], at: dict[str, int]) -> None:
        """Append each row to the files of its class."""
        keys = key_of(rows["process"].astype(np.int64), np.frexp(rows["weight"])[1])
        known, which = np.unique(keys, return_inverse=True)
        which = np.array([self._class_of[k] for k in known.tolist()], dtype=np.int64)[which]
        for i, entry in enumerate(self._classes):
            chosen = rows[which == i]
            _append(files, at, f"{entry.name}.rows", chosen["row"].astype("<f4"))
            if entry.is_thinned:
                scale = self.summary.scales[self.processes.index(entry.process)]
                limits = np.rint(chosen["weight"] * (scale / entry.largest_weight) * 2.0**32) - 1
                _append(files, at, f"{entry.name}.thresholds", np.clip(limits, 0, 2.0**32 - 1).astype("<u4"))


class TrainingFiles(Files):
    """Each column whole, one after the other."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """As in `Files`, as are all others."""
        n, n_features = self._n_rows, len(self.schema.features)
        sizes = {"features": 4 * n_features * n, "weights": 8 * n, "process": n}
        n_record = self.summary.width - n_features
        return sizes | ({"record": 4 * n_record * n} if n_record else {})

    @property
    def entries(self) -> Mapping[str, Any]:
        """The number of rows."""
        return {"n_rows": self._n_rows}

    def place(self, rows: Rows, files: Mapping[str, int], at: dict[str, int]) -> None:
        """Write each column after what there is of it."""
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


def _pool_class(name: str, process: str, octaves: Sequence[Octave], scale: float) -> PoolClass:
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
