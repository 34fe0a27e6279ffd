"""The exact_likelihood baseline."""

import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.inferno_toy import InfernoToy

from fairuniverse.api import Benchmark
from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import DensityModel, profile_interval
from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSet


@pytest.fixture(scope="module")
def baseline(load_as_stranger):
    """The module as a stranger's copy."""
    return load_as_stranger("exact_likelihood")


def training_set(simulator, nuisances):
    """A few events of a world."""
    events = simulator.generate({p.name: 100 for p in simulator.processes}, seed=1)
    return TrainingSet(
        simulator, events, seed=1, nuisances=nuisances, mu_range=(0.5, 2.5), confidence_level=0.6827
    )


def test_the_answer_is_the_exact_interval(baseline):
    """It fits the floating nuisances of its benchmark, the others being nominal."""
    world = InfernoToy()
    model = baseline.Model()
    model.fit(training_set(world, ["r"]))
    toy = world.fresh_sampler().sample(1.0, {"r": 0.2}, streams=Streams(2, 0, 0))
    expected = profile_interval(DensityModel(world.densities, ["r"]).likelihood(toy.features)).interval
    assert model.predict(toy.to_pandas()) == expected


@pytest.mark.parametrize("name", ["counting", "gaussian-2d", "inferno-toy"])
def test_it_answers_the_toys_of_every_exact_configuration(baseline, name):
    """Under each configuration that comes with the package the first toy has a finite interval."""
    benchmark = Benchmark.load(name)
    model = baseline.Model()
    model.fit(training_set(benchmark.simulator, benchmark.config.nuisances))
    toys = benchmark.pseudo_experiments
    answer = model.predict(toys.draw(toys.truth(0, 0)).events.to_pandas())
    assert answer.lower < answer.mu_hat < answer.upper
    assert abs(answer.mu_hat - toys.mu(0)) < 5 * (answer.upper - answer.lower) / 2  # by chance 6e-7


def test_worlds_without_densities_are_refused(baseline):
    """The Higgs world has no exact answer; the message says where there is one."""
    with pytest.raises(InvalidDataError, match=r"HiggsTauTau has no exact densities.*gaussian_2d"):
        baseline.Model().fit(training_set(HiggsTauTau(), ["tes"]))
