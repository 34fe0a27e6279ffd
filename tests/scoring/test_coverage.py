"""Coverage: exact intervals, tests and slices."""

import numpy as np
import pytest
from fairuniverse.scoring.coverage import (
    Coverage,
    binomial_p_value,
    coverage_by_mu,
    coverage_by_nuisance,
    holm,
    worst_slice,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from fairuniverse.errors import InvalidDataError
from interval_toys import failing, gaussian_results, results_of


@given(st.integers(0, 300), st.integers(1, 300))
def test_interval_agrees_with_scipy(k: int, n: int) -> None:
    """The Clopper–Pearson interval of a score is scipy's exact interval of a proportion."""
    k = min(k, n)
    covered = np.arange(n) < k
    results = results_of(lower=np.where(covered, 0.5, 1.5), upper=np.where(covered, 1.5, 2.0))
    scores = {s.name: s.value for s in Coverage()(results)}
    expected = binomtest(k, n).proportion_ci(0.6827, method="exact")
    assert scores["coverage"] == pytest.approx(k / n)
    assert (scores["coverage_lower"], scores["coverage_upper"]) == pytest.approx(tuple(expected), abs=1e-9)


@given(st.integers(0, 300), st.integers(1, 300))
def test_p_value_is_twice_the_smaller_tail(k: int, n: int) -> None:
    """The exact test agrees with sums of binomial probabilities."""
    k = min(k, n)
    tails = binom.cdf(k, n, 0.6827), binom.sf(k - 1, n, 0.6827)
    assert binomial_p_value(k, n) == pytest.approx(min(2 * min(tails), 1), rel=1e-9)


def test_false_alarm_rate_of_the_exact_test() -> None:
    """Over the binomial distribution itself, p <= 0.05 happens at most that often, and not never."""
    k = np.arange(101)
    rate = binom.pmf(k, 100, 0.6827)[binomial_p_value(k, 100) <= 0.05].sum()
    assert 0.02 < rate <= 0.05


def test_holm_of_known_p_values() -> None:
    """Step-down correction: ordered p-values times the number of those not smaller, never decreasing."""
    assert holm([0.04, 0.01, 0.03, 0.005]).tolist() == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([]).tolist() == []


def test_coverage_at_each_mu() -> None:
    """One row per set in the order of i_mu, failures counted as not covering."""
    results = results_of(
        i_mu=[1, 1, 0, 0],
        mu_true=[2.0, 2.0, 1.0, 1.0],
        lower=[1.5, 2.1, 0.0, 0.0],
        upper=[2.5, 2.2, 3.0, 3.0],
    )
    table = coverage_by_mu(failing(results, [3]))
    assert table["i_mu"].tolist() == [0, 1]
    assert table["mu_true"].tolist() == [1.0, 2.0]
    assert table["coverage"].tolist() == [0.5, 0.5]
    assert table["n_failed"].tolist() == [1, 0]


def test_slices_hold_equally_many_toys() -> None:
    """Five slices of 1,000 toys hold 200 each, and together all."""
    table = coverage_by_nuisance(gaussian_results(), "tes")
    assert table["n_toys"].tolist() == [200] * 5
    assert (table["low"].to_numpy()[1:] > table["high"].to_numpy()[:-1]).all()


def test_clipped_draws_stay_in_one_slice() -> None:
    """Values that sit exactly on a bound are never divided between slices."""
    soft_met = np.minimum(np.linspace(0, 10, 1000), 5.0)
    table = coverage_by_nuisance(results_of(nuisance_soft_met=soft_met), "soft_met")
    assert (table["low"] == 5.0).sum() + (table["high"] == 5.0).sum() <= 2
    assert table["n_toys"].sum() == 1000


def test_unknown_nuisance_is_refused_by_name() -> None:
    """The message names the parameters that are there."""
    with pytest.raises(InvalidDataError, match="tes, jes"):
        coverage_by_nuisance(gaussian_results(), "soft_met")


def test_unknown_truth_is_left_out() -> None:
    """Toys whose true nuisance value is not known belong to no slice."""
    table = coverage_by_nuisance(results_of(nuisance_tes=[1.0, np.nan, 1.1]), "tes")
    assert table["n_toys"].sum() == 2


def test_coverage_lost_along_a_nuisance_is_found() -> None:
    """Intervals that cover on average but ignore tes are caught in an outer slice of tes."""
    results = gaussian_results(n_toys=400, nuisance_bias=0.3, scale=2**0.5)
    worst = worst_slice(results)
    assert worst is not None
    assert worst.axis == "tes"
    assert worst.p_value_holm < 1e-6
    assert worst.n_looks == 20


def test_fixed_nuisance_is_no_extra_look() -> None:
    """A parameter that does not vary adds no slice to the looks."""
    worst = worst_slice(results_of(i_mu=[0, 1], nuisance_jes=[1.0, 1.0]))
    assert worst is not None
    assert worst.n_looks == 2
