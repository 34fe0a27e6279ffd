"""Do the baselines cover? Real events, real fits, nuisances drawn from their priors.

The world is the Higgs world with a hundredth of its Z yield, so that the simulated samples can be twenty
times the expected data and a test is affordable. False alarms: the binomial scatter of 300 toys alone exceeds
3.3 sigma in 0.1 % of cases; the samples' own fluctuation (shared by all toys) adds up to 3 % of coverage.
"""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau

from fairuniverse.pseudo_experiments import PseudoExperiments
from fairuniverse.training import TrainingSet

YIELDS = {"htautau": 400.0, "ztautau": 10_000.0, "ttbar": 440.0, "diboson": 40.0}
SAMPLE = {"htautau": 20_000, "ztautau": 200_000, "ttbar": 20_000, "diboson": 5_000}
N_TOYS = 300
TOLERANCE = 3.3 * np.sqrt(0.6827 * 0.3173 / N_TOYS) + 0.03


class SmallWorld(HiggsTauTau):
    """Higgs world with other yields."""

    @property
    def processes(self):
        """Processes with the small yields."""
        return tuple(replace(p, expected_yield=YIELDS[p.name]) for p in super().processes)

    def generate(self, n_events, **options):
        """Events whose weights sum to the small yields."""
        events = super().generate(n_events, **options)
        factors = np.array([YIELDS[p.name] / p.expected_yield for p in super().processes])
        return replace(events, weights=events.weights * factors[events.process])


@pytest.fixture(scope="module")
def world():
    """The world, a training sample and the toys, every nuisance floating."""
    simulator = SmallWorld()
    names = [p.name for p in simulator.nuisances]
    events = simulator.generate(SAMPLE, seed=31)
    train = TrainingSet(
        simulator, events, seed=31, nuisances=names, mu_range=(0.1, 3), confidence_level=0.6827
    )
    sampler = simulator.pool_sampler(simulator.generate(SAMPLE, seed=32, purpose="pool"))
    toys = PseudoExperiments(
        sampler, simulator.nuisances, seed=33, n_mu=N_TOYS, n_toys=1, mu_range=(0.1, 3), floating=names
    )
    return train, toys


@pytest.mark.parametrize("name", ["counting", "profile_likelihood"])
def test_coverage_over_the_priors(name, world):
    """Intervals contain mu_true in 68.27 % of the toys, and pulls have unit width and no bias."""
    train, toys = world
    model = import_module(f"fairuniverse.baselines.{name}.model").Model()
    model.fit(train)
    answers, truth = [], [t.mu for t in toys.truths()]
    for t in toys.truths():
        answers.append(model.predict(toys.draw(t).events.to_pandas()))
    lower, upper, mu_hat = np.array([(a.lower, a.upper, a.mu_hat) for a in answers]).T
    pulls = (mu_hat - truth) / ((upper - lower) / 2)
    assert np.mean((lower <= truth) & (truth <= upper)) == pytest.approx(0.6827, abs=TOLERANCE)
    # A shared fluctuation of both samples moves the mean by up to 3 * sqrt(2 / 20).
    assert abs(pulls.mean()) < 3 * np.sqrt(1 / 10 + 1 / N_TOYS)
    assert pulls.std() == pytest.approx(1, abs=0.15)
