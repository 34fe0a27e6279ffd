"""A small version of a benchmark: the same world with a share of its events, for a check of seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.config import BenchmarkConfig
from fairuniverse.events import Events, Schema
from fairuniverse.nuisance import NuisanceParameter
from fairuniverse.protocols import Process, Sampler, Simulator
from fairuniverse.pseudo_experiments import PseudoExperiments
from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSpec, load_simulator, locate, training_seed

N_TRAINING = 40_000
"""Training events of a check, and events of the pool that its toys are drawn from."""

N_PER_PROCESS = 1_500
"""Least number of them for one process."""

N_TOY_EVENTS = 50_000
"""Events in one toy; worlds whose toys are smaller are not scaled down."""

N_TOYS = 3

_SEED = 20_250_501


class ScaledWorld:
    """A simulator whose processes have a share of their yields, and which is the same otherwise.

    Args:
        location: Where the simulator's class is, as for `fairuniverse.training.load_simulator`.
        options: Its options.
        share: What the yields are multiplied by.
    """

    def __init__(self, location: str, options: Mapping[str, Any], share: float) -> None:
        self._world = load_simulator(location, options)
        self._share = share

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._world, name)

    @property
    def schema(self) -> Schema:
        """That of the world."""
        return self._world.schema

    @property
    def processes(self) -> tuple[Process, ...]:
        """Those of the world, with a share of their yields."""
        return tuple(replace(p, expected_yield=p.expected_yield * self._share) for p in self._world.processes)

    @property
    def nuisances(self) -> tuple[NuisanceParameter, ...]:
        """Those of the world."""
        return self._world.nuisances

    def generate(
        self,
        n_events: Mapping[str, int],
        *,
        seed: int,
        purpose: str = "simulate",
        prescale: int = 1,
        n_threads: int = 1,
        progress: Callable[[int], object] | None = None,
    ) -> Events:
        """Events of the world, with a share of their weights."""
        events = self._world.generate(
            n_events, seed=seed, purpose=purpose, prescale=prescale, n_threads=n_threads, progress=progress
        )
        assert events.weights is not None
        return replace(events, weights=events.weights * self._share)

    def shift(
        self, events: Events, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """As the world does."""
        return self._world.shift(events, nuisances, streams=streams, n_threads=n_threads)

    def shift_with_rows(
        self,
        events: Events,
        nuisances: Mapping[str, float],
        *,
        streams: Streams,
        noise: NDArray[np.floating] | None = None,
        n_threads: int = 1,
    ) -> tuple[Events, NDArray[np.int64]]:
        """As the world does."""
        return self._world.shift_with_rows(
            events, nuisances, streams=streams, noise=noise, n_threads=n_threads
        )

    def derive(self, events: Events) -> Events:
        """As the world does."""
        return self._world.derive(events)

    def pool_sampler(self, pool: Events) -> Sampler:
        """As the world does; weights of a pool made here are those of the share already."""
        return self._world.pool_sampler(pool)

    def fresh_sampler(self) -> Sampler:
        """Toys of the world, of whose events a share is kept at random: Poisson counts stay such."""
        return _Thinned(self._world.fresh_sampler(), self._share)


@dataclass(frozen=True)
class _Thinned:
    """A sampler that keeps a share of the events."""

    sampler: Sampler
    share: float

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        toy = self.sampler.sample(mu, nuisances, streams=streams, n_threads=n_threads)
        return toy.select(streams.rng("thinning").random(len(toy)) < self.share)


@dataclass(frozen=True)
class SmallBenchmark:
    """A benchmark's world with a few thousand training events and a few small toys.

    Attributes:
        config: The benchmark's configuration.
        world: Its simulator.
    """

    config: BenchmarkConfig
    world: Simulator

    @property
    def n_toy_events(self) -> float:
        """Expected events in a toy of the benchmark itself."""
        return sum(p.expected_yield for p in self.world.processes)

    @property
    def share(self) -> float:
        """Size of a toy here over that of the benchmark's; exact densities are those of whole yields."""
        if hasattr(self.world, "densities"):
            return 1.0
        return min(1.0, N_TOY_EVENTS / self.n_toy_events)

    @cached_property
    def simulator(self) -> Simulator:
        """The scaled world."""
        return ScaledWorld(**self._scaled())

    @cached_property
    def training_events(self) -> Events:
        """Nominal weighted events to learn from."""
        return self._generate("training", self.config.training.prescale)

    @property
    def training_ratio(self) -> float | None:
        """Training events of the benchmark itself over those here; None where a file holds them."""
        wanted = sum(self.config.training.n_events.values())
        return wanted / sum(self._n_events.values()) if wanted else None

    @cached_property
    def toys(self) -> list[Events]:
        """Small toys of different mu, their nuisance values from the priors."""
        low, high = self.config.mu_range
        drawn = PseudoExperiments(
            self.simulator.pool_sampler(self._generate("pool")),
            self.simulator.nuisances,
            seed=_SEED,
            n_mu=N_TOYS,
            n_toys=1,
            mu_range=self.config.mu_range,
            floating=self.config.nuisances,
            mu_values=np.linspace(low, high, N_TOYS + 2)[1:-1].tolist(),
        )
        return [_own(drawn.draw(truth).events) for truth in drawn.truths()]

    @property
    def spec(self) -> TrainingSpec:
        """What a worker must know."""
        return TrainingSpec(
            simulator=locate(self.simulator),
            options=self._scaled(),
            seed=training_seed(_SEED),
            nuisances=self.config.nuisances,
            mu_range=self.config.mu_range,
            confidence_level=self.config.confidence_level,
        )

    def _scaled(self) -> dict[str, Any]:
        return {
            "location": locate(self.world),
            "options": self.config.simulator.options,
            "share": self.share,
        }

    @cached_property
    def _n_events(self) -> dict[str, int]:
        """Events per process, in proportion to the yields, but enough of each."""
        total = self.n_toy_events
        return {
            p.name: max(round(N_TRAINING * p.expected_yield / total), N_PER_PROCESS)
            for p in self.world.processes
        }

    def _generate(self, purpose: str, prescale: int = 1) -> Events:
        return self.simulator.generate(
            self._n_events, seed=_SEED, purpose=f"check {purpose}", prescale=prescale
        )


def _own(events: Events) -> Events:
    """The events in memory of their own: samplers reuse theirs."""
    return replace(events, features=events.features.copy())
