"""Confidence belts: the published table, closed forms, coverage, nuisances."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import poisson

from fairuniverse.errors import FitError, InvalidDataError
from fairuniverse.likelihood import NeymanBelt, ProfileRatio, feldman_cousins, profile_interval
from fairuniverse.nuisance import Normal, NuisanceParameter
from fairuniverse.protocols import ONE_SIGMA_CL

OUTCOMES = np.arange(60)
PUBLISHED = {  # n: interval at 90 % for background 3.0, Phys. Rev. D 57 (1998) 3873, tables IV and V
    1: (0.00, 1.88),
    2: (0.00, 3.04),
    3: (0.00, 4.42),
    4: (0.00, 5.60),
    5: (0.00, 6.99),
    6: (0.15, 8.47),
    7: (0.89, 9.53),
    8: (1.51, 10.99),
    9: (1.88, 12.30),
    10: (2.63, 13.50),
}
SCALE = NuisanceParameter("scale", Normal(1.0, 0.1), 1.0, (0.5, 1.5), "normalisation", ("z",))


def poisson_ratio(n, mu, background=3.0):
    """Feldman and Cousins' statistic of n events, in closed form."""
    best = np.maximum(n - background, 0.0)
    return -2 * (poisson.logpmf(n, mu + background) - poisson.logpmf(n, best + background))


def test_all_outcomes_of_a_poisson_give_the_published_table():
    """A belt of all outcomes with their probabilities has the published intervals, to their 0.01.

    The table's line for n = 0 is lengthened by hand to make it fall with the background, and left out.
    """
    mu = np.arange(0, 16, 0.01)
    belt = NeymanBelt.from_toys(
        mu,
        [poisson_ratio(OUTCOMES, m) for m in mu],
        0.9,
        ordering="smallest",
        weights=[poisson.pmf(OUTCOMES, m + 3.0) for m in mu],
    )
    for n, (lower, upper) in PUBLISHED.items():
        answer = belt.interval(lambda m, n=n: float(poisson_ratio(n, m)), max(n - 3.0, 0.0))
        assert (answer.lower, answer.upper) == pytest.approx((lower, upper), abs=0.011)
        assert answer.at_limit == (lower == 0.0, False)


@pytest.mark.parametrize("n", [0, 2, 4, 9])
def test_the_profile_ratio_of_a_poisson_has_its_closed_form(counting_model, n):
    """Fits, with the estimate held at 0 or above, give the statistic of the published table."""
    ratio = ProfileRatio(counting_model(1.0, 3.0).likelihood([n]), lowest=0.0)
    assert ratio.estimate == pytest.approx(max(n - 3.0, 0.0), abs=0.01)
    assert [ratio(mu) for mu in (0.0, 1.0, 5.6)] == pytest.approx(
        [float(poisson_ratio(n, mu)) for mu in (0.0, 1.0, 5.6)], abs=1e-4
    )


def test_toys_of_the_likelihood_cover(counting_model):
    """Critical values from fits to 150 toys accept 90 % of all outcomes or more (5 errors of 2.4 %, 6e-7)."""
    model = counting_model(1.0, 3.0)

    def toy(mu, rng):
        return model.likelihood([rng.poisson(mu + 3.0)])

    rng = np.random.default_rng(4)
    belt = feldman_cousins(toy, [0.5, 4.0], n_toys=150, rng=rng, confidence_level=0.9)
    for mu, critical in zip(belt.mu, belt.high, strict=True):
        accepted = poisson.pmf(OUTCOMES, mu + 3.0)[poisson_ratio(OUTCOMES, mu) <= critical + 1e-3].sum()
        # Counts are discrete: a belt may cover more, but does not accept everything.
        assert -5 * 0.0245 < accepted - 0.9 < 0.099


def test_a_downward_fluctuation_has_an_interval_at_the_boundary(counting_model):
    """With no event at all the estimate is the lowest mu, and the interval is not empty."""
    ratio = ProfileRatio(counting_model(1.0, 3.0).likelihood([0]), lowest=0.0)
    assert (ratio.estimate, ratio(0.0)) == (0.0, 0.0)
    belt = NeymanBelt(np.array([0.0, 2.0]), np.full(2, -np.inf), np.ones(2), ONE_SIGMA_CL)
    answer = belt.interval(ratio, ratio.estimate)
    assert answer.lower == 0.0
    assert answer.upper == pytest.approx(0.5, abs=1e-4)  # 2 mu = 1: with n = 0 the logarithm drops out


def test_a_central_belt_of_a_gaussian_is_the_estimate_and_its_error():
    """For mu_hat ~ N(mu, 0.2) the belt gives mu_hat +- z sigma; quantile errors of 20,000 toys, 5 sigma."""
    rng, mu = np.random.default_rng(2), np.linspace(-1, 3, 9)
    belt = NeymanBelt.from_toys(mu, [rng.normal(m, 0.2, 20_000) for m in mu])
    answer = belt.interval(0.83, 0.83)
    half = 0.2 * ndtri((1 + ONE_SIGMA_CL) / 2)
    assert (answer.lower, answer.upper) == pytest.approx((0.83 - half, 0.83 + half), abs=5 * 0.2 * 1.5 / 141)
    assert answer.at_limit == (False, False)


