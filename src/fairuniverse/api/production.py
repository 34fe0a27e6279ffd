"""Large samples of slow simulations, made in blocks by many processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fairuniverse.api.benchmark import progress_bar
from fairuniverse.production import Sample
from fairuniverse.registry import make_block_source


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

    Raises:
        InvalidConfigError: The folder holds blocks made otherwise, or a card is wrong.
        ProductionError: A block failed again and again.
    """
    from fairuniverse.tables import require_writable_table, write_table

    is_table = output.suffix in (".parquet", ".root")
    if is_table:
        require_writable_table(output)
    folder = output.with_name(output.name + ".blocks") if is_table else output
    sample = Sample(folder, partial(make_block_source, simulator, dict(options)), seed)
    numbers = dict.fromkeys(sample.source.available, n_events) if isinstance(n_events, int) else n_events
    with progress_bar(sum(numbers.values()), "simulating", " events") as advance:
        blocks = sample.produce(numbers, n_workers=n_workers, progress=advance)
    statistics = sample.statistics(blocks)
    if is_table:
        signals = [p.name for p in sample.source.processes if p.is_signal]
        write_table(output, sample.table(blocks), signal=signals, metadata={"production": statistics})
    return Produced(folder, output if is_table else None, statistics)
