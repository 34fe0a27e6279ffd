"""Pseudo-experiments ("toys"): which truth each one has, and the events drawn for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.nuisance import NuisanceParameter, complete
from fairuniverse.protocols import Sampler, Simulator
from fairuniverse.seeding import Streams, generator


@dataclass(frozen=True)
class Truth:
    """What a submission may never see.

    Attributes:
        i_mu: Index of the set of toys that share one mu.
        i_toy: Index of the toy within its set.
        mu: True signal strength.
        nuisances: True value of every nuisance parameter.
    """

    i_mu: int
    i_toy: int
    mu: float
    nuisances: Mapping[str, float]


@dataclass(frozen=True)
class PseudoExperiment:
    """One toy: the events a submission may see, and apart from them the truth it may not."""

    events: Events
    truth: Truth


class PseudoExperiments:
    """The toys of a benchmark, each a function of its key (seed, mu index, toy index) alone.

    Protocol of the public challenge (arXiv:2410.02867, section 5): mu ~ U(mu_range) once per set, the
    nuisance parameters anew for every toy.

    Args:
        sampler: Source of the events.
        parameters: Nuisance parameters of the simulator.
        seed: Seed of the benchmark.
        n_mu: Number of sets.
        n_toys: Number of toys per set.
        mu_range: Smallest and largest mu.
        floating: Names of the nuisance parameters drawn from their priors; the others stay nominal. A
            parameter left out changes no draw of the others.
        mu_values: Fixed mu of each set, instead of draws; length n_mu.
    """

    def __init__(
        self,
        sampler: Sampler,
        parameters: Sequence[NuisanceParameter],
        *,
        seed: int,
        n_mu: int,
        n_toys: int,
        mu_range: tuple[float, float],
        floating: Sequence[str],
        mu_values: Sequence[float] | None = None,
    ) -> None:
        unknown = sorted(set(floating) - {p.name for p in parameters})
        if unknown:
            known = ", ".join(p.name for p in parameters)
            raise InvalidDataError(f"no nuisance parameter {unknown[0]!r}; the simulator has {known}")
        if mu_values is not None and len(mu_values) != n_mu:
            raise InvalidDataError(f"{len(mu_values)} mu values for n_mu = {n_mu}: give one per set")
        self.sampler = sampler
        self.parameters = tuple(parameters)
        self.seed = seed
        self.n_mu = n_mu
        self.n_toys = n_toys
        self.mu_range = mu_range
        self.floating = tuple(floating)
        self.mu_values = None if mu_values is None else tuple(map(float, mu_values))

    def __len__(self) -> int:
        return self.n_mu * self.n_toys

    def mu(self, i_mu: int) -> float:
        """True mu of one set."""
        if self.mu_values is not None:
            return self.mu_values[i_mu]
        return float(generator(self.seed, "mu", i_mu).uniform(*self.mu_range))

    def truth(self, i_mu: int, i_toy: int) -> Truth:
        """Truth of one toy.

        Raises:
            InvalidDataError: An index is out of range.
        """
        if not (0 <= i_mu < self.n_mu and 0 <= i_toy < self.n_toys):
            raise InvalidDataError(f"no toy ({i_mu}, {i_toy}): there are {self.n_mu} sets of {self.n_toys}")
        streams = Streams(self.seed, i_mu, i_toy)
        nuisances = {
            p.name: p.draw(rng=streams.rng(f"nuisance:{p.name}")) if p.name in self.floating else p.nominal
            for p in self.parameters
        }
        return Truth(i_mu, i_toy, self.mu(i_mu), nuisances)

    def truths(self) -> list[Truth]:
        """Truth of every toy, set by set."""
        return [self.truth(i, j) for i in range(self.n_mu) for j in range(self.n_toys)]

    def draw(self, truth: Truth, *, n_threads: int = 1) -> PseudoExperiment:
        """The toy of that truth. Its arrays may be views of buffers that the next draw reuses."""
        streams = Streams(self.seed, truth.i_mu, truth.i_toy)
        events = self.sampler.sample(truth.mu, truth.nuisances, streams=streams, n_threads=n_threads)
        return PseudoExperiment(events, truth)


def asimov(
    simulator: Simulator, events: Events, mu: float, nuisances: Mapping[str, float], *, seed: int = 0
) -> Events:
    """Asimov data set: the expected events at (mu, nuisances), weighted and without fluctuation.

    Estimators evaluated on it return the true parameters (Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727,
    section 3.2). Noise of the nuisance parameters is drawn from a stream of the seed.

    Args:
        simulator: The world.
        events: Nominal weighted labelled events of that world.
        mu: Signal strength.
        nuisances: Values of nuisance parameters; those left out are nominal.
        seed: Seed of the noise.

    Returns:
        Weighted labelled events, selected.
    """
    shifted = simulator.shift(events, complete(simulator.nuisances, nuisances), streams=Streams(seed, 0))
    if shifted.weights is None or shifted.process is None:
        raise InvalidDataError("an Asimov data set needs weights and process labels; these events lack them")
    strength = np.array([mu if p.is_signal else 1.0 for p in simulator.processes])
    return replace(shifted, weights=shifted.weights * strength[shifted.process])
