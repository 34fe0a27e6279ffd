"""Data sets larger than memory, in the random order in which training events and toys are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from fairuniverse.api.progress import progress_bar
from fairuniverse.errors import InvalidConfigError
from fairuniverse.pools import MAX_ROWS_IN_MEMORY, OutOfCoreSimulator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fairuniverse.config import SimulatorConfig
    from fairuniverse.datasets import Dataset
    from fairuniverse.events import Events
    from fairuniverse.protocols import Simulator
    from fairuniverse.shuffling import Share

CACHE_VARIABLE = "FAIRUNIVERSE_CACHE"
"""Environment variable: folder for prepared data sets, instead of one beside each data set."""


class LargeData:
    """The Parquet data sets that a configuration names.

    Args:
        simulator: The world of the events.
        config: Its name and options; other ones have prepared folders of their own.
        folder: Folder that names are relative to.
    """

    def __init__(self, simulator: Simulator, config: SimulatorConfig, folder: Path) -> None:
        self._simulator = simulator
        self._config = config
        self._folder = folder
        self._datasets: dict[str, Dataset] = {}

    def dataset(self, name: str) -> Dataset | None:
        """Parquet files of that name; None for a table of another kind."""
        from fairuniverse.datasets import Dataset

        path = self._folder / name
        if name not in self._datasets and (path.is_dir() or path.suffix == ".parquet"):
            self._datasets[name] = Dataset(path, self._simulator.schema, self._simulator.processes)
        return self._datasets.get(name)

    def large(self, name: str | None) -> Dataset | None:
        """The data set of that name, if it is not to be read into memory."""
        dataset = self.dataset(name) if name else None
        return dataset if dataset and dataset.n_rows > MAX_ROWS_IN_MEMORY else None

    def simulator_for(self, dataset: Dataset) -> OutOfCoreSimulator:
        """The world, if it can draw from a pool on disk.

        Raises:
            InvalidConfigError: It cannot.
        """
        if not isinstance(self._simulator, OutOfCoreSimulator):
            raise InvalidConfigError(
                f"pseudo_experiments: {dataset.path.name} has more than {MAX_ROWS_IN_MEMORY:,} rows, and "
                f"{self._config.name} can draw from memory only: name a smaller file, or give the simulator "
                "pool_rows and stored_pool_sampler"
            )
        return self._simulator

    def pool(self, dataset: Dataset, share: Share) -> Path:
        """Folder of the pool that a part of a data set makes, prepared if it is not."""
        from fairuniverse.shuffling import shuffled_pool

        world = self.simulator_for(dataset)

        def rows(events: Events) -> NDArray[np.float32]:
            return world.pool_rows(world.derive(events))

        with self._preparing(dataset) as advance:
            return shuffled_pool(
                dataset, rows, self._cache(dataset), encoding=self._encoding, share=share, progress=advance
            )

    def training(self, dataset: Dataset, share: Share) -> Path:
        """Folder of the training events that a part of a data set makes, prepared if it is not."""
        from fairuniverse.shuffling import shuffled_training

        derive = self._simulator.derive
        with self._preparing(dataset) as advance:
            return shuffled_training(
                dataset, derive, self._cache(dataset), encoding=self._encoding, share=share, progress=advance
            )

    def _preparing(self, dataset: Dataset) -> AbstractContextManager[Callable[[int], object]]:
        return progress_bar(2 * dataset.n_rows, f"bringing {dataset.path.name} into random order", " rows")

    @property
    def _encoding(self) -> str:
        return f"{self._config.name} {sorted(self._config.options.items())}"

    def _cache(self, dataset: Dataset) -> Path:
        """Where prepared folders of a data set are."""
        beside = dataset.path.with_name(f"{dataset.path.name}.shuffled")
        return Path(os.environ[CACHE_VARIABLE], beside.name) if os.environ.get(CACHE_VARIABLE) else beside
