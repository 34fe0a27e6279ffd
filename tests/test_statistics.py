"""Binomial intervals, coverage in slices and pulls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from fairuniverse.errors import InvalidDataError
from fairuniverse.seeding import generator
from fairuniverse.statistics import binomial_band, clopper_pearson, coverage_by_slice, pulls, slice_codes
from interval_toys import failing, gaussian_results, results_of


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (683, 1000)])
@pytest.mark.parametrize("level", [0.6827, 0.95])
def test_clopper_pearson_agrees_with_the_inverted_exact_test(k, n, level):
    """The interval is the one SciPy finds by inverting the exact binomial test."""
    exact = binomtest(k, n).proportion_ci(level, method="exact")
    assert clopper_pearson(k, n, level) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_clopper_pearson_covers_at_least_as_claimed():
    """For every n up to 60 and p on a grid, the exact coverage is not below the level."""
    for n in (1, 5, 20, 60):
        k = np.arange(n + 1)
        lower, upper = clopper_pearson(k, n, 0.6827)
        for p in np.linspace(0.01, 0.99, 33):
            assert binom.pmf(k, n, p)[(lower <= p) & (p <= upper)].sum() >= 0.6827


def test_no_trials_say_nothing():
    """Without trials the interval is everything."""
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_more_successes_than_trials_are_refused():
    """Impossible counts are an error, not a NaN."""
    with pytest.raises(InvalidDataError, match="0 <= k <= n"):
        clopper_pearson([1, 3], [2, 2])


@given(p=st.floats(0.05, 0.95), n=st.integers(1, 500), level=st.floats(0.5, 0.99))
def test_the_band_holds_its_probability(p, n, level):
    """At least the level lies in the band, and at most half of the rest beyond either end."""
    low, high = (np.rint(float(v) * n) for v in binomial_band(p, n, level))
    assert binom.cdf(high, n, p) - binom.cdf(low - 1, n, p) >= level - 1e-9
    assert binom.cdf(low - 1, n, p) <= (1 - level) / 2 + 1e-9
    assert binom.sf(high, n, p) <= (1 - level) / 2 + 1e-9


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=60), n_slices=st.integers(1, 12))
def test_slices_are_ordered_and_few(values, n_slices):
    """Codes count up from 0 without gaps, follow the order of the values, and equal values share a slice."""
    codes = slice_codes(values, n_slices)
    assert sorted(set(codes.tolist())) == list(range(len(set(codes.tolist()))))
    assert len(set(codes.tolist())) <= n_slices
    ordered = codes[np.argsort(values, kind="stable")]
    assert (np.diff(ordered) >= 0).all()
    assert len({(v, c) for v, c in zip(values, codes.tolist(), strict=True)}) == len(set(values))


def test_slices_of_many_values_are_equally_filled():
    """A thousand different values in eight slices are 125 each."""
    codes = slice_codes(generator(1, "slices").normal(size=1000), 8)
    assert np.bincount(codes).tolist() == [125] * 8


def test_clipped_values_share_the_last_slice():
    """Where a third of the values sit on a bound, the slices at the bound merge."""
    values = np.minimum(np.linspace(0, 1.5, 301), 1.0)
    codes = slice_codes(values, 10)
    assert (codes[values == 1.0] == codes.max()).all()


def test_coverage_by_slice_counts_every_toy_once():
    """Toys, failures and coverage add up to those of the whole; unknown truths are left out."""
    results = failing(gaussian_results(n_mu=4, n_toys=50), [0, 60, 61])
    table = coverage_by_slice(results, results.table["mu_true"], 10)
    assert table["n_toys"].tolist() == [50] * 4
    assert table["n_failed"].sum() == 3
    assert table["n_covered"].sum() == results.covers().sum()
    assert (table["lower"] < table["coverage"]).all()
    assert (table["coverage"] < table["upper"]).all()
    unknown = np.where(np.arange(200) < 20, np.nan, results.table["nuisance_tes"])
    assert coverage_by_slice(results, unknown, 5)["n_toys"].sum() == 180


def test_a_slope_in_a_nuisance_parameter_is_seen_in_its_slices():
    """A bias that follows tes ruins the outer slices of tes and leaves those of jes alike."""
    results = gaussian_results(n_mu=10, n_toys=200, nuisance_bias=0.3)
    by_tes = coverage_by_slice(results, results.table["nuisance_tes"], 5)["coverage"]
    by_jes = coverage_by_slice(results, results.table["nuisance_jes"], 5)["coverage"]
    assert min(by_tes[1:4]) > max(by_tes[0], by_tes[4]) + 0.1
    assert np.ptp(by_jes) < 0.15  # five slices of 400: 1e-4 chance of a larger spread


def test_a_pull_uses_the_side_that_faces_the_truth():
    """An interval [0.5, 2] around 1 pulls by (1 - 1.5) / 1 upward and (1 - 0.75) / 0.5 downward."""
    results = results_of(mu_hat=1.0, lower=0.5, upper=2.0, mu_true=[1.5, 0.75])
    assert pulls(results) == pytest.approx([-0.5, 0.5], rel=1e-4)


def test_abs_pull_below_one_means_covers():
    """At one sigma the pulls within +-1 are exactly the intervals that contain the truth."""
    results = gaussian_results()
    is_within = np.abs(pulls(results)) <= 1.00003  # 0.6827 is 1.00002 sigma
    assert (is_within == results.covers()).mean() > 0.999


def test_pulls_are_normalised_at_any_confidence_level():
    """95 % intervals of the same Gaussian estimates give the same pulls."""
    honest = gaussian_results(n_toys=20)
    t = honest.table
    wide = results_of(
        mu_hat=t["mu_hat"],
        mu_true=t["mu_true"],
        lower=t["mu_hat"] - 1.959964 * 0.3,
        upper=t["mu_hat"] + 1.959964 * 0.3,
        confidence_level=0.95,
    )
    assert pulls(wide) == pytest.approx(pulls(honest), rel=1e-4)


def test_failed_and_empty_intervals_have_no_pull():
    """A failed toy, a zero-width interval and one beside its mu_hat give NaN, without a warning."""
    results = failing(
        results_of(
            mu_true=[1.2, 1.2, 1.2, 1.2], mu_hat=1.0, lower=[0.5, 1.0, 0.1, 0.5], upper=[1.5, 1.0, 0.9, 1.5]
        ),
        [0],
    )
    assert np.isnan(pulls(results)).tolist() == [True, True, True, False]
