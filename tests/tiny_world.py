"""A world of two features that is simulated in microseconds: a signal peak on a flat background."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fairuniverse.events import Events, Feature, Schema, concatenate
from fairuniverse.nuisance import Normal, NuisanceParameter, complete, normalisation
from fairuniverse.protocols import Process
from fairuniverse.seeding import Streams, generator

SCHEMA = Schema(
    (Feature("x", "", "Peaks at 5 for the signal."), Feature("z", "", "Same for both processes.")),
    (Feature("raw", "", "x before the scale."),),
)
PROCESSES = (Process("signal", 50.0, is_signal=True), Process("background", 400.0))
NUISANCES = (
    NuisanceParameter("scale", Normal(1.0, 0.01), 1.0, (0.9, 1.1), "shape"),
    NuisanceParameter("bkg_scale", Normal(1.0, 0.05), 1.0, (0.5, 1.5), "normalisation", ("background",)),
)


class Simulator:
    """Two processes in x: signal N(5, 0.5), background U(0, 10); both U(0, 1) in z.

    Args:
        width: Standard deviation of the signal.
    """

    schema = SCHEMA
    processes = PROCESSES
    nuisances = NUISANCES

    def __init__(self, width: float = 0.5) -> None:
        self.width = width

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
        """Nominal weighted events."""
        blocks = []
        for code, process in enumerate(self.processes):
            n = n_events.get(process.name, 0)
            rng = generator(seed, f"{purpose}:{process.name}")
            x = rng.normal(5, self.width, n) if process.is_signal else rng.uniform(0, 10, n)
            features = np.stack([x, rng.uniform(size=n)]).astype(np.float32)
            weights = np.full(n, process.expected_yield / max(n, 1))
            codes = np.full(n, code, dtype=np.uint8)
            names = tuple(p.name for p in self.processes)
            blocks.append(Events(SCHEMA, features, weights, codes, names, features[:1].copy()))
        return concatenate(blocks)

    def shift(
        self, events: Events, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """X = scale * raw, selected below 10."""
        return self.shift_with_rows(events, nuisances, streams=streams)[0]

    def shift_with_rows(self, events, nuisances, *, streams, noise=None, n_threads=1):
        """As `shift`, with the rows that survive."""
        values = complete(self.nuisances, nuisances)
        features = events.features.copy()
        features[0] = events.record[0] * np.float32(values["scale"])
        factors = np.array([normalisation(self.nuisances, values, p.name) for p in self.processes])
        weights = events.weights * factors[events.process]
        shifted = Events(SCHEMA, features, weights, events.process, events.processes)
        rows = np.flatnonzero(features[0] < 10)
        return shifted.select(rows), rows

    def pool_sampler(self, pool: Events) -> Sampler:
        """Toys from a pool."""
        return Sampler(self, pool)

    def fresh_sampler(self) -> Sampler:
        """Not needed by any test."""
        raise NotImplementedError


class Sampler:
    """Poisson counts of a pool's rows; its buffer is reused by the next toy, as samplers may."""

    def __init__(self, simulator: Simulator, pool: Events) -> None:
        self.simulator = simulator
        self.pool = pool
        self.buffer = np.empty((2, 10_000), dtype=np.float32)

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """One toy, in the buffer."""
        rows = []
        for code, process in enumerate(self.simulator.processes):
            strength = mu if process.is_signal else normalisation(NUISANCES, nuisances, process.name)
            n = streams.rng(f"counts:{process.name}").poisson(strength * process.expected_yield)
            of_process = np.flatnonzero(self.pool.process == code)
            rows.append(streams.rng(f"rows:{process.name}").choice(of_process, n))
        order = streams.rng("order").permutation(np.concatenate(rows))
        shifted = self.simulator.shift(self.pool.select(order), nuisances, streams=streams)
        toy = self.buffer[:, : len(shifted)]
        toy[:] = shifted.features
        return Events(SCHEMA, toy)