def test_a_belt_corrects_a_biased_and_stretched_estimate():
    """For mu_hat ~ N(2 mu + 0.3, 0.4 + 0.2 mu) intervals cover, mu by mu; 4 sigma of 2,000 toys (2e-4)."""
    rng, mu = np.random.default_rng(7), np.linspace(-1, 4, 26)
    belt = NeymanBelt.from_toys(mu, [rng.normal(2 * m + 0.3, 0.4 + 0.1 * m, 10_000) for m in mu])
    for truth in (0.5, 2.03):
        observed = rng.normal(2 * truth + 0.3, 0.4 + 0.1 * truth, 2000)
        low, high = belt.edges(truth)
        accepted = (observed >= low) & (observed <= high)
        assert accepted.mean() == pytest.approx(
            ONE_SIGMA_CL, abs=4 * np.sqrt(0.217 * (1 / 2000 + 1 / 10_000))
        )
        intervals = [belt.interval(float(v), truth) for v in observed[:100]]
        inside = [i.lower <= truth <= i.upper for i in intervals]
        assert inside == accepted[:100].tolist()


def test_a_belt_with_nuisances_covers_under_their_priors(counting_model):
    """Background drawn from its prior and profiled: new toys are covered; 4 sigma of both samples (6e-5)."""
    model, n_toys = counting_model(10.0, 30.0, nuisances=(SCALE,)), 150

    def toy(mu, rng):
        return model.likelihood([rng.poisson(10 * mu + 30 * SCALE.draw(rng=rng))])

    belt = feldman_cousins(toy, [0.0, 1.0], n_toys=n_toys, rng=np.random.default_rng(12))
    rng, sigma = np.random.default_rng(13), np.sqrt(2 * ONE_SIGMA_CL * (1 - ONE_SIGMA_CL) / n_toys)
    for mu, critical in zip(belt.mu, belt.high, strict=True):
        statistics = [ProfileRatio(toy(mu, rng), lowest=0.0)(mu) for _ in range(n_toys)]
        excess = np.mean(np.array(statistics) <= critical + 1e-9) - ONE_SIGMA_CL
        # Counts are discrete, so a belt may cover more; no count has a probability above 7 %.
        assert -4 * sigma < excess < 0.07 + 4 * sigma


def test_many_events_give_the_asymptotic_interval(counting_model):
    """Where Wilks' theorem holds, the critical value is 1 and the interval that of a profile."""
    model = counting_model(500.0, 10_000.0)
    mu, n = np.linspace(0.2, 1.6, 8), np.arange(9000, 12_500)
    statistics = [poisson_ratio(n, 500 * m, 10_000.0) for m in mu]
    weights = [poisson.pmf(n, 500 * m + 10_000) for m in mu]
    belt = NeymanBelt.from_toys(mu, statistics, ordering="smallest", weights=weights)
    assert belt.high == pytest.approx(1.0, abs=0.03)
    likelihood = model.likelihood([10_400])
    ratio = ProfileRatio(likelihood, lowest=0.0)
    ours, asymptotic = belt.interval(ratio, ratio.estimate), profile_interval(likelihood)
    assert (ours.lower, ours.upper) == pytest.approx((asymptotic.lower, asymptotic.upper), abs=0.005)


def test_a_belt_comes_back_from_a_file(tmp_path):
    """What is read is what was written, also without lower edge."""
    toys = [[0.1, 0.4, 2.0], [0.2, 0.5, 1.0]]
    belt = NeymanBelt.from_toys([0.0, 1.0], toys, 0.5, ordering="smallest")
    belt.save(tmp_path / "belt.npz")
    loaded = NeymanBelt.load(tmp_path / "belt.npz")
    assert loaded.confidence_level == 0.5
    assert loaded.edges(0.25) == belt.edges(0.25) == (-np.inf, pytest.approx(0.425))


def test_the_end_of_the_grid_is_reported():
    """An observation accepted at the end of the grid has its bound there, flagged."""
    rng, mu = np.random.default_rng(2), np.linspace(0, 1, 5)
    belt = NeymanBelt.from_toys(mu, [rng.normal(m, 0.2, 200) for m in mu])
    answer = belt.interval(0.95, 0.95)
    assert answer.upper == 1.0
    assert answer.at_limit == (False, True)
    assert answer.interval.mu_hat == 0.95


def test_an_observation_that_no_mu_accepts_is_refused():
    """Beyond the grid there is no interval to report."""
    belt = NeymanBelt.from_toys([0.0, 1.0], [np.linspace(-1, 1, 50), np.linspace(0, 2, 50)])
    with pytest.raises(FitError, match="widen the grid"):
        belt.interval(9.0, 9.0)


@pytest.mark.parametrize(
    ("mu", "toys", "message"),
    [
        ([0.0, 1.0], [np.zeros(50)], "toys for 1"),
        ([0.0, 1.0], [np.zeros(50), np.full(50, np.nan)], "50 of them NaN"),
        ([0.0, 1.0], [np.zeros(50), np.zeros(5)], "needs more than"),
        ([1.0, 0.0], [np.zeros(50), np.zeros(50)], "ascending"),
    ],
)
def test_toys_that_make_no_belt_are_refused(mu, toys, message):
    """Missing, undefined or too few toys and a grid that does not ascend raise."""
    with pytest.raises(InvalidDataError, match=message):
        NeymanBelt.from_toys(mu, toys)
