"""Worlds whose events follow a known distribution: the whole simulator from three functions of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidConfigError, InvalidDataError, did_you_mean
from fairuniverse.events import Events, Schema, concatenate
from fairuniverse.nuisance import NuisanceParameter, complete, normalisation
from fairuniverse.pools import RowBuffer, StoredPool
from fairuniverse.protocols import Densities, Process
from fairuniverse.seeding import Streams, generator

BLOCK = 1 << 16
"""Events of one random stream."""


class AnalyticSimulator(ABC):
    """A simulator of independent events with exact densities, without selection or derived features.

    A world says how to draw nominal events and how nuisances move them. Nuisances must act on each event by a
    function of its nominal features and its process, so that shifted events are the same events.

    Args:
        schema: Columns of the events.
        densities: Exact densities, with the processes and nuisance parameters.
    """

    def __init__(self, schema: Schema, densities: Densities) -> None:
        self._schema = schema
        self._densities = densities

    @abstractmethod
    def draw_nominal(self, process: str, n_events: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Nominal events of one process, shape (n_features, n_events)."""

    @abstractmethod
    def move(
        self, features: NDArray[np.float32], process: str, nuisances: Mapping[str, float]
    ) -> NDArray[np.float32]:
        """Nominal events of one process under nuisance values, shape (n_features, n_events)."""

    @property
    def schema(self) -> Schema:
        """Columns of its event table."""
        return self._schema

    @property
    def densities(self) -> Densities:
        """The exact probability densities of the processes."""
        return self._densities

    @property
    def processes(self) -> tuple[Process, ...]:
        """Its processes with their expected yields."""
        return self._densities.processes

    @property
    def nuisances(self) -> tuple[NuisanceParameter, ...]:
        """Its nuisance parameters with their priors."""
        return self._densities.nuisances

    def is_signal_like(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether an event is likelier in the signal than in the backgrounds together, (n_events,)."""
        logs = self._densities.log_densities(features.astype(np.float64), complete(self.nuisances, {}))
        is_signal = np.array([p.is_signal for p in self.processes])
        yields = np.array([p.expected_yield for p in self.processes])
        signal, background = (
            (yields * rows / yields[rows].sum()) @ np.exp(logs) for rows in (is_signal, ~is_signal)
        )
        return np.asarray(signal > background)

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
        """Nominal weighted events; the weights of a process sum to its expected yield.

        Args:
            n_events: How many events of each process; processes not named get none.
            seed: Seed of the benchmark.
            purpose: What the events are for; other purposes give independent events.
            prescale: Of events that do not resemble the signal one in so many is kept, with so many times the
                weight; fewer than `n_events` are returned.
            n_threads: Threads to use; the bytes do not depend on it.
            progress: Called with the number of events that were just finished, from any thread.

        Raises:
            InvalidDataError: An unknown process, a negative number, or a prescale below 1.
        """
        names = [p.name for p in self.processes]
        unknown = sorted(set(n_events) - set(names))
        if unknown or any(n < 0 for n in n_events.values()):
            raise InvalidDataError(f"events per process {dict(n_events)}: give counts of {', '.join(names)}")
        if prescale < 1:
            raise InvalidDataError(f"prescale = {prescale} must be at least 1: one event in so many is kept")
        parts = []
        for code, process in enumerate(self.processes):
            n = int(n_events.get(process.name, 0))
            streams = Streams(seed)
            features = self._draw(process.name, n, streams, purpose, n_threads, progress)
            weights = np.ones(n)
            if prescale > 1 and n:
                rng = streams.rng(f"{purpose}:prescale:{process.name}")
                signal_like = self.is_signal_like(features)
                kept = signal_like | (rng.integers(prescale, size=n) == 0)
                features = np.compress(kept, features, axis=1)
                weights = np.where(signal_like, 1.0, prescale)[kept]
            weights *= process.expected_yield / (weights.sum() or 1.0)
            codes = np.full(len(weights), code, dtype=np.uint8)
            parts.append(Events(self.schema, features, weights, codes, tuple(names)))
        return concatenate(parts)

    def shift(
        self, events: Events, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """The same events under other nuisance values, weights scaled by the normalisations."""
        return self.shift_with_rows(events, nuisances, streams=streams)[0]

    def shift_with_rows(
        self,
        events: Events,
        nuisances: Mapping[str, float],
        *,
        streams: Streams,
        noise: NDArray[np.floating] | None = None,
        n_threads: int = 1,
    ) -> tuple[Events, NDArray[np.int64]]:
        """As `shift`, with the input row of every event: all survive, and there is no noise to replace.

        Raises:
            InvalidDataError: An unknown nuisance, a value out of range, or events without process codes.
        """
        values = complete(self.nuisances, nuisances)
        if events.process is None:
            raise InvalidDataError("nuisances act process by process: these events lack process codes")
        features = np.empty_like(events.features)
        weights = None if events.weights is None else events.weights.copy()
        for code, process in enumerate(self.processes):
            rows = np.flatnonzero(events.process == code)
            features[:, rows] = self.move(events.features[:, rows], process.name, values)
            if weights is not None:
                weights[rows] *= normalisation(self.nuisances, values, process.name)
        shifted = Events(self.schema, features, weights, events.process, events.processes)
        return shifted, np.arange(len(events))

    def derive(self, events: Events) -> Events:
        """The same events: no feature is derived from others."""
        return events

    def pool_sampler(self, pool: Events) -> AnalyticSampler:
        """Pseudo-experiments drawn with replacement from a pool of weighted nominal events."""
        return PoolSampler(self, pool)

    def pool_rows(self, events: Events) -> NDArray[np.float32]:
        """What a pool on disk holds of each event: its features, shape (n_events, n_features)."""
        return np.ascontiguousarray(events.features.T)

    def stored_pool_sampler(self, pool: StoredPool) -> StoredSampler:
        """Pseudo-experiments drawn from a pool on disk."""
        return StoredSampler(self, pool)

    def fresh_sampler(self) -> AnalyticSampler:
        """Pseudo-experiments of newly simulated events: no two share any."""
        return FreshSampler(self)

    def _draw(
        self,
        process: str,
        n_events: int,
        streams: Streams,
        purpose: str,
        n_threads: int = 1,
        progress: Callable[[int], object] | None = None,
    ) -> NDArray[np.float32]:
        features = np.empty((len(self.schema.features), n_events), dtype=np.float32)

        def fill(block: int) -> None:
            part = features[:, block * BLOCK : (block + 1) * BLOCK]
            rng = generator(streams.seed, f"{purpose}:{process}", *streams.indices, block)
            part[:] = self.draw_nominal(process, part.shape[1], rng)
            if progress is not None:
                progress(part.shape[1])

        _in_threads(fill, -(-n_events // BLOCK), n_threads)
        return features


class AnalyticSampler(ABC):
    """Pseudo-experiments of an analytic world: Poisson counts, events, nuisances, an order without meaning.

    Args:
        simulator: The world.
    """

    def __init__(self, simulator: AnalyticSimulator) -> None:
        self._simulator = simulator

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """One unweighted, unlabelled pseudo-experiment.

        Raises:
            InvalidDataError: A negative mu, or nuisance values out of range.
            StorageError: The pool cannot be read.
        """
        if not mu >= 0:
            raise InvalidDataError(f"mu = {mu}: a signal yield cannot be negative, draw with mu >= 0")
        world = self._simulator
        values = complete(world.nuisances, nuisances)
        strengths = {
            p.name: (mu if p.is_signal else 1.0) * normalisation(world.nuisances, values, p.name)
            for p in world.processes
        }
        nominal = self._nominal(strengths, streams, n_threads)
        features = np.concatenate([world.move(x, name, values) for name, x in nominal], axis=1)
        order = streams.rng("order").permutation(features.shape[1])
        return Events(world.schema, np.take(features, order, axis=1))

    @abstractmethod
    def _nominal(
        self, strengths: Mapping[str, float], streams: Streams, n_threads: int
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Nominal events of each process, of Poisson number with its expected yield times its strength."""


class _CountingSampler(AnalyticSampler):
    """Draws the numbers of events itself."""

    def _nominal(
        self, strengths: Mapping[str, float], streams: Streams, n_threads: int
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        for process in self._simulator.processes:
            expected = process.expected_yield * strengths[process.name]
            n = int(streams.rng(f"counts:{process.name}").poisson(expected))
            yield process.name, self._draw(process.name, n, streams, n_threads)

    @abstractmethod
    def _draw(self, process: str, n: int, streams: Streams, n_threads: int) -> NDArray[np.float32]:
        """Nominal events of one process, shape (n_features, n)."""


class FreshSampler(_CountingSampler):
    """Newly simulated events: no two pseudo-experiments share any."""

    def _draw(self, process: str, n: int, streams: Streams, n_threads: int) -> NDArray[np.float32]:
        return self._simulator._draw(process, n, streams, "fresh", n_threads)


class PoolSampler(_CountingSampler):
    """Draws with replacement from a pool in memory.

    Args:
        simulator: The world.
        pool: Weighted nominal events.

    Raises:
        InvalidDataError: The events lack weights or process codes.
    """

    def __init__(self, simulator: AnalyticSimulator, pool: Events) -> None:
        super().__init__(simulator)
        if pool.weights is None or pool.process is None:
            raise InvalidDataError("a pool needs weights and process codes; these events lack them")
        self._rows = {}
        for code, name in enumerate(pool.processes):
            chosen = pool.process == code
            cumulative = np.cumsum(pool.weights[chosen])
            cumulative /= cumulative[-1] if len(cumulative) else 1.0
            self._rows[name] = pool.features[:, chosen], cumulative

    def _draw(self, process: str, n: int, streams: Streams, n_threads: int) -> NDArray[np.float32]:
        features, cumulative = self._rows[process]
        if n and not len(cumulative):
            raise InvalidDataError(f"the pool has no {process} event: simulate some")
        rng = streams.rng(f"rows:{process}")
        return features[:, np.searchsorted(cumulative, rng.random(n), side="right")]


class StoredSampler(AnalyticSampler):
    """Draws with replacement from a pool on disk.

    Args:
        simulator: The world.
        pool: Rows of nominal features.
    """

    def __init__(self, simulator: AnalyticSimulator, pool: StoredPool) -> None:
        super().__init__(simulator)
        self._pool = pool

    def _nominal(
        self, strengths: Mapping[str, float], streams: Streams, n_threads: int
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        for drawn in self._pool.draw(strengths, streams=streams):
            rows, chosen = drawn.read(0, len(drawn), RowBuffer(self._pool.width))
            yield drawn.process, np.ascontiguousarray(rows[chosen].T)


def _in_threads(work: Callable[[int], None], n: int, n_threads: int) -> None:
    if n_threads == 1 or n < 2:
        for i in range(n):
            work(i)
        return
    with ThreadPoolExecutor(n_threads) as threads:
        list(threads.map(work, range(n)))


def require_option(name: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse the value of an option that is none of those allowed.

    Raises:
        InvalidConfigError: It is not.
    """
    if value not in allowed:
        words = f"{name} = {value!r} is not allowed"
        raise InvalidConfigError(f"{words}: {did_you_mean(value, map(str, allowed))}", option=name)


def require_positive(**options: float) -> None:
    """Refuse options that are not finite numbers above zero.

    Raises:
        InvalidConfigError: One is not.
    """
    for name, value in options.items():
        if not 0 < value < np.inf:
            raise InvalidConfigError(f"{name} = {value!r} must be a positive number", option=name)


def product_rule(
    *axes: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes, shape (n_axes, n_nodes), and weights of the product of one-dimensional rules."""
    nodes = np.stack([a.ravel() for a in np.meshgrid(*(x for x, _ in axes), indexing="ij")])
    weights = np.ones(1)
    for _, w in axes:
        weights = np.multiply.outer(weights, w).ravel()
    return nodes, weights


def trapezoid(low: float, high: float, step: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Equidistant rule for smooth integrands that vanish at both ends: nodes and weights."""
    nodes = np.arange(low, high + step, step)
    return nodes, np.full(len(nodes), step)
