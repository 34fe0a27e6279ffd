"""A configuration made real: its simulator, training events and pseudo-experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fairuniverse.api.large_data import LargeData
from fairuniverse.api.progress import progress_bar
from fairuniverse.errors import InvalidConfigError, InvalidDataError, NotRegisteredError, did_you_mean
from fairuniverse.pools import MAX_ROWS_IN_MEMORY, StoredPool, read_manifest
from fairuniverse.provenance import n_cores
from fairuniverse.registry import find_config, make_simulator
from fairuniverse.seeding import Streams, generator

if TYPE_CHECKING:
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.datasets import Dataset
    from fairuniverse.events import Events
    from fairuniverse.protocols import Sampler, Simulator
    from fairuniverse.pseudo_experiments import PseudoExperiments
    from fairuniverse.shuffling import Share
    from fairuniverse.tables import Table

TRAINING_FRACTION = 0.7
"""Share of a file that trains where the same file is the pool, too (the public protocol tests on 30 %)."""

YIELD_TOLERANCE = 1e-3
"""Relative difference of yields that is put down to rounding."""


class Benchmark:
    """A configuration made real: its simulator, training events and pseudo-experiments.

    Args:
        config: The configuration.
        folder: Folder that file names in the configuration are relative to.
        source: File that the configuration was read from, for messages.
        n_threads: Threads for simulating and drawing; no result depends on it.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        *,
        folder: Path | None = None,
        source: Path | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.config = config
        self.folder = folder or Path()
        self.source = source
        self.n_threads = n_threads or n_cores()
        self._require_known_names()

    @classmethod
    def load(cls, name: str | Path, *, n_threads: int | None = None, is_official: bool = False) -> Benchmark:
        """Benchmark of a YAML file, or of a configuration that comes with the package.

        Args:
            name: File or name.
            n_threads: Threads for simulating and drawing.
            is_official: Whether to measure by the protocol of the public challenge.
        """
        from fairuniverse.config import load_config
        from fairuniverse.official.protocol import with_official_protocol

        path = find_config(name)
        config = load_config(path)
        if is_official:
            config = with_official_protocol(config)
        return cls(config, folder=path.parent, source=path, n_threads=n_threads)

    @cached_property
    def simulator(self) -> Simulator:
        """The world of this benchmark."""
        simulator = self.config.simulator
        try:
            return make_simulator(simulator.name, simulator.options)
        except NotRegisteredError as error:
            raise NotRegisteredError(f"{self._where('simulator', 'name')}{error}") from error
        except InvalidConfigError as error:
            where = self._where("simulator", "options", error.option or "")
            raise InvalidConfigError(f"{where}{error}", option=error.option) from error

    @cached_property
    def _data(self) -> LargeData:
        return LargeData(self.simulator, self.config.simulator, self.folder)

    @cached_property
    def training_events(self) -> Events:
        """Nominal weighted events to learn from; disjoint from the pool of the pseudo-experiments."""
        training = self.config.training
        if training.file:
            if dataset := self._data.large(training.file):
                return self._stored_training(dataset)
            events = self._read(training.file)
            if self._is_one_file():
                return self._split(events)[0]
            self._require_same_yields(events.sum_weights())
            return events
        return self._simulate(training.n_events, "training", training.prescale, training.seed)

    @cached_property
    def pool(self) -> Events:
        """Nominal weighted events from which pseudo-experiments are drawn."""
        toys = self.config.pseudo_experiments
        if toys.file:
            if self._data.large(toys.file):
                raise InvalidDataError(
                    f"{toys.file} has more than {MAX_ROWS_IN_MEMORY:,} rows: this needs a pool in memory"
                )
            events = self._read(toys.file)
            return self._split(events)[1] if self._is_one_file() else events
        return self._simulate(toys.n_events, "pool", toys.prescale, self.config.seed)

    @cached_property
    def pseudo_experiments(self) -> PseudoExperiments:
        """The toys; the pool, if there is one, is made at the first draw."""
        from fairuniverse.pseudo_experiments import PseudoExperiments

        c = self.config
        return PseudoExperiments(
            _LazySampler(self._sampler),
            self.simulator.nuisances,
            seed=c.seed,
            n_mu=c.pseudo_experiments.n_mu,
            n_toys=c.pseudo_experiments.n_toys,
            mu_range=c.mu_range,
            floating=c.nuisances,
            mu_values=c.pseudo_experiments.mu_values,
        )

    def _sampler(self) -> Sampler:
        toys = self.config.pseudo_experiments
        if toys.mode == "fresh":
            return self.simulator.fresh_sampler()
        if dataset := self._data.large(toys.file):
            world = self._data.simulator_for(dataset)
            return world.stored_pool_sampler(StoredPool(self._data.pool(dataset, self._shares[1])))
        sampler = self.simulator.pool_sampler(self.pool)
        del self.pool  # the sampler keeps what it needs in a layout of its own
        return sampler

    def _simulate(self, n_events: Mapping[str, int], purpose: str, prescale: int, seed: int) -> Events:
        with progress_bar(sum(n_events.values()), f"simulating the {purpose} events", " events") as advance:
            return self.simulator.generate(
                n_events,
                seed=seed,
                purpose=purpose,
                prescale=prescale,
                n_threads=self.n_threads,
                progress=advance,
            )

    def prepare(self) -> list[Path]:
        """Bring data sets larger than memory into random order, as far as they are not; their folders."""
        training = self._data.large(self.config.training.file)
        pool = self._data.large(self.config.pseudo_experiments.file)
        return [
            *([self._data.training(training, self._shares[0])] if training else []),
            *([self._data.pool(pool, self._shares[1])] if pool else []),
        ]

    def _stored_training(self, dataset: Dataset) -> Events:
        from fairuniverse.shuffling import stored_events

        folder = self._data.training(dataset, self._shares[0])
        if not self._is_one_file():
            self._require_same_yields(read_manifest(folder)["sum_weights"])
        events = stored_events(folder, self.simulator.schema)
        self.simulator.shift(events.select([0]), {}, streams=Streams(0))
        return events

    @property
    def _shares(self) -> tuple[Share, Share]:
        """Which parts of a large data set are for training, and for the toys."""
        from fairuniverse.shuffling import N_TENTHS, WHOLE, Share

        if not self._is_one_file():
            return WHOLE, WHOLE
        border = round(TRAINING_FRACTION * N_TENTHS)
        return Share(0, border), Share(border, N_TENTHS)

    def _read(self, name: str) -> Events:
        """Weighted, labelled events of a file or folder that the simulator can shift."""
        path = self.folder / name
        if path.is_dir() and (dataset := self._data.dataset(name)):
            events = self.simulator.derive(dataset.read_all())
        else:
            events = self.simulator.derive(read_primary(path, self.simulator).events)
        if events.weights is None or events.process is None:
            raise InvalidDataError(f"{path} needs the columns weights and detailed_labels")
        if (events.weights < 0).any():
            n_negative = int((events.weights < 0).sum())
            raise InvalidDataError(f"{path} has {n_negative} negative weights: no toy can be drawn from them")
        empty = [p for p, total in events.sum_weights().items() if not total > 0]
        if empty:
            raise InvalidDataError(f"{path} has no weight of the process {empty[0]}: add events of it")
        # The organiser learns here, not every submission later, that the table lacks what a shift needs.
        self.simulator.shift(events.select([0]), {}, streams=Streams(0))
        return events

    def _is_one_file(self) -> bool:
        """Whether training events and pool come from the same file, to be split."""
        names = (self.config.training.file, self.config.pseudo_experiments.file)
        paths = [(self.folder / name).resolve() for name in names if name]
        return len(paths) == 2 and paths[0] == paths[1]

    def _require_same_yields(self, training: Mapping[str, float]) -> None:
        """Training events and toys must expect the same yields, process by process."""
        file = self.config.pseudo_experiments.file
        if dataset := self._data.large(file):
            expected = read_manifest(self._data.pool(dataset, self._shares[1]))["sum_weights"]
        elif file:
            expected = self.pool.sum_weights()
        else:
            expected = {p.name: p.expected_yield for p in self.simulator.processes}
        for process, total in training.items():
            if abs(total - expected[process]) > YIELD_TOLERANCE * expected[process]:
                raise InvalidDataError(
                    f"the training file expects {total:.6g} {process} events, the pseudo-experiments "
                    f"{expected[process]:.6g}: rescale the weights of each process, or mu is biased"
                )

    def _split(self, events: Events) -> tuple[Events, Events]:
        from fairuniverse.events import split

        return split(events, TRAINING_FRACTION, rng=generator(self.config.seed, "split"))

    def _require_known_names(self) -> None:
        """Names in the configuration must be the simulator's."""
        processes = [p.name for p in self.simulator.processes]
        nuisances = [p.name for p in self.simulator.nuisances]
        toys = self.config.pseudo_experiments
        named: tuple[tuple[tuple[str, ...], Mapping[Any, str], list[str]], ...] = (
            (("training", "n_events"), {p: p for p in self.config.training.n_events}, processes),
            (("pseudo_experiments", "n_events"), {p: p for p in toys.n_events}, processes),
            (("nuisances",), dict(enumerate(self.config.nuisances)), nuisances),
        )
        for setting, names, known in named:
            for key, name in names.items():
                if name not in known:
                    self._refuse_name((*setting, key), name, known)
        _require_source("training", self.config.training.n_events, self.config.training.file, processes)
        if toys.mode == "pool":
            _require_source("pseudo_experiments", toys.n_events, toys.file, processes)

    def _refuse_name(self, setting: tuple[str | int, ...], name: str, known: Sequence[str]) -> NoReturn:
        raise InvalidConfigError(
            f"{self._where(*setting)}{setting[0]}: unknown name {name!r}; {did_you_mean(name, known)}"
        )

    def _where(self, *setting: str | int) -> str:
        """File and line of a setting as the beginning of a message; nothing without a file."""
        from fairuniverse.config import locate_setting

        return f"{locate_setting(self.source, *setting)}: " if self.source else ""


class _LazySampler:
    """A sampler that is made at the first draw: reading truths costs no simulation."""

    def __init__(self, make: Callable[[], Sampler]) -> None:
        self._make = make

    @cached_property
    def _sampler(self) -> Sampler:
        return self._make()

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        return self._sampler.sample(mu, nuisances, streams=streams, n_threads=n_threads)


def _require_source(
    where: str, n_events: Mapping[str, int], file: str | None, processes: Sequence[str]
) -> None:
    if bool(n_events) == bool(file):
        raise InvalidConfigError(f"{where}: give either n_events (per process) or file")
    missing = [p for p in processes if p not in n_events]
    if n_events and missing:
        raise InvalidConfigError(f"{where}.n_events: no number for the process {missing[0]!r}")


def read_primary(path: Path, world: Simulator) -> Table:
    """Table of a world; its derived features may be missing."""
    from fairuniverse.tables import read_table

    names = [p.name for p in world.processes]
    return read_table(path, world.schema, names, required=world.schema.primary_names)
