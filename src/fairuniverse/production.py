"""Large samples of a slow simulation: block by block, by many workers, over many sittings.

Layout of a sample's folder::

    .lock                                  locked by whoever makes blocks, whose name it tells
    manifest.json                          what is made, with which cards, seed and libraries; failures
    PROCESS/block-000000.parquet           selected events of one block
    PROCESS/block-000000_metadata.json     its numbers; written last: with it the block is finished

A crash costs one block, which is made again, as is one of which either file is gone. A block depends only on
the source's digest, the seed, the process and its number: blocks made elsewhere with the same manifest can be
copied into the folder. A sample of n events consists of the first blocks that hold as many.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fairuniverse.block_files import damaged, read_json, read_numbers, require_whole
from fairuniverse.block_plan import BlockPlan
from fairuniverse.errors import FairUniverseError, InvalidConfigError, InvalidDataError, StorageError
from fairuniverse.events import Events, concatenate
from fairuniverse.executors import Executor, ProcessPool, WorkerLostError
from fairuniverse.files import FileLock, atomic_path, lock_holder
from fairuniverse.protocols import BlockSource
from fairuniverse.tables import Table, metadata_path, read_table, write_table

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the layout."""

MAX_ATTEMPTS = 3
"""How often a block is tried whose worker dies or fails."""


class ProductionError(FairUniverseError, RuntimeError):
    """A block failed again and again; all that is finished is kept."""


