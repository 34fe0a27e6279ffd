"""The on/off experiment in closed form, against published numbers, the numerical likelihood and toys."""

from itertools import product

import numpy as np
import pytest
from fairuniverse.simulators.counting import OnOffCounting, exact
from scipy import stats

from fairuniverse.likelihood import DensityModel, profile_interval
from fairuniverse.seeding import Streams

DENSITIES = OnOffCounting().densities


@pytest.mark.parametrize(
    ("n_on", "n_off", "tau", "z_bi", "z_pl"),
    [
        (4, 5, 5.0, 1.66, 1.95),
        (6, 18.78, 14.44, 2.63, 2.81),
        (9, 17.83, 4.69, 1.82, 1.99),
        (17, 40.11, 10.56, 4.46, 4.57),
        (50, 55, 2.0, 2.93, 3.02),
        (67, 15, 0.5, 2.89, 3.04),
        (200, 10, 0.1, 2.20, 2.38),
    ],
)
def test_significances_are_the_published_ones(n_on, n_off, tau, z_bi, z_pl):
    """Cousins, Linnemann and Tucker, table 1: the exact binomial and the profile-likelihood significance."""
    assert exact.binomial_significance(n_on, n_off, tau) == pytest.approx(z_bi, abs=6e-3)
    assert exact.li_ma_significance(n_on, n_off, tau) == pytest.approx(z_pl, abs=6e-3)


def test_a_deficit_has_a_negative_significance():
    """Fewer events than the background expects count below zero."""
    assert exact.li_ma_significance(10, 60, 3.0) < 0


@pytest.mark.parametrize(("n_on", "n_off"), [(540, 790), (470, 830), (700, 640)])
@pytest.mark.parametrize("level", [0.6827, 0.95])
def test_closed_form_and_numerical_interval_agree(n_on, n_off, level):
    """The interval in closed form is that of the unbinned likelihood of as many events."""
    regions = np.repeat([[1.0, 0.0]], [n_on, n_off], axis=1)
    likelihood = DensityModel(DENSITIES, ["bkg_scale"]).likelihood(regions)
    numerical = profile_interval(likelihood, confidence_level=level)
    closed = exact.profile_interval(n_on, n_off, DENSITIES, level)
    assert numerical.best["mu"] == pytest.approx(closed.mu_hat, abs=1e-3)
    assert numerical.lower == pytest.approx(closed.lower, abs=1e-3)
    assert numerical.upper == pytest.approx(closed.upper, abs=1e-3)


def test_expected_error_in_closed_form():
    """The Fisher bound is the textbook error, (n_on + n_off / tau^2)^(1/2) / s at the expected counts."""
    model = DensityModel(DENSITIES, ["bkg_scale"])
    for mu in (0.5, 1.0, 3.0):
        textbook = (mu * 100 + 400 + 800 / 4) ** 0.5 / 100
        assert model.expected_sigma(mu) == pytest.approx(textbook, rel=1e-9)


def test_coverage_is_exact():
    """The sum over all counts agrees with toys, and is close to nominal at every point of a grid."""
    for mu, bkg_scale in product((0.3, 1.0, 3.0), (0.8, 1.0, 1.2)):
        summed = exact.coverage(mu, bkg_scale, DENSITIES)
        assert summed == pytest.approx(0.6827, abs=0.002)
        rng = Streams(1, int(10 * mu), int(10 * bkg_scale)).rng("counts")
        n_on = rng.poisson(100 * mu + 400 * bkg_scale, 20_000)
        n_off = rng.poisson(800 * bkg_scale, 20_000)
        hits = int((exact.log_likelihood_ratio(100 * mu, n_on, n_off, 2.0) <= 1).sum())
        assert stats.binomtest(hits, 20_000, summed).pvalue > 1e-5  # its false-alarm rate


def test_few_counts_cover_unevenly():
    """With a handful of events the asymptotic interval misses its level, and the exact sum says so."""
    few = OnOffCounting(signal=3.0, background=1.0, tau=1.0).densities
    levels = np.array([exact.coverage(mu, 1.0, few) for mu in np.linspace(0.2, 2.0, 7)])
    assert np.abs(levels - 0.6827).max() > 0.02
    assert (levels > 0.4).all()


def test_no_events_have_an_interval():
    """Nothing seen: the estimate is 0 and the interval ends where s has cost half a unit."""
    answer = exact.profile_interval(0, 0, DENSITIES)
    assert answer.mu_hat == 0
    assert answer.upper == pytest.approx(0.5 / 100, rel=1e-3)
