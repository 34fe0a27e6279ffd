"""What the command line offers, as functions: simulate, shift, draw, run, score, report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairuniverse.errors import InvalidConfigError, InvalidDataError
from fairuniverse.registry import find_config, find_submission, make_simulator
from fairuniverse.seeding import Streams, generator

if TYPE_CHECKING:
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.events import Events
    from fairuniverse.protocols import Sampler, Simulator
    from fairuniverse.pseudo_experiments import PseudoExperiments

TRAINING_FRACTION = 0.7
"""Share of a file that trains, where the same file is both training set and pool (as in the public challenge)."""


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def progress_bar(total: int, title: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Progress with rate and remaining time on standard error; silent when that is not a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=total, desc=title, unit=unit, unit_scale=True, delay=2, leave=False, disable=not sys.stderr.isatty()
    ) as bar:
        yield bar.update


class Benchmark:
    """A configuration made real: its simulator, training events and pseudo-experiments.

    Args:
        config: The configuration.
        folder: Folder that file names in the configuration are relative to.
        n_threads: Threads for simulating and drawing; no result depends on it.
    """

    def __init__(self, config: BenchmarkConfig, *, folder: Path | None = None, n_threads: int | None = None) -> None:
        self.config = config
        self.folder = folder or Path()
        self.n_threads = n_threads or n_cores()
        self._require_known_names()

    @classmethod
    def load(cls, name: str | Path, *, n_threads: int | None = None) -> Benchmark:
        """Benchmark of a YAML file, or of a configuration that comes with the package."""
        from fairuniverse.config import load_config

        path = find_config(name)
        return cls(load_config(path), folder=path.parent, n_threads=n_threads)

    @cached_property
    def simulator(self) -> Simulator:
        """The world of this benchmark."""
        return make_simulator(self.config.simulator.name, self.config.simulator.options)

    @cached_property
    def training_events(self) -> Events:
        """Nominal weighted events to learn from; disjoint from the pool of the pseudo-experiments."""
        training = self.config.training
        if training.file:
            events = self._read(training.file)
            return self._split(events)[0] if training.file == self.config.pseudo_experiments.file else events
        return self._simulate(training.n_events, "training")

    @cached_property
    def pool(self) -> Events:
        """Nominal weighted events from which pseudo-experiments are drawn."""
        toys = self.config.pseudo_experiments
        if toys.file:
            events = self._read(toys.file)
            return self._split(events)[1] if toys.file == self.config.training.file else events
        return self._simulate(toys.n_events, "pool")

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
        if self.config.pseudo_experiments.mode == "fresh":
            return self.simulator.fresh_sampler()
        sampler = self.simulator.pool_sampler(self.pool)
        del self.pool  # the sampler keeps what it needs in a layout of its own
        return sampler

    def _simulate(self, n_events: Mapping[str, int], purpose: str) -> Events:
        with progress_bar(sum(n_events.values()), f"simulating the {purpose} events", " events") as advance:
            return self.simulator.generate(
                n_events, seed=self.config.seed, purpose=purpose, n_threads=self.n_threads, progress=advance
            )

    def _read(self, name: str) -> Events:
        from fairuniverse.tables import read_events

        return read_events(self.folder / name, self.simulator.schema, [p.name for p in self.simulator.processes])

    def _split(self, events: Events) -> tuple[Events, Events]:
        from fairuniverse.events import split

        return split(events, TRAINING_FRACTION, rng=generator(self.config.seed, "split"))

    def _require_known_names(self) -> None:
        """Names in the configuration must be the simulator's."""
        processes = [p.name for p in self.simulator.processes]
        nuisances = [p.name for p in self.simulator.nuisances]
        toys = self.config.pseudo_experiments
        for where, names, known in (
            ("training.n_events", self.config.training.n_events, processes),
            ("pseudo_experiments.n_events", toys.n_events, processes),
            ("nuisances", self.config.nuisances, nuisances),
        ):
            unknown = sorted(set(names) - set(known))
            if unknown:
                raise InvalidConfigError(f"{where}: {unknown[0]!r} is not one of {', '.join(known)}")
        _require_source("training", self.config.training.n_events, self.config.training.file, processes)
        if toys.mode == "pool":
            _require_source("pseudo_experiments", toys.n_events, toys.file, processes)


class _LazySampler:
    """A sampler that is made at the first draw: reading truths costs no simulation."""

    def __init__(self, make: Callable[[], Sampler]) -> None:
        self._make = make

    @cached_property
    def _sampler(self) -> Sampler:
        return self._make()

    def sample(self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1) -> Events:
        return self._sampler.sample(mu, nuisances, streams=streams, n_threads=n_threads)


def _require_source(where: str, n_events: Mapping[str, int], file: str | None, processes: Sequence[str]) -> None:
    if bool(n_events) == bool(file):
        raise InvalidConfigError(f"{where}: give either n_events (per process) or file")
    missing = [p for p in processes if p not in n_events]
    if n_events and missing:
        raise InvalidConfigError(f"{where}.n_events: no number for the process {missing[0]!r}")
