"""Pools of events on disk, in random order, of which a pseudo-experiment reads only what it needs.

`fairuniverse.shuffling` writes them: the rows of each process in one random order, classes of similar weight
apart. In such an order a run of neighbouring rows is a random sample, so events are drawn run by run: about
`N_RUNS` runs of one class for a pseudo-experiment, each beginning at a random row (the circular block
bootstrap of Politis and Romano, 1992, whose blocks hold independent events here). Every row is as likely as
its weight says. The variance of any sum over the events is that of drawing them one by one, up to the
accident of the order, which is the same for all pseudo-experiments: a relative scatter of about
sqrt(2 l / n) for runs of l out of n rows. Small classes are in memory and drawn row by row.

Rows of unequal weight are thinned: candidates are drawn alike, their number Poisson distributed, and each
is kept with the probability weight / largest weight of its class, which leaves a Poisson number again.

Layout of a pool's folder::

    manifest.json         what is in it, made of what; written last
    CLASS.rows            float32 rows of the class, one after the other, little endian
    CLASS.thresholds      uint32 for each row, where weights differ: it is kept if a random word is not above
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import StorageError
from fairuniverse.events import Events
from fairuniverse.protocols import Sampler, Simulator
from fairuniverse.seeding import Streams

FORMAT = 1
"""Version of the layout, and of how rows are packed and drawn."""

MAX_ROWS_IN_MEMORY = 10_000_000
"""Larger Parquet data sets stay on disk, whatever the memory of the machine: toys must not depend on it."""

N_RUNS = 512
"""Runs of one class in a pseudo-experiment of the expected size."""

N_PROBES = 8
"""Runs whose beginnings tell whether a class seems to be in memory: to have it read ahead is not free."""

MIN_RUNS_IN_CLASS = 256
"""Runs are so short that a class holds at least as many."""

SMALL_CLASS = 1 << 18
"""Rows up to which a class is held in memory."""


@runtime_checkable
class OutOfCoreSimulator(Simulator, Protocol):
    """A world that can draw pseudo-experiments from a pool on disk."""

    def pool_rows(self, events: Events) -> NDArray[np.float32]:
        """What the sampler needs of each nominal event, shape (n_events, width).

        Raises:
            InvalidDataError: The events lack something that shifting them takes.
        """
        ...

    def stored_pool_sampler(self, pool: StoredPool) -> Sampler:
        """Pseudo-experiments drawn from a pool of such rows."""
        ...


@dataclass(frozen=True)
class PoolClass:
    """Rows of one process with weights that differ by less than a factor two, or the rest of them.

    Attributes:
        name: Name of its files.
        process: The process.
        n_rows: Number of rows.
        sum_weights: Expected events.
        largest_weight: Expected candidates per row.
        is_thinned: Whether the weights differ.
    """

    name: str
    process: str
    n_rows: int
    sum_weights: float
    largest_weight: float
    is_thinned: bool

    @property
    def n_candidates(self) -> float:
        """Rows that a pseudo-experiment looks at on average, where the process has its nominal strength."""
        return self.n_rows * self.largest_weight if self.is_thinned else self.sum_weights

    @property
    def run_length(self) -> int:
        """Rows of a run."""
        return max(1, min(round(self.n_candidates / N_RUNS), self.n_rows // MIN_RUNS_IN_CLASS))

    def to_json(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return asdict(self)


class Drawn:
    """Rows drawn from one class, read when they are wanted.

    Args:
        process: Its process.
        rows: Its rows: in memory, or a file with runs to read from.
        n_drawn: Number of draws.
        chosen: Number of each draw among the rows or, in order, among the candidates of the runs; None if
            all candidates were drawn.
        runs: Where the candidates are; None if the rows are in memory.
    """

    def __init__(
        self,
        process: str,
        rows: NDArray[np.float32] | File,
        n_drawn: int,
        chosen: NDArray[np.uint32] | None,
        runs: Runs | None,
    ) -> None:
        self.process = process
        self._rows = rows
        self._n_drawn = n_drawn
        self._chosen = chosen
        self._runs = runs

    def __len__(self) -> int:
        return self._n_drawn

    def read(
        self, first: int, end: int, buffer: RowBuffer, how: ReadRuns | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
        """Rows among which are the draws from `first` to `end` - 1, and which row each of these draws is.

        Args:
            first: First draw.
            end: One past the last draw.
            buffer: Where rows are read to; another read may overwrite them.
            how: A faster `read_runs`.

        Raises:
            StorageError: They cannot be read.
        """
        chosen = buffer.numbers(end - first) if self._chosen is None else self._chosen[first:end]
        if isinstance(self._rows, np.ndarray):
            return self._rows, chosen
        assert self._runs is not None
        if first == end:
            return buffer.first(0), chosen
        if self._chosen is not None:
            first, end = int(chosen[0]), int(chosen[-1]) + 1
            chosen = chosen - chosen[0]
        rows = buffer.first(end - first)
        self._rows.read(self._runs, first, rows, how or read_runs)
        return rows, chosen


class StoredPool:
    """A pool on disk.

    In memory are the small classes and what is being read, however large the pool is.

    Args:
        folder: What `fairuniverse.shuffling` made.

    Raises:
        StorageError: The folder is no pool, or its files are damaged.
    """

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        try:
            self.width = int(manifest["width"])
            self.classes = tuple(PoolClass(**entry) for entry in manifest["classes"])
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{folder} holds no pool ({error!r}): {_REMEDY}") from error
        self._sources = [_Source(folder, entry, self.width) for entry in self.classes]

    def draw(self, strengths: Mapping[str, float], *, streams: Streams) -> list[Drawn]:
        """Rows of one pseudo-experiment, class by class.

        The number of rows of a process is Poisson distributed around its expected yield.

        Args:
            strengths: Factor on the yield of each process.
            streams: Random streams of the pseudo-experiment.

        Raises:
            StorageError: The pool cannot be read.
        """
        return [source.draw(strengths[source.entry.process], streams) for source in self._sources]


class RowBuffer:
    """Room for rows that begin on a cache line; it grows to the largest number so far."""

    def __init__(self, width: int) -> None:
        self._block = np.empty((0, width), dtype=np.float32)
        self._numbers = np.empty(0, dtype=np.uint32)

    def numbers(self, n_rows: int) -> NDArray[np.uint32]:
        """The numbers of so many rows, not to be changed."""
        if len(self._numbers) < n_rows:
            self._numbers = np.arange(n_rows + n_rows // 8, dtype=np.uint32)
        return self._numbers[:n_rows]

    def first(self, n_rows: int) -> NDArray[np.float32]:
        """So many rows, not initialised."""
        if len(self._block) < n_rows:
            width, n = self._block.shape[1], n_rows + n_rows // 8
            raw = np.empty(n * width + 16, dtype=np.float32)
            start = -raw.ctypes.data // 4 % 16
            self._block = raw[start : start + n * width].reshape(n, width)
        return self._block[:n_rows]


def read_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of a finished folder.

    Raises:
        StorageError: It cannot be read.
    """
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path} ({error}): {_REMEDY}") from error
    return manifest


