"""Tests of prescaled samples of the Higgs world."""

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.prescale import is_signal_like

from fairuniverse.errors import InvalidDataError

NUMBERS = {"htautau": 3000, "ztautau": 60_000, "ttbar": 3000, "diboson": 1000}


@pytest.fixture(scope="module")
def samples():
    """The same simulated events, all of them and prescaled by 5."""
    simulator = HiggsTauTau()
    return [simulator.generate(NUMBERS, seed=4, prescale=n) for n in (1, 5)]


def test_weights_still_sum_to_the_yields(samples):
    """A prescaled sample stands for the same expected events."""
    whole, prescaled = samples
    assert prescaled.sum_weights() == pytest.approx(whole.sum_weights(), rel=1e-12)


def test_signal_like_events_are_all_kept(samples):
    """Events that resemble the signal are the same ones in both samples; of the others a fifth is left."""
    whole, prescaled = samples
    core, kept = is_signal_like(whole.features), is_signal_like(prescaled.features)
    np.testing.assert_array_equal(whole.features[:, core], prescaled.features[:, kept])
    n_outside, n_left = (~core).sum(), (~kept).sum()
    # A binomial count: beyond 5 sigma in 6e-7 of cases.
    assert abs(n_left - n_outside / 5) < 5 * np.sqrt(n_outside * 0.2 * 0.8)
    assert np.ptp(prescaled.weights[kept & (prescaled.process == 1)]) == 0


def test_distributions_agree(samples):
    """Weighted histograms agree within their errors: chi2 / n < 2 fails by chance in 1e-4 of cases."""
    _, prescaled = samples
    edges = np.linspace(26, 100, 25)
    first, second = (np.histogram(e["PRI_had_pt"], edges, weights=e.weights)[0] for e in samples)
    variance = np.histogram(prescaled["PRI_had_pt"], edges, weights=prescaled.weights**2)[0]
    assert np.mean((first - second) ** 2 / variance) < 2


def test_prescaled_bytes_do_not_depend_on_threads():
    """One or three threads, the same events; and prescales below one are refused."""
    simulator = HiggsTauTau()
    one, three = (simulator.generate({"ztautau": 120_000}, seed=1, prescale=9, n_threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.features, three.features)
    np.testing.assert_array_equal(one.weights, three.weights)
    with pytest.raises(InvalidDataError, match="prescale = 0 must be at least 1"):
        simulator.generate({"ztautau": 10}, seed=1, prescale=0)
