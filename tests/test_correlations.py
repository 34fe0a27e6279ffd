"""Correlations of two samples, against those of Gaussians and of SciPy."""

import numpy as np
import pytest

from fairuniverse.comparison import compare
from fairuniverse.correlations import largest_difference
from fairuniverse.events import Events, Feature, Schema

SCHEMA = Schema((*(Feature(name, "", "Gaussian.") for name in "xyz"), Feature("j", "GeV", "A jet.", -25.0)))
N = 20_000


def sample(rho=0.0, seed=0, weights=None):
    """Gaussians x, y of a correlation, z alone, and a feature that half of the events lack."""
    rng = np.random.default_rng(seed)
    x, y, z = rng.multivariate_normal(np.zeros(3), [[1, rho, 0], [rho, 1, 0], [0, 0, 1]], N).T
    jet = np.where(rng.random(N) < 0.5, x, -25.0)
    return Events(SCHEMA, np.stack([x, y, z, jet]).astype(np.float32), weights)


def test_finds_the_pair():
    """A correlation of 0.5 in one sample: Spearman's is 6 / pi asin(0.25) (five standard errors)."""
    found = largest_difference("", sample(0.5), sample(0.0, seed=1))
    assert {found.first, found.second} == {"x", "y"}
    assert found.rho_sim == pytest.approx(6 / np.pi * np.arcsin(0.25), abs=5 / np.sqrt(N))
    assert found.pull > 40
    assert found.n_pairs == 3


def test_equal_samples():
    """The largest of three pulls of equal samples is below four in 99.98 % of cases."""
    assert abs(largest_difference("", sample(0.3), sample(0.3, seed=1)).pull) < 4


def test_agrees_with_scipy():
    """Without weights, the correlation is SciPy's, ties included."""
    from scipy.stats import spearmanr

    events = sample(0.4)
    events.features[:2] = np.round(events.features[:2], 1)
    found = largest_difference("", events, sample(0.0, seed=1))
    assert found.rho_sim == pytest.approx(spearmanr(events["x"], events["y"]).statistic, abs=1e-9)


def test_weights_count_as_copies():
    """An event of weight two is two events."""
    weights = np.random.default_rng(2).integers(1, 4, N).astype(float)
    events = sample(0.4)
    copies = events.select(np.repeat(np.arange(N), weights.astype(int)))
    pair = [
        largest_difference("", e, sample(0.0, seed=1)).rho_sim for e in (sample(0.4, weights=weights), copies)
    ]
    assert pair[0] == pytest.approx(pair[1], abs=1e-9)


def test_compare_tells():
    """The table of a comparison says which pair differs most, and so does its JSON."""
    comparison = compare(sample(0.5), sample(0.0, seed=1), with_classifier=False)
    assert "largest difference of 3 correlations: " in comparison.render()
    (record,) = comparison.to_json()["correlations"]
    assert {record["first"], record["second"]} == {"x", "y"}