ReadRuns: TypeAlias = "Callable[[int, Runs, int, NDArray[Any]], None]"

_NO_WAIT: int = getattr(os, "RWF_NOWAIT", 0)

_REMEDY = "remove its folder, it is made anew"


class File:
    """Equal items that are read from any place.

    Args:
        path: The file.
        n_items: Number of items.
        item_bytes: Size of one.

    Raises:
        StorageError: The file cannot be read, or has another size.
    """

    def __init__(self, path: Path, n_items: int, item_bytes: int) -> None:
        self._path = path
        self._item_bytes = item_bytes
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"cannot read {path} ({error.strerror}): {_REMEDY}") from error
        weakref.finalize(self, os.close, self._fd)
        size = os.fstat(self._fd).st_size
        if size != n_items * item_bytes:
            raise StorageError(f"{path} has {size} bytes, not {n_items * item_bytes}: {_REMEDY}")

    def announce(self, first: int, n_items: int) -> None:
        """Have the system begin to read."""
        if hasattr(os, "posix_fadvise"):
            where = first * self._item_bytes, n_items * self._item_bytes
            os.posix_fadvise(self._fd, *where, os.POSIX_FADV_WILLNEED)

    def is_in_memory(self, item: int) -> bool:
        """Whether the system has an item, and could give it without reading from the disk."""
        try:
            return os.preadv(self._fd, [bytearray(1)], item * self._item_bytes, _NO_WAIT) == 1
        except OSError:  # not in memory, or a file system that does not tell
            return False

    def read(self, runs: Runs, first: int, into: NDArray[Any], how: ReadRuns) -> None:
        """Fill an array with the items of the candidates from `first` on.

        Raises:
            StorageError: They cannot be read.
        """
        try:
            how(self._fd, runs, first, into)
        except EOFError as error:
            raise StorageError(f"{self._path} has become shorter meanwhile: {_REMEDY}") from error
        except OSError as error:
            raise StorageError(f"cannot read {self._path} ({error.strerror}): {_REMEDY}") from error


