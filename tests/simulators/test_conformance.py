"""Every registered simulator does what `fairuniverse.conformance` asks, and each fault is found."""

# ruff: noqa: D102 - a faulty simulator says in its class what is wrong with it

import numpy as np
import pytest
from fairuniverse.simulators.gaussian_2d import Gaussian2D

from fairuniverse import registry
from fairuniverse.conformance import check_simulator


@pytest.mark.parametrize("name", registry.names(registry.SIMULATORS))
def test_registered_simulators_conform(name):
    """No rule is broken, with the default options (false alarms: one in a million per comparison)."""
    assert check_simulator(registry.make_simulator(name, {})) == []


class WrongWeights(Gaussian2D):
    """Weights of the signal are twice what they should be."""

    def generate(self, n_events, **settings):
        events = super().generate(n_events, **settings)
        events.weights[events.process == 0] *= 2
        return events


class SameSeed(Gaussian2D):
    """Every seed gives the same events."""

    def generate(self, n_events, *, seed, **settings):
        return super().generate(n_events, seed=0, **settings)


class TakesAnything(Gaussian2D):
    """Processes that are not there have no events."""

    def generate(self, n_events, **settings):
        known = {p.name for p in self.processes}
        return super().generate({k: n for k, n in n_events.items() if k in known}, **settings)


class WeightsDrift(Gaussian2D):
    """A shift changes all weights a little."""

    def shift_with_rows(self, events, nuisances, **settings):
        shifted, rows = super().shift_with_rows(events, nuisances, **settings)
        shifted.weights[:] *= 1.001
        return shifted, rows

    def shift(self, events, nuisances, **settings):
        return self.shift_with_rows(events, nuisances, **settings)[0]


class DeafToNuisances(Gaussian2D):
    """Nuisance values are not looked at."""

    def shift(self, events, nuisances, **settings):
        return super().shift(events, {}, **settings)


class Changed:
    """A sampler whose toys are changed afterwards."""

    def __init__(self, sampler, change):
        self.sampler = sampler
        self.change = change

    def sample(self, mu, nuisances, **settings):
        toy = self.sampler.sample(mu, nuisances, **settings)
        return toy.select(self.change(toy))


class SortedToys(Gaussian2D):
    """The rows of a fresh toy are in order of their first feature."""

    def fresh_sampler(self):
        return Changed(super().fresh_sampler(), lambda toy: np.argsort(toy.features[0]))


class FreshToysLoseTheTail(Gaussian2D):
    """Fresh toys lack what toys from a pool have."""

    def fresh_sampler(self):
        return Changed(
            super().fresh_sampler(), lambda toy: toy.features[0] < np.quantile(toy.features[0], 0.8)
        )


class Remembers(Gaussian2D):
    """A toy depends on how many were drawn before."""

    n_drawn = 0

    def pool_sampler(self, pool):
        def drop_some(toy):
            self.n_drawn += 1
            return np.arange(self.n_drawn, len(toy))

        return Changed(super().pool_sampler(pool), drop_some)


@pytest.mark.parametrize(
    ("world", "code"),
    [
        (WrongWeights, "weights"),
        (SameSeed, "streams"),
        (TakesAnything, "processes"),
        (WeightsDrift, "nominal"),
        (DeafToNuisances, "shapes"),
        (SortedToys, "order"),
        (FreshToysLoseTheTail, "modes"),
        (Remembers, "toys"),
    ],
)
def test_each_fault_is_found(world, code):
    """The rule that is broken is named, says what was seen, and what it asks for."""
    findings = check_simulator(world(), n_events=20_000)
    assert code in {f.code for f in findings}
    assert all(f.found and f.remedy.endswith(".") for f in findings)


def test_faults_that_raise_are_findings():
    """A simulator that cannot do something at all does not hide the rest."""

    class NoFreshToys(Gaussian2D):
        def fresh_sampler(self):
            raise NotImplementedError("not yet")

    findings = check_simulator(NoFreshToys(), n_events=20_000)
    assert {f.code for f in findings} == {"toys", "modes", "order"}
    assert all("not yet" in f.found for f in findings)
