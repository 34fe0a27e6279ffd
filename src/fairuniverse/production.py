"""Large samples of a slow simulation: block by block, in many processes, over many sittings.

Layout of a sample's folder::

    manifest.json                          what is made, with which cards, seed and libraries; failures
    PROCESS/block-000000.parquet           selected events of one block
    PROCESS/block-000000_metadata.json     its numbers; written last: with it the block is finished

Each block is made by a process of its own, so memory stays flat and a crash costs one block. A block depends
only on the source's digest, the seed, the process and its number: blocks made elsewhere with the same
manifest can be copied into the folder. A sample of n events consists of the first blocks that hold as many.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from fairuniverse.errors import FairUniverseError, InvalidConfigError, InvalidDataError, StorageError
from fairuniverse.events import Events, concatenate
from fairuniverse.protocols import BlockSource
from fairuniverse.tables import Table, atomic_path, metadata_path, read_table, write_table

logger = logging.getLogger(__name__)

FORMAT = 1
"""Version of the layout."""

FIRST_GUESS = 500.0
"""Events of a block, before one is finished."""

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

    def __post_init__(self) -> None:
        self.source = self.make_source()
        identity = {"format": FORMAT, "digest": self.source.digest, "seed": self.seed}
        self.manifest = self._read_manifest(identity) or {
            **identity,
            "world": self.source.world,
            "source": dict(self.source.provenance()),
            "failures": [],
        }

    def produce(
        self,
        n_events: Mapping[str, int],
        *,
        n_workers: int = 1,
        progress: Callable[[int], object] | None = None,
    ) -> dict[str, list[int]]:
        """Make the blocks that are missing until every process has its events.

        Args:
            n_events: Selected events of each process.
            n_workers: Worker processes; no event depends on it.
            progress: Called with the number of events of each block that is finished, those found first.

        Returns:
            Numbers of the blocks of each process that hold the events asked for.

        Raises:
            InvalidDataError: A process that the source cannot make.
            ProductionError: A block failed `MAX_ATTEMPTS` times.
            FairUniverseError: Whatever repeating would not cure, such as a missing library or a full disk.
        """
        _require_available(n_events, self.source.available)
        self._write_manifest(n_events={k: int(v) for k, v in n_events.items()})
        plan = _Plan(n_events, {p: self._finished(p) for p in n_events})
        if progress is not None:
            progress(plan.n_found)
        crew = _Crew(self, n_workers)
        try:
            while not plan.is_complete:
                for process, number in plan.next_blocks(crew.running, n_workers):
                    crew.start(process, number)
                for process, number, n_selected in crew.finished():
                    plan.add(process, number, n_selected)
                    if progress is not None:
                        progress(n_selected)
        finally:
            crew.stop()
        return plan.blocks

    def table(self, blocks: Mapping[str, Sequence[int]]) -> Table:
        """Events of blocks as one table, the weights of each process scaled to its expected yield.

        Raises:
            StorageError: A block cannot be read.
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

    def _statistics(self, process: str, numbers: Sequence[int]) -> dict[str, float]:
        rows = [_read_json(metadata_path(self._path(process, n))) for n in numbers]
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
            content = _read_json(path)
            found[int(content["block"])] = int(content["total_rows"])
        return found

    def _read(self, process: str, number: int) -> Table:
        names = [p.name for p in self.source.processes]
        return read_table(self._path(process, number), self.source.schema, names)

    def _read_manifest(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        path = self.folder / "manifest.json"
        if not path.exists():
            return None
        manifest = _read_json(path)
        for key, value in identity.items():
            if manifest.get(key) != value:
                raise InvalidConfigError(
                    f"{self.folder} holds blocks of another {key} ({manifest.get(key)}, now {value}): "
                    "choose another output, or go back to the cards and options of its manifest.json"
                )
        return manifest

    def _write_manifest(self, **entries: Any) -> None:
        self.manifest = {**self.manifest, **entries}
        content = json.dumps(self.manifest, indent=2, default=str) + "\n"
        with atomic_path(self.folder / "manifest.json") as temporary:
            temporary.write_text(content, encoding="utf-8")


class _Plan:
    """Which blocks are still to be made."""

    def __init__(self, n_events: Mapping[str, int], finished: Mapping[str, dict[int, int]]) -> None:
        self._wanted = dict(n_events)
        self._finished = {p: dict(blocks) for p, blocks in finished.items()}

    @property
    def blocks(self) -> dict[str, list[int]]:
        """Numbers of the first blocks of each process that hold its events; all there are if too few."""
        return {p: list(range(self._n_needed(p))) for p in self._wanted}

    @property
    def n_found(self) -> int:
        """Events of finished blocks."""
        return sum(sum(blocks.values()) for blocks in self._finished.values())

    @property
    def is_complete(self) -> bool:
        """Whether every process has its events."""
        return all(self._is_complete(p) for p in self._wanted)

    def add(self, process: str, number: int, n_selected: int) -> None:
        """A block is finished."""
        self._finished[process][number] = n_selected

    def next_blocks(self, running: Sequence[tuple[str, int]], n_workers: int) -> Iterator[tuple[str, int]]:
        """Blocks to start so that all workers have something to do, as far as they are likely needed."""
        n_free = n_workers - len(running)
        for process, wanted in self._wanted.items():
            if self._is_complete(process):
                continue
            done = self._finished[process]
            mean = max(1.0, sum(done.values()) / len(done)) if done else FIRST_GUESS
            taken = {number for p, number in running if p == process} | set(done)
            expected = sum(done.values()) + mean * (len(taken) - len(done))
            number = 0
            while n_free > 0 and (expected < wanted or not taken >= set(range(self._n_needed(process)))):
                while number in taken:
                    number += 1
                yield process, number
                taken.add(number)
                n_free -= 1
                expected += mean

    def _is_complete(self, process: str) -> bool:
        done = self._finished[process]
        n = self._n_needed(process)
        return all(k in done for k in range(n)) and sum(done[k] for k in range(n)) >= self._wanted[process]

    def _n_needed(self, process: str) -> int:
        """Length of the shortest run of blocks from 0 that holds the events, or of what is there and one."""
        done, total, number = self._finished[process], 0, 0
        while total < self._wanted[process]:
            if number not in done:
                return number + 1
            total += done[number]
            number += 1
        return number


class _Crew:
    """Worker processes, each with one block."""

    def __init__(self, sample: Sample, n_workers: int) -> None:
        self._sample = sample
        self._n_workers = n_workers
        self._workers: dict[BaseProcess, tuple[str, int, Connection]] = {}
        self._attempts: dict[tuple[str, int], int] = {}

    @property
    def running(self) -> list[tuple[str, int]]:
        """Process and number of the blocks at work."""
        return [(process, number) for process, number, _ in self._workers.values()]

    def start(self, process: str, number: int) -> None:
        """Begin a block."""
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        sample = self._sample
        arguments = (sample.folder, sample.make_source, sample.seed, process, number, sender)
        worker = context.Process(target=_work, args=arguments, daemon=True)
        worker.start()
        sender.close()
        self._workers[worker] = process, number, receiver

    def finished(self) -> Iterator[tuple[str, int, int]]:
        """Wait for workers to end; process, number and events of each block done, the others start anew."""
        ended = set(wait([w.sentinel for w in self._workers]))
        for worker in [w for w in self._workers if w.sentinel in ended]:
            process, number, receiver = self._workers.pop(worker)
            worker.join()
            answer = _answer(receiver, worker.exitcode)
            if isinstance(answer, int):
                yield process, number, answer
            else:
                self._retry(process, number, answer)

    def stop(self) -> None:
        """End all workers; unfinished blocks leave nothing behind."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join()
        self._workers.clear()

    def _retry(self, process: str, number: int, error: Exception) -> None:
        """Begin a failed block again, as long as that could help."""
        self._sample.note_failure(process, number, str(error))
        if not isinstance(error, _WorkerError):
            raise error
        attempts = self._attempts[process, number] = self._attempts.get((process, number), 0) + 1
        logger.warning("block %d of %s failed, attempt %d: %s", number, process, attempts, error)
        if attempts == MAX_ATTEMPTS:
            raise ProductionError(
                f"block {number} of {process} failed {attempts} times, the last time: {error}. "
                "Finished blocks are kept: the same command goes on from here"
            )
        self.start(process, number)


class _WorkerError(Exception):
    """A worker ended without an answer, or with an error that may not come again."""


def _answer(receiver: Connection, exit_code: int | None) -> int | Exception:
    """Number of events, or what went wrong."""
    with receiver:
        try:
            answer: int | Exception = receiver.recv()
        except EOFError:
            how = f"by signal {-exit_code}" if exit_code and exit_code < 0 else f"with status {exit_code}"
            return _WorkerError(f"its process was ended {how} (out of memory?)")
    return answer


def _work(
    folder: Path,
    make_source: Callable[[], BlockSource],
    seed: int,
    process: str,
    number: int,
    sender: Connection,
) -> None:
    """Make one block in a process of its own."""
    answer: int | Exception
    try:
        answer = Sample(folder, make_source, seed).make(process, number)
    except (InvalidConfigError, InvalidDataError, StorageError, ImportError) as error:
        answer = error
    except Exception as error:
        answer = _WorkerError(f"{type(error).__name__}: {error}")
    sender.send(answer)
    sender.close()


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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path} ({error}): delete it, and its block is made again") from error
    return content