@dataclass(frozen=True, eq=False)
class Runs:
    """Candidates in runs of rows, which go on at the first row after the last one.

    Attributes:
        starts: First row of each run.
        length: Rows of a run.
        n_rows: Rows of the class.
    """

    starts: NDArray[np.int64]
    length: int
    n_rows: int

    def announce(self, file: File, n_candidates: int) -> None:
        """Have the system begin to read so many, unless it seems to have them."""
        if all(file.is_in_memory(start) for start in self.starts[:N_PROBES].tolist()):
            return
        for row, n in self.pieces(0, n_candidates):
            file.announce(row, n)

    def pieces(self, first: int, n_candidates: int) -> Iterator[tuple[int, int]]:
        """First row and number of rows of what lies in sequence."""
        while n_candidates:
            run, offset = divmod(first, self.length)
            row = (int(self.starts[run]) + offset) % self.n_rows
            n = min(self.length - offset, self.n_rows - row, n_candidates)
            yield row, n
            first, n_candidates = first + n, n_candidates - n


def read_runs(fd: int, runs: Runs, first: int, into: NDArray[Any]) -> None:
    """Fill an array with items of a file.

    Args:
        fd: The file.
        runs: Where the candidates are.
        first: First candidate to read.
        into: Room for as many as are to be read, one after the other.

    Raises:
        OSError: The system cannot read them.
        EOFError: The file is too short.
    """
    view = into.data.cast("B")
    item_bytes = into.strides[0]
    for row, n in runs.pieces(first, len(into)):
        offset, end = row * item_bytes, (row + n) * item_bytes
        while offset < end:
            n_read = os.preadv(fd, [view[: end - offset]], offset)
            if n_read == 0:
                raise EOFError
            view, offset = view[n_read:], offset + n_read


class _Source:
    """Draws from one class."""

    def __init__(self, folder: Path, entry: PoolClass, width: int) -> None:
        self.entry = entry
        self._rows: File | NDArray[np.float32] = File(folder / f"{entry.name}.rows", entry.n_rows, 4 * width)
        self._limits: File | NDArray[np.uint32] | None = None
        if entry.is_thinned:
            self._limits = File(folder / f"{entry.name}.thresholds", entry.n_rows, 4)
        if entry.n_rows <= SMALL_CLASS:
            self._rows = _loaded(self._rows, np.empty((entry.n_rows, width), dtype=np.float32))
            if self._limits is not None:
                self._limits = _loaded(self._limits, np.empty(entry.n_rows, dtype=np.uint32))

    def draw(self, strength: float, streams: Streams) -> Drawn:
        """Choose rows, and have the system begin to read them."""
        entry = self.entry
        n = int(streams.rng(f"counts:{entry.name}").poisson(entry.n_candidates * strength))
        rng = streams.rng(f"rows:{entry.name}")
        if isinstance(self._rows, np.ndarray):
            chosen = rng.integers(entry.n_rows, size=n, dtype=np.uint32)
            if isinstance(self._limits, np.ndarray):
                chosen = chosen[_kept(self._limits[chosen], streams.rng(f"thinning:{entry.name}"))]
            return Drawn(entry.process, self._rows, len(chosen), chosen, None)
        starts = rng.integers(entry.n_rows, size=-(-n // entry.run_length))
        runs = Runs(starts, entry.run_length, entry.n_rows)
        runs.announce(self._rows, n)
        if not isinstance(self._limits, File):
            return Drawn(entry.process, self._rows, n, None, runs)
        runs.announce(self._limits, n)
        limits = np.empty(n, dtype=np.uint32)
        self._limits.read(runs, 0, limits, read_runs)
        is_kept = _kept(limits, streams.rng(f"thinning:{entry.name}"))
        chosen = np.flatnonzero(is_kept).astype(np.uint32)
        return Drawn(entry.process, self._rows, len(chosen), chosen, runs)


def _loaded(file: Any, into: Any) -> Any:
    file.read(Runs(np.zeros(1, np.int64), len(into), len(into)), 0, into, read_runs)
    return into


def _kept(limits: NDArray[np.uint32], rng: np.random.Generator) -> NDArray[np.bool_]:
    words = rng.integers(1 << 32, size=len(limits), dtype=np.uint32)
    return np.asarray(words <= limits)
