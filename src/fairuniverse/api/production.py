"""Large samples of slow simulations, made in blocks by many processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairuniverse._version import __version__
from fairuniverse.api.progress import progress_bar
from fairuniverse.errors import InvalidDataError
from fairuniverse.production import Sample
from fairuniverse.registry import make_block_source, make_simulator
from fairuniverse.seeding import Streams, generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fairuniverse.closure import Closure, FeatureClosure
    from fairuniverse.events import Events
    from fairuniverse.protocols import BlockSource, Simulator


INSIDE = "detector"
"""Option ``systematics`` of a world that keeps what the detector gave."""


@dataclass(frozen=True)
class Produced:
    """What `produce` made.

    Attributes:
        folder: Folder of the blocks.
        table: The merged table; None if none was asked for.
        statistics: Numbers of each process: events, acceptance, expected yield, processor seconds.
    """

    folder: Path
    table: Path | None
    statistics: Mapping[str, Mapping[str, float]]


def produce(
    simulator: str,
    options: Mapping[str, Any],
    n_events: Mapping[str, int] | int,
    output: Path,
    *,
    seed: int = 0,
    n_workers: int = 1,
    executor: str | None = None,
    scheduler: str | None = None,
    cluster: Path | None = None,
) -> Produced:
    """Make the blocks of a sample that are missing, and merge them.

    Args:
        simulator: Registered name of a slow simulation.
        options: Its options.
        n_events: Selected events per process, or one number for each process; at least as many are made.
        output: A ``.parquet`` or ``.root`` file, with the blocks in a folder beside it (``NAME.blocks``); or
            only a folder of blocks.
        seed: Seed of the sample.
        n_workers: Worker processes; no event depends on it.
        executor: ``processes`` of this machine (the default), or ``dask`` (the default with one of the next).
        scheduler: Address of a Dask scheduler, or the ``.json`` file that it writes.
        cluster: File that describes a cluster to start; see `fairuniverse.executors.dask.DaskCluster`.

    Raises:
        InvalidConfigError: The folder holds blocks made otherwise, or a card is wrong.
        ProductionError: A block failed again and again.
        ExecutorError: The cluster cannot be reached, or was lost; what is finished is kept.
        StorageError: Another process makes blocks in the folder, or a file cannot be read or written.
    """
    from fairuniverse.executors import WhereToWork
    from fairuniverse.tables import require_writable_table, write_table

    is_table = output.suffix in (".parquet", ".root")
    if is_table:
        require_writable_table(output)
    folder = output.with_name(output.name + ".blocks") if is_table else output
    sample = Sample(folder, partial(make_block_source, simulator, dict(options)), seed)
    numbers = dict.fromkeys(sample.source.available, n_events) if isinstance(n_events, int) else n_events
    with sample.alone(numbers):
        with (
            WhereToWork(executor, n_workers, scheduler, cluster).open() as opened,
            progress_bar(
                sum(numbers.values()), "simulating", " events", n_before=sample.n_made(numbers)
            ) as advance,
        ):
            blocks = sample.produce(numbers, executor=opened, progress=advance)
        statistics = sample.statistics(blocks)
        if is_table:
            signals = [p.name for p in sample.source.processes if p.is_signal]
            metadata = {
                "origin": {
                    "simulator": simulator,
                    "options": dict(options),
                    "seed": seed,
                    "n_events": dict(numbers),
                    "fairuniverse": __version__,
                },
                "production": statistics,
            }
            write_table(output, sample.table(blocks), signal=signals, metadata=metadata)
    return Produced(folder, output if is_table else None, statistics)


def closure(
    simulator: str,
    options: Mapping[str, Any],
    shifts: Sequence[Mapping[str, float]],
    *,
    processes: Sequence[str] = (),
    n_blocks: int = 1,
    seed: int = 0,
    modes: Sequence[str] = ("posthoc", INSIDE),
    output: Path | None = None,
) -> Closure:
    """Shift the same generated events inside the detector and as finished tables, and compare.

    Args:
        simulator: Registered name of a slow simulation.
        options: Its options.
        shifts: Values to compare, one nuisance parameter each.
        processes: Which processes; all that it can make if empty.
        n_blocks: Blocks of each process.
        seed: Seed of the sample.
        modes: Values of the option ``systematics`` of the world's simulator, ways to shift a table;
            "detector" among them.
        output: HTML page to write.

    Raises:
        InvalidDataError: A nuisance parameter that does not act inside the detector, or an unknown process.
    """
    from fairuniverse.closure import Closure
    from fairuniverse.reporting.closures import write_closure

    source = make_block_source(simulator, dict(options))
    if any(len(values) != 1 for values in shifts):
        raise InvalidDataError(f"shift one nuisance parameter at a time, not {list(shifts)}")
    worlds = {mode: make_simulator(source.world, {"systematics": mode}) for mode in modes}
    names = list(processes or source.available)
    entries: list[FeatureClosure] = []
    with progress_bar(len(names) * n_blocks, "simulating", " blocks") as advance:
        for process in names:
            entries += _close(source, worlds, process, shifts, range(n_blocks), seed, advance)
    answer = Closure(tuple(entries))
    if output is not None:
        write_closure(answer.to_frame(), output)
    return answer


def _close(
    source: BlockSource,
    worlds: Mapping[str, Simulator],
    process: str,
    shifts: Sequence[Mapping[str, float]],
    numbers: Iterable[int],
    seed: int,
    advance: Callable[[int], object],
) -> list[FeatureClosure]:
    """Entries of one process."""
    from fairuniverse.closure import Weighted
    from fairuniverse.closure import closure as close
    from fairuniverse.events import concatenate

    made, n_generated = [], 0
    for number in numbers:
        blocks = source.make_block(process, number, seed=seed, variations=[{}, *shifts])
        made.append([(b.events, b.extra["row"] + n_generated) for b in blocks])
        n_generated += int(blocks[0].statistics["n_generated"])
        advance(1)
    joined = [
        (concatenate([e for e, _ in parts]), np.concatenate([r for _, r in parts]))
        for parts in zip(*made, strict=True)
    ]

    def shifted(sample: tuple[Events, NDArray[np.int64]], mode: str, values: Mapping[str, float]) -> Weighted:
        events, rows = worlds[mode].shift_with_rows(sample[0], values, streams=Streams(seed))
        return Weighted(events, sample[1][rows])

    nominal = {mode: shifted(joined[0], mode, {}) for mode in worlds}
    entries = []
    for values, sample in zip(shifts, joined[1:], strict=True):
        ((nuisance, value),) = values.items()
        entries += close(
            (nominal[INSIDE], shifted(sample, INSIDE, {})),
            {mode: (nominal[mode], shifted(joined[0], mode, values)) for mode in worlds},
            n_generated,
            process=process,
            nuisance=nuisance,
            value=value,
            rng=generator(seed, f"closure:{process}:{nuisance}"),
        )
    return entries
