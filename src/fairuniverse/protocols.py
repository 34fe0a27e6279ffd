"""What the machinery asks of a simulator, a submission and a score: one Protocol each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fairuniverse.events import Events, Schema
    from fairuniverse.nuisance import NuisanceParameter
    from fairuniverse.results import Results
    from fairuniverse.seeding import Streams

ONE_SIGMA_CL = 0.6827
"""Confidence level of the central 1-sigma interval, as the public challenge rounds it."""


@dataclass(frozen=True)
class Process:
    """One physics process of a world.

    Attributes:
        name: Its name, as in the files.
        expected_yield: Expected number of events at mu = 1 and nominal nuisances, before event selection.
        is_signal: Whether its yield is proportional to mu.
    """

    name: str
    expected_yield: float
    is_signal: bool = False


@dataclass(frozen=True)
class Interval:
    """What a method answers: an estimate of mu and a confidence interval.

    Attributes:
        mu_hat: Point estimate of mu.
        lower: Lower end of the interval.
        upper: Upper end of the interval.
    """

    mu_hat: float
    lower: float
    upper: float


@runtime_checkable
class Sampler(Protocol):
    """Source of pseudo-experiments."""

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """One unweighted, unlabelled pseudo-experiment, selected, its rows in an order without information.

        Args:
            mu: Signal strength.
            nuisances: Value of every nuisance parameter of the simulator.
            streams: Random streams of this toy.
            n_threads: Threads to use; the answer does not depend on it.

        Returns:
            Events without weights, process codes and record. The arrays may be views of buffers that the
            next call reuses.
        """
        ...


@runtime_checkable
class Simulator(Protocol):
    """A world one can measure in."""

    @property
    def schema(self) -> Schema:
        """Columns of its event table."""
        ...

    @property
    def processes(self) -> tuple[Process, ...]:
        """Its processes with their expected yields."""
        ...

    @property
    def nuisances(self) -> tuple[NuisanceParameter, ...]:
        """Its nuisance parameters with their priors."""
        ...

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
        """Nominal weighted events, a given number per process; weights sum to the expected yields.

        Args:
            n_events: Number of events of each process; processes left out have none.
            seed: Seed of the benchmark.
            purpose: Name of the streams: samples of different purposes are independent.
            prescale: Of events that do not resemble the signal one in so many is kept, with so many times the
                weight; fewer than `n_events` are returned.
            n_threads: Threads to use; the answer does not depend on it.
            progress: Called with the number of events that were just finished, from any thread.
        """
        ...

    def shift(
        self, events: Events, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        """The same events under other nuisance values: features shifted, events selected, weights scaled.

        Events are shifted once, from their nominal values; shifted ones need not carry what a shift needs.
        Several threads may shift the same events at once.
        """
        ...

    def shift_with_rows(
        self,
        events: Events,
        nuisances: Mapping[str, float],
        *,
        streams: Streams,
        noise: NDArray[np.floating] | None = None,
        n_threads: int = 1,
    ) -> tuple[Events, NDArray[np.int64]]:
        """As `shift`, with the index of the input row of every surviving event, shape (n_selected,).

        Args:
            events: Nominal events.
            nuisances: Values of nuisance parameters; those left out are nominal.
            streams: Random streams of the noise.
            noise: Unit noise per input event instead of random noise, shape (2, n_events).
            n_threads: Threads to use; the answer does not depend on it.
        """
        ...

    def derive(self, events: Events) -> Events:
        """The same events with the derived features computed anew from the primary ones."""
        ...

    def pool_sampler(self, pool: Events) -> Sampler:
        """Pseudo-experiments drawn with replacement from a pool of weighted nominal events."""
        ...

    def fresh_sampler(self) -> Sampler:
        """Pseudo-experiments of newly simulated events."""
        ...


@runtime_checkable
class KnowsAcceptance(Protocol):
    """A simulator that knows which part of the generated events it selects."""

    def acceptances(
        self, n_events: Mapping[str, int], *, seed: int, purpose: str = "simulate"
    ) -> dict[str, dict[str, float]]:
        """``acceptance`` and leading-order ``expected_yield`` of the processes, for the metadata of a table.

        Args:
            n_events: Number of events of each process, as for `Simulator.generate`.
            seed: Seed of the benchmark.
            purpose: Name of the streams.

        Returns:
            Numbers of each process with events; nothing if unknown.
        """
        ...


@dataclass(frozen=True, eq=False)
class EventBlock:
    """Some selected events of one process, made together.

    Attributes:
        events: The events; their weights are right relative to those of other blocks of the process, each
            taken with its own number of tried events.
        extra: Columns beyond the schema by name, each of shape (n_events,); ``row`` numbers the generated
            event that each one comes from.
        statistics: Numbers for the block's metadata: at least ``n_tried`` events begun, the ``acceptance``
            and ``expected_yield`` they give, and ``cpu_s``.
    """

    events: Events
    extra: Mapping[str, NDArray[Any]]
    statistics: Mapping[str, float]


class BlockSource(Protocol):
    """A simulation so slow that its events are made in blocks, by many processes, in many sittings."""

    @property
    def world(self) -> str:
        """Name of the simulator whose events these are."""
        ...

    @property
    def schema(self) -> Schema:
        """Columns of its event table."""
        ...

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes of the world with their expected yields."""
        ...

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the processes that it can make."""
        ...

    @property
    def sample(self) -> Path | None:
        """Table of a sample that was made with it and comes with it; None if there is none."""
        ...

    @property
    def digest(self) -> str:
        """Short text that differs if anything but seed, process and block number makes other events."""
        ...

    def provenance(self) -> Mapping[str, Any]:
        """What the manifest says about the origin of the events."""
        ...

    def make_block(
        self, process: str, number: int, *, seed: int, variations: Sequence[Mapping[str, float]] = ({},)
    ) -> list[EventBlock]:
        """One block, a pure function of digest, seed, process and number.

        Args:
            process: One of `available`.
            number: Number of the block, from 0.
            seed: Seed of the sample.
            variations: Values of nuisance parameters, applied where they arise: one answer for each, of the
                same generated events.
        """
        ...


class Densities(Protocol):
    """Exact probability densities of a world's processes, which a simulator offers as `densities`.

    `fairuniverse.likelihood.DensityModel` makes of them the exact likelihood, its Fisher information and the
    best classifier.
    """

    @property
    def processes(self) -> tuple[Process, ...]:
        """Processes with their expected yields."""
        ...

    @property
    def nuisances(self) -> tuple[NuisanceParameter, ...]:
        """All nuisance parameters."""
        ...

    def log_densities(self, x: NDArray[np.float64], nuisances: Mapping[str, float]) -> NDArray[np.float64]:
        """Logarithm of each process' density, normalised to one, shape (n_processes, n_events).

        Args:
            x: Features of the events, shape (n_features, n_events).
            nuisances: Value of every nuisance parameter.
        """
        ...

    def scores(
        self, x: NDArray[np.float64], nuisances: Mapping[str, float]
    ) -> Mapping[str, NDArray[np.float64]]:
        """Derivative of `log_densities` in each shape nuisance, by name; arguments as there."""
        ...

    def quadrature(self, nuisances: Mapping[str, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Nodes, shape (n_features, n_nodes), and weights of a rule that integrates over the features."""
        ...


@dataclass(frozen=True)
class ScoreValue:
    """Value of one score.

    Attributes:
        name: Key in ``scores.json``.
        value: The value; None if it cannot be computed from these results.
        error: Its standard error; None where there is none.
        unit: Unit, empty for a pure number.
        higher_is_better: Direction; None for a diagnostic without one.
        n_toys: Number of pseudo-experiments that went in.
        n_failed: How many of them had no valid answer.
        meaning: One sentence for the report.
    """

    name: str
    value: float | None
    error: float | None
    unit: str
    higher_is_better: bool | None
    n_toys: int
    n_failed: int
    meaning: str = ""


class Score(Protocol):
    """A function of the results table of one submission."""

    def __call__(self, results: Results) -> tuple[ScoreValue, ...]:
        """The score's value, with its companions (a score may report several numbers)."""
        ...


class Model(Protocol):
    """What ``model.py`` of a submission defines."""

    def fit(self, train: Any) -> None:
        """Learn from a `fairuniverse.training.TrainingSet`."""
        ...

    def predict(self, test: pd.DataFrame) -> Interval | Mapping[str, float]:
        """Estimate mu and its interval from the features of one pseudo-experiment."""
        ...