@dataclass
class Sample:
    """A folder of blocks.

    Args:
        folder: Where the blocks are; made if it does not exist.
        make_source: Makes the source of blocks, in every process anew.
        seed: Seed of the sample.

    Raises:
        InvalidConfigError: The folder holds blocks of other cards, mode or seed.
        StorageError: The folder cannot be written, or its manifest not read.
    """

    folder: Path
    make_source: Callable[[], BlockSource]
    seed: int
    source: BlockSource = field(init=False)
    manifest: dict[str, Any] = field(init=False)
    _is_alone: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.source = self.make_source()
        self.manifest = self._open_manifest()

    @contextmanager
    def alone(self, n_events: Mapping[str, int]) -> Iterator[None]:
        """Keep other processes from making blocks here; `produce` does so by itself.

        Args:
            n_events: Selected events of each process that will be asked for.

        Raises:
            InvalidDataError: A process that the source cannot make.
            StorageError: Another process makes blocks here, or the folder cannot be written.
            InvalidConfigError: Another process has begun a sample of other cards, mode or seed meanwhile.
        """
        _require_available(n_events, self.source.available)
        if self._is_alone:
            yield
            return
        with closing(_lock(self.folder)):
            self.manifest = self._open_manifest()
            self._is_alone = True
            try:
                yield
            finally:
                self._is_alone = False

    def produce(
        self,
        n_events: Mapping[str, int],
        *,
        executor: Executor | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> dict[str, list[int]]:
        """Make the blocks that are missing until every process has its events.

        Args:
            n_events: Selected events of each process.
            executor: Who makes them, one process of this machine by default; no event depends on it.
            progress: Called with the number of events of each block that is finished.

        Returns:
            Numbers of the blocks of each process that hold the events asked for.

        Raises:
            InvalidDataError: A process that the source cannot make.
            ProductionError: A block failed `MAX_ATTEMPTS` times.
            ExecutorError: All workers were lost.
            StorageError: Another process makes blocks here, or a finished block is damaged.
            FairUniverseError: Whatever repeating would not cure, such as a missing library or a full disk.
        """
        with self.alone(n_events):
            if executor is not None:
                return self._produce(n_events, executor, progress)
            with ProcessPool(1) as pool:
                return self._produce(n_events, pool, progress)

    def n_made(self, processes: Iterable[str]) -> int:
        """Events of the blocks of these processes that are finished."""
        return sum(sum(self._finished(process).values()) for process in processes)

    def table(self, blocks: Mapping[str, Sequence[int]]) -> Table:
        """Events of blocks as one table, the weights of each process scaled to its expected yield.

        Raises:
            StorageError: A block is damaged.
        """
        yields = {p.name: p.expected_yield for p in self.source.processes}
        parts = []
        for process, numbers in blocks.items():
            tables = [self._read(process, number) for number in numbers]
            total = sum(float(t.events.weights.sum()) for t in tables if t.events.weights is not None)
            parts += [_scaled(t, yields[process] / total) for t in tables]
        extra = {k: np.concatenate([p.extra[k] for p in parts]) for k in parts[0].extra if k != "row"}
        return Table(concatenate([p.events for p in parts]), extra)

    def statistics(self, blocks: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
        """Sums of the numbers of blocks, by process; acceptance and expected yield averaged."""
        return {process: self._statistics(process, numbers) for process, numbers in blocks.items()}

    def make(self, process: str, number: int) -> int:
        """Make one block, write it, and return how many events it has."""
        (block,) = self.source.make_block(process, number, seed=self.seed)
        signals = [p.name for p in self.source.processes if p.is_signal]
        table = Table(block.events, block.extra)
        metadata = {"process": process, "block": number, **block.statistics}
        write_table(self._path(process, number), table, signal=signals, metadata=metadata)
        return len(block.events)

    def note_failure(self, process: str, number: int, message: str) -> None:
        """Write down in the manifest that an attempt at a block failed."""
        failure = {"process": process, "block": number, "message": message}
        self._write_manifest(failures=[*self.manifest["failures"], failure])

    def _produce(
        self, n_events: Mapping[str, int], executor: Executor, progress: Callable[[int], object] | None
    ) -> dict[str, list[int]]:
        self._write_manifest(n_events={k: int(v) for k, v in n_events.items()})
        plan = BlockPlan(n_events, {p: self._finished(p) for p in n_events})
        shift, known = _Shift(self, executor), (executor.n_lost, len(executor.given_again))
        try:
            while not plan.is_complete:
                for process, number in plan.next_blocks(shift.at_work, max(executor.n_workers, 1)):
                    shift.begin(process, number)
                for process, number, n_selected in shift.finished():
                    plan.add(process, number, n_selected)
                    if progress is not None:
                        progress(n_selected)
        finally:
            shift.end()
            self._note_losses(executor.n_lost - known[0], executor.given_again[known[1] :])
        return plan.blocks

    def _note_losses(self, n_lost: int, given_again: Sequence[str]) -> None:
        """Write down workers that were lost, and what the executor then gave to others by itself."""
        if n_lost:
            logger.warning("%s", "; ".join([f"{n_lost} workers were lost", *given_again]))
            self._write_manifest(
                n_workers_lost=self.manifest.get("n_workers_lost", 0) + n_lost,
                given_again=[*self.manifest.get("given_again", []), *given_again],
            )

    def _statistics(self, process: str, numbers: Sequence[int]) -> dict[str, float]:
        rows = [read_numbers(metadata_path(self._path(process, n))) for n in numbers]
        sums = {k: float(sum(r[k] for r in rows)) for k in ("total_rows", "n_tried", "cpu_s", "sum_weights")}
        averages = {
            k: sum(r[k] * r["n_tried"] for r in rows) / sums["n_tried"]
            for k in ("acceptance", "expected_yield")
        }
        return {**sums, **averages}

    def _path(self, process: str, number: int) -> Path:
        return self.folder / process / f"block-{number:06d}.parquet"

    def _finished(self, process: str) -> dict[int, int]:
        """Events of each finished block."""
        found = {}
        for path in sorted((self.folder / process).glob("block-*_metadata.json")):
            numbers = read_numbers(path)
            number, n_events = int(numbers["block"]), int(numbers["total_rows"])
            block = self._path(process, number)
            if block.exists():
                require_whole(block, n_events)
                found[number] = n_events
        return found

    def _read(self, process: str, number: int) -> Table:
        path = self._path(process, number)
        names = [p.name for p in self.source.processes]
        try:
            return read_table(path, self.source.schema, names)
        except (StorageError, InvalidDataError) as error:
            raise damaged(path, error.__cause__ or error) from error

    def _open_manifest(self) -> dict[str, Any]:
        """What the folder holds, or is to hold if it is new."""
        identity = {"format": FORMAT, "digest": self.source.digest, "seed": self.seed}
        return self._read_manifest(identity) or {
            **identity,
            "world": self.source.world,
            "source": dict(self.source.provenance()),
            "failures": [],
        }

    def _read_manifest(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        path = self.folder / "manifest.json"
        if not path.exists():
            return None
        try:
            manifest = read_json(path)
        except (OSError, ValueError) as error:
            raise StorageError(
                f"cannot read {path} ({error}): restore it, or choose another output"
            ) from error
        for key, value in identity.items():
            if manifest.get(key) != value:
                raise InvalidConfigError(
                    f"{self.folder} holds blocks of another {key} ({manifest.get(key)}, now {value}): "
                    "choose another output, or go back to the cards and options of its manifest.json"
                )
        there = manifest["source"].get("libraries", {})
        for name, version in self.source.provenance().get("libraries", {}).items():
            if there.get(name) != version:
                raise InvalidConfigError(
                    f"{self.folder} was begun with {name} {there.get(name)}, here is {version}: install the "
                    "same version, or choose another output"
                )
        return manifest

    def _write_manifest(self, **entries: Any) -> None:
        self.manifest = {**self.manifest, **entries}
        content = json.dumps(self.manifest, indent=2, default=str) + "\n"
        with atomic_path(self.folder / "manifest.json") as temporary:
            temporary.write_text(content, encoding="utf-8")


class _Shift:
    """Blocks that are being made."""

    def __init__(self, sample: Sample, executor: Executor) -> None:
        self._sample = sample
        self._executor = executor
        self._running: dict[Future[int], tuple[str, int]] = {}
        self._attempts: Counter[tuple[str, int]] = Counter()

    @property
    def at_work(self) -> list[tuple[str, int]]:
        """Process and number of these blocks."""
        return list(self._running.values())

    def begin(self, process: str, number: int) -> None:
        """Have a block made."""
        sample = self._sample
        arguments = (sample.folder.resolve(), sample.make_source, sample.seed, process, number)
        self._running[self._executor.submit(make_block, *arguments)] = process, number

    def finished(self) -> Iterator[tuple[str, int, int]]:
        """Wait a little; process, number and events of each block done, the others begin anew."""
        done, _ = wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            process, number = self._running.pop(future)
            if error := future.exception():
                self._begin_again(process, number, error)
            else:
                yield process, number, future.result()

    def end(self) -> None:
        """Leave what has not begun."""
        for future in self._running:
            future.cancel()

    def _begin_again(self, process: str, number: int, error: BaseException) -> None:
        """Have a block made that has failed, as long as that could help."""
        self._sample.note_failure(process, number, str(error))
        if not isinstance(error, WorkerLostError | BlockError):
            raise error
        self._attempts[process, number] += 1
        attempts = self._attempts[process, number]
        logger.warning("block %d of %s failed, attempt %d: %s", number, process, attempts, error)
        if attempts == MAX_ATTEMPTS:
            raise ProductionError(
                f"block {number} of {process} failed {attempts} times, the last time: {error}. "
                "Finished blocks are kept: the same command goes on from here"
            ) from error
        self.begin(process, number)


class BlockError(Exception):
    """A block failed in a way that may not come again."""


def make_block(
    folder: Path, make_source: Callable[[], BlockSource], seed: int, process: str, number: int
) -> int:
    """Make one block of a sample, a task for a worker on any machine.

    Args:
        folder: Where the blocks are.
        make_source: Makes the source of blocks.
        seed: Seed of the sample.
        process: Process to make.
        number: Number of the block.

    Returns:
        Number of selected events.

    Raises:
        InvalidConfigError: The source, or one of its libraries, is another one here.
        StorageError: The folder is not there, or cannot be written.
        BlockError: Anything that may go well another time.
    """
    try:
        if not (folder / "manifest.json").is_file():
            raise StorageError(f"no {folder} here: choose an output folder that all machines share")
        return Sample(folder, make_source, seed).make(process, number)
    except (InvalidConfigError, InvalidDataError, StorageError, ImportError):
        raise
    except Exception as error:
        raise BlockError(f"{type(error).__name__}: {error}") from error


def _lock(folder: Path) -> FileLock:
    """The right to make blocks in a folder, which is made if it does not exist."""
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(path)
    except BlockingIOError as error:
        raise StorageError(
            f"{lock_holder(path)} is making blocks in {folder}: wait for it, or choose another output"
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; choose another folder"
        ) from error


def _require_available(n_events: Mapping[str, int], available: Sequence[str]) -> None:
    unknown = sorted(set(n_events) - set(available))
    if unknown:
        raise InvalidDataError(f"no process {unknown[0]!r}: there are {', '.join(available)}")
    if not n_events or any(n < 1 for n in n_events.values()):
        raise InvalidDataError(f"events per process must be positive: {dict(n_events)}")


def _scaled(table: Table, factor: float) -> Table:
    events: Events = table.events
    assert events.weights is not None
    return Table(replace(events, weights=events.weights * factor), table.extra)
