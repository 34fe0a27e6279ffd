"""Calibration of intervals on toys."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import beta

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import calibrate_intervals
from fairuniverse.protocols import ONE_SIGMA_CL, Interval


def _toys(n, rng, width=0.2, claimed=(0.1, 0.1), bias=0.0):
    mu_true = rng.uniform(0.1, 3, n)
    mu_hat = rng.normal(mu_true + bias, width)
    return mu_hat, mu_hat - claimed[0], mu_hat + claimed[1], mu_true


def test_intervals_half_as_wide_as_they_should_be_are_doubled():
    """The factor is 2, and within its stated range in 99.9 % of runs (3.3 of its half-widths)."""
    calibration = calibrate_intervals(*_toys(5000, np.random.default_rng(1)))
    low, high = calibration.lower_range
    assert low < calibration.lower_scale < high
    assert calibration.upper_scale == calibration.lower_scale == pytest.approx(2, abs=3.3 * (high - low) / 2)
    assert (high - low) / 2 == pytest.approx(0.027, rel=0.15)  # the quantile's error is known in closed form
    interval = calibration(Interval(1.0, 0.9, 1.1))
    assert interval.upper - 1.0 == pytest.approx(0.1 * calibration.upper_scale)


def test_the_toys_themselves_are_covered_as_often_as_wanted():
    """After calibration exactly the wanted share of the same toys is covered."""
    toys = _toys(1000, np.random.default_rng(2))
    calibration = calibrate_intervals(*toys, confidence_level=0.9)
    scaled = [calibration(Interval(*row[:3])) for row in zip(*toys, strict=True)]
    covered = sum(i.lower <= mu <= i.upper for i, mu in zip(scaled, toys[3], strict=True))
    assert covered in (900, 901)


def test_two_factors_follow_a_bias():
    """With two factors as many truths are missed on either side, though the estimate is biased."""
    rng = np.random.default_rng(3)
    calibration = calibrate_intervals(*_toys(20_000, rng, bias=0.1), is_one_factor=False)
    # The bounds are quantiles of the error N(0.1, 0.2) in units of 0.1; 4 standard errors (6e-5).
    assert calibration.lower_scale == pytest.approx(3.0, abs=4 * 0.022)
    assert calibration.upper_scale == pytest.approx(1.0, abs=4 * 0.022)


@pytest.mark.parametrize("n_toys", [3, 10, 47])
def test_conformal_intervals_keep_their_promise_for_few_toys(n_toys):
    """The next toy is covered with a probability in [CL, CL + 1/(n+1)] (4 errors of 1,000 repeats, 6e-5)."""
    rng, covered = np.random.default_rng(n_toys), []
    for _ in range(1000):
        mu_hat, lower, upper, truth = _toys(n_toys, rng)
        calibration = calibrate_intervals(mu_hat, lower, upper, truth, method="conformal")
        covered.append(abs(rng.normal(0, 0.2)) <= 0.1 * calibration.upper_scale)
    rank = np.ceil((n_toys + 1) * ONE_SIGMA_CL)
    expected = beta.mean(rank, n_toys + 1 - rank)
    assert ONE_SIGMA_CL <= expected <= ONE_SIGMA_CL + 1 / (n_toys + 1)
    assert np.mean(covered) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 1000))


def test_the_range_of_the_factor_covers():
    """In 400 repeats of 200 toys the true factor is in the range at least as often as claimed (1e-4)."""
    rng, inside = np.random.default_rng(9), 0
    for _ in range(400):
        low, high = calibrate_intervals(*_toys(200, rng)).lower_range
        inside += low <= 2.0 * ndtri((1 + ONE_SIGMA_CL) / 2) <= high
    assert inside / 400 >= ONE_SIGMA_CL - 3.7 * np.sqrt(ONE_SIGMA_CL * (1 - ONE_SIGMA_CL) / 400)
    assert inside / 400 <= 0.85  # not needlessly wide


def test_too_few_toys_for_a_guarantee_are_refused():
    """A conformal interval at 95 % needs nineteen toys, and says so."""
    rng = np.random.default_rng(1)
    assert calibrate_intervals(*_toys(19, rng), 0.95, method="conformal").n_toys == 19
    with pytest.raises(InvalidDataError, match="at least 19"):
        calibrate_intervals(*_toys(18, rng), 0.95, method="conformal")


def test_intervals_without_width_are_refused():
    """Where most intervals end at their estimate on the side of the truth no factor helps."""
    ones = np.ones(10)
    with pytest.raises(InvalidDataError, match="10 of 10 intervals have no width"):
        calibrate_intervals(ones, ones, ones, 2 * ones)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu_hat": [1.0, np.nan]}, "not finite"),
        ({"mu_hat": [1.0]}, "shape"),
        ({"mu_hat": [1.0, 3.0]}, "toy 1: mu_hat = 3"),
    ],
)
def test_toys_that_cannot_be_calibrated_are_refused(changes, message):
    """Numbers that are not finite, shapes that differ and estimates outside their interval raise."""
    toys = {"mu_hat": [1.0, 1.0], "lower": [0.5, 0.5], "upper": [1.5, 1.5], "mu_true": [1.0, 2.0]}
    with pytest.raises(InvalidDataError, match=message):
        calibrate_intervals(**(toys | changes))
