"""Tests of fairuniverse.pseudo_experiments."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.pseudo_experiments import PseudoExperiments, asimov
from tiny_world import Simulator


@pytest.fixture(scope="module")
def world():
    """A small simulator and a sampler of its toys."""
    simulator = Simulator()
    events = simulator.generate({p.name: 2000 for p in simulator.processes}, seed=1)
    return simulator, simulator.pool_sampler(events), events


def make(world, **changes):
    """Pseudo-experiments of that world."""
    simulator, sampler, _ = world
    options = {
        "seed": 5,
        "n_mu": 3,
        "n_toys": 4,
        "mu_range": (0.1, 3.0),
        "floating": [p.name for p in simulator.nuisances],
    }
    return PseudoExperiments(sampler, simulator.nuisances, **options | changes)


def test_a_toy_depends_on_its_key_alone(world):
    """More sets and more toys change neither truth nor events of a toy."""
    few, many = make(world), make(world, n_mu=7, n_toys=50)
    assert few.truths() == [many.truth(t.i_mu, t.i_toy) for t in few.truths()]
    toys = [p.draw(p.truth(2, 3)).events.features.copy() for p in (few, many)]
    np.testing.assert_array_equal(*toys)
    assert len(few) == len(few.truths()) == 12


def test_switching_a_nuisance_off_leaves_the_others(world):
    """A parameter that does not float stays nominal and changes no draw of the others, nor of mu."""
    simulator, *_ = world
    names = [p.name for p in simulator.nuisances]
    everything, less = make(world).truths(), make(world, floating=names[1:]).truths()
    for a, b in zip(everything, less, strict=True):
        assert a.mu == b.mu
        assert all(a.nuisances[n] == b.nuisances[n] for n in names[1:])
        assert b.nuisances[names[0]] == simulator.nuisances[0].nominal
    assert {t.nuisances[names[0]] for t in everything} != {simulator.nuisances[0].nominal}


def test_mu_is_shared_within_a_set_and_uniform_over_sets(world):
    """One mu per set within its range; mean and spread of U(0.1, 3) within 5 sigma (1e-6 false alarms)."""
    toys = make(world, n_mu=2000, n_toys=1)
    mus = np.array([toys.mu(i) for i in range(2000)])
    assert mus.min() >= 0.1
    assert mus.max() <= 3.0
    sigma = 2.9 / np.sqrt(12)
    assert abs(mus.mean() - 1.55) < 5 * sigma / np.sqrt(2000)
    assert mus.std() == pytest.approx(sigma, rel=0.1)
    assert len({t.mu for t in make(world).truths()}) == 3


def test_fixed_values_of_mu(world):
    """Given values are used as they are; one is needed for each set."""
    assert [t.mu for t in make(world, n_mu=2, n_toys=1, mu_values=[0.5, 2.0]).truths()] == [0.5, 2.0]
    with pytest.raises(InvalidDataError, match="1 mu values for n_mu = 2"):
        make(world, n_mu=2, mu_values=[0.5])


def test_unknown_names_and_indices_are_refused(world):
    """A nuisance the simulator does not have, and a toy that does not exist."""
    with pytest.raises(InvalidDataError, match="no nuisance parameter 'zzz'"):
        make(world, floating=["zzz"])
    with pytest.raises(InvalidDataError, match=r"no toy \(3, 0\): there are 3 sets of 4"):
        make(world).truth(3, 0)


def test_asimov_data_have_the_expected_yields(world):
    """Without fluctuation: the signal scaled by mu, normalisations applied, nothing else changed."""
    simulator, _, events = world
    nominal, doubled = (asimov(simulator, events, mu, {}) for mu in (1.0, 2.0))
    for p in simulator.processes:
        ratio = doubled.sum_weights()[p.name] / nominal.sum_weights()[p.name]
        assert ratio == pytest.approx(2.0 if p.is_signal else 1.0)
    np.testing.assert_array_equal(nominal.features, doubled.features)
