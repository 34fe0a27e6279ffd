"""Scores fed with intervals of known quality: each must say what is wrong, and only that.

Every test is deterministic (fixed seeds). The stated rates are how often a correct program would fail if the
seeds were drawn anew.
"""

import numpy as np
import pytest
from fairuniverse.scoring import ScoreCard, score_card
from fairuniverse.scoring.coverage import worst_slice
from fairuniverse.scoring.matched_width import MatchedWidth
from fairuniverse.scoring.pulls import Pulls
from fairuniverse.scoring.winkler import Winkler, interval_score
from scipy.stats import binom, kstest, norm

from fairuniverse.protocols import ScoreValue
from fairuniverse.statistics import clopper_pearson
from interval_toys import gaussian_results

N_TOYS = 1000
P = 0.6827


def _within(card: ScoreCard, name: str, expected: float, n_sigma: float = 5) -> bool:
    score = card[name]
    assert score.value is not None
    assert score.error is not None
    return abs(score.value - expected) < n_sigma * score.error


@pytest.fixture(scope="module")
def accurate() -> ScoreCard:
    """Intervals that cover, at 50 values of mu."""
    return score_card(gaussian_results(n_mu=50, n_toys=N_TOYS // 5))


def test_accurate_intervals(accurate: ScoreCard) -> None:
    """Coverage p, bias 0, pull width 1, RMSE sigma, MAE 0.80 sigma: each within 5 errors (1 in 10^5)."""
    expected = {
        "coverage": P,
        "bias": 0.0,
        "pull_mean": 0.0,
        "pull_width": 1.0,
        "mu_hat_rmse": 0.3,
        "mu_hat_mae": 0.3 * np.sqrt(2 / np.pi),
        "width_matched_factor": 1.0,
        "winkler": _gaussian_winkler(0.3, 1.0),
    }
    assert [name for name, value in expected.items() if not _within(accurate, name, value)] == []
    assert accurate["coverage_worst_p_value"].value > 1e-3


@pytest.mark.parametrize(("scale", "label"), [(0.7, "over-confident"), (1.5, "under-confident")])
def test_wrong_dispersion(scale: float, label: str, accurate: ScoreCard) -> None:
    """Coverage, pull width and factor follow the scale within 5 errors (1 in 10^5); Winkler is worse."""
    card = score_card(gaussian_results(n_mu=50, n_toys=N_TOYS // 5, scale=scale))
    assert _within(card, "coverage", float(2 * norm.cdf(scale) - 1)), label
    assert _within(card, "pull_width", 1 / scale)
    assert _within(card, "width_matched_factor", 1 / scale)
    assert _within(card, "winkler", _gaussian_winkler(0.3, scale))
    assert card["winkler"].value > accurate["winkler"].value
    assert card["coverage_penalty"].value > 1
    assert card["coverage_worst_p_value"].value < 1e-6


def test_bias(accurate: ScoreCard) -> None:
    """A shift of one sigma is found as bias and pull mean within 5 errors (1 in 10^6)."""
    card = score_card(gaussian_results(n_mu=50, n_toys=N_TOYS // 5, bias=0.3))
    assert _within(card, "bias", 0.3)
    assert _within(card, "pull_mean", 1.0)
    assert _within(card, "coverage", float(norm.cdf(0) - norm.cdf(-2)))
    assert card["winkler"].value > accurate["winkler"].value


def test_interval_score_is_smallest_for_the_true_quantiles() -> None:
    """Any other pair of ends scores worse over 200,000 draws of a skewed distribution (fails 1 in 10^6)."""
    x = np.random.default_rng(5).lognormal(0, 0.5, 200_000)
    tail = (1 - P) / 2
    ends = np.exp(0.5 * norm.ppf([tail, 1 - tail]))
    best = interval_score(*ends, x)
    for factor in ((0.8, 1.0), (1.2, 1.0), (1.0, 0.9), (1.0, 1.1), (0.8, 1.1)):
        worse = interval_score(*(ends * factor), x) - best
        assert worse.mean() > 5 * worse.std() / np.sqrt(len(x))


def test_coverage_interval_covers() -> None:
    """Clopper–Pearson at 68.27 % contains the true coverage at least that often, by exact summation."""
    for truth in (0.5, P, 0.9):
        k = np.arange(201)
        lower, upper = clopper_pearson(k, 200)
        covers = (lower <= truth) & (truth <= upper)
        assert P <= binom.pmf(k, 200, truth)[covers].sum() < P + 0.08


def test_false_alarms_of_the_worst_slice() -> None:
    """Accurate intervals have a corrected p-value below 5 % in at most 5 % of 200 runs (fails 1 in 10^4)."""
    p_values = [
        worst.p_value_holm
        for seed in range(200)
        if (worst := worst_slice(gaussian_results(n_mu=5, n_toys=100, seed=seed))) is not None
    ]
    assert np.mean(np.array(p_values) < 0.05) <= binom.ppf(1 - 1e-4, 200, 0.05) / 200


@pytest.fixture(scope="module")
def repeated() -> dict[str, list[ScoreValue]]:
    """Scores of 150 runs of 40 sets with 25 toys each."""
    runs = [gaussian_results(n_mu=40, n_toys=25, seed=seed) for seed in range(150)]
    values = [v for run in runs for score in (Pulls(), Winkler(), MatchedWidth()) for v in score(run)]
    return {name: [v for v in values if v.name == name] for name in {v.name for v in values}}


@pytest.mark.parametrize("name", ["bias", "pull_width", "winkler", "mu_hat_mae", "width_matched"])
def test_errors_are_honest(name: str, repeated: dict[str, list[ScoreValue]]) -> None:
    """Deviations in units of the stated error are Gaussian of width 1 within 25 % (KS: fails 1 in 10^4).

    The spread of 150 deviations is known to 6 %; bootstrap errors of the matched width may be off by 15 %.
    """
    values, errors = (np.array([getattr(s, a) for s in repeated[name]]) for a in ("value", "error"))
    deviations = (values - values.mean()) / errors
    assert 0.75 < deviations.std() < 1.25
    assert kstest(deviations / deviations.std(), "norm").pvalue > 1e-4


def _gaussian_winkler(sigma: float, scale: float) -> float:
    """Expected interval score of mu_hat -+ scale * sigma for a Gaussian mu_hat."""
    missed = 2 * sigma * (norm.pdf(scale) - scale * norm.sf(scale))
    return float(2 * scale * sigma + 2 / (1 - P) * missed)
