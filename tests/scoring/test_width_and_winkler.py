"""Width, interval score, and width at matched coverage in closed form."""

import numpy as np
import pytest
from fairuniverse.scoring.matched_width import MatchedWidth, halves, matched_width_ratio, reach_of_truth
from fairuniverse.scoring.references import data_blind, inclusive_counting
from fairuniverse.scoring.width import width_by_mu
from fairuniverse.scoring.winkler import interval_score, interval_scores
from hypothesis import given
from hypothesis import strategies as st

from fairuniverse.errors import InvalidDataError
from fairuniverse.results import Results
from interval_toys import MU_RANGE, answer, data_blind_results, failing, gaussian_results, results_of


def test_interval_score_by_hand() -> None:
    """Inside: the width. Outside: 2 / alpha times the distance on top (alpha = 0.3173)."""
    scores = interval_score([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 1.5, -0.25])
    assert scores.tolist() == pytest.approx([1.0, 1 + 2 / 0.3173 * 0.5, 1 + 2 / 0.3173 * 0.25])


@given(mu=st.floats(*MU_RANGE), ends=st.tuples(st.floats(*MU_RANGE), st.floats(*MU_RANGE)))
def test_failing_never_scores_better_than_any_interval_in_the_range(
    mu: float, ends: tuple[float, float]
) -> None:
    """A failed toy has at least the interval score and width of any valid interval in the range of mu."""
    valid = results_of(mu_true=[mu], lower=[min(ends)], upper=[max(ends)])
    failed = failing(valid, [0])
    assert interval_scores(failed)[0] >= interval_scores(valid)[0]
    assert failed.widths()[0] >= valid.widths()[0]


def test_widths_by_hand() -> None:
    """Mean and median over toys, a failed toy as wide as the range of mu."""
    results = failing(results_of(lower=[0.0, 0.0, 0.0], upper=[0.5, 1.0, 1.0]), [2])
    assert answer(results, "interval") == pytest.approx((0.5 + 1 + 2.9) / 3)
    assert answer(results, "width_median") == pytest.approx(1.0)


def test_width_at_each_mu() -> None:
    """One row per set with the mean of its toys."""
    table = width_by_mu(results_of(i_mu=[0, 0, 1], lower=[0.0, 0.0, 0.0], upper=[1.0, 3.0, 0.5]))
    assert table["mean"].tolist() == [2.0, 0.5]
    assert table["n_toys"].tolist() == [2, 1]


def test_reach_by_hand() -> None:
    """The factor is the distance of the truth in units of the side that faces it."""
    results = results_of(
        mu_true=2.0, mu_hat=[1.0, 3.0, 2.0, 1.0], lower=[0.5, 1.0, 2.0, 0.0], upper=[1.5, 4.0, 2.0, 1.0]
    )
    assert reach_of_truth(results).tolist() == [2.0, 0.5, 0.0, np.inf]


def test_reach_of_an_estimate_outside_its_interval_starts_at_the_nearer_end() -> None:
    """With mu_hat below the interval the lower end takes its place."""
    assert reach_of_truth(results_of(mu_true=[2.0], mu_hat=[0.0], lower=[1.0], upper=[3.0])).tolist() == [0.5]


def test_halves_share_every_set() -> None:
    """Each set gives half of its toys to each half, whatever the order of the rows."""
    results = gaussian_results(n_mu=4, n_toys=10)
    shuffled = results_of(**{c: results.table[c].to_numpy()[::-1] for c in ("i_mu", "i_toy")})
    first = halves(shuffled)
    assert shuffled.table["i_mu"][first].value_counts().tolist() == [5] * 4
    assert (shuffled.table["i_toy"][first] % 2 == 0).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_matched_width_does_not_depend_on_the_claimed_scale(scale: float) -> None:
    """Intervals too short or too long by a factor end up with the same width, and the factor is found."""
    results = gaussian_results(scale=scale, n_toys=400)
    width, factor, coverage = (s.value for s in MatchedWidth()(results))
    reference = MatchedWidth()(gaussian_results(scale=1.0, n_toys=400))[0].value
    assert width == pytest.approx(reference, rel=1e-9)
    assert factor == pytest.approx(1 / scale, rel=0.05)
    assert coverage == pytest.approx(0.6827, abs=0.001 + 1.5 / 400)


def test_no_interval_is_scaled_with_its_own_truth() -> None:
    """Even toys miss by 1 and odd toys by 2 half-widths: each half gets the factor of the other."""
    results = results_of(mu_true=[2.0, 3.0] * 10, mu_hat=1.0, lower=0.0, upper=2.0)
    width, factor, coverage = (s.value for s in MatchedWidth()(results))
    assert (width, factor, coverage) == (3.0, 1.5, 0.5)


def test_matched_width_cannot_repair_many_failures() -> None:
    """With more than a third of the toys failed no factor gives the coverage: the score has no value."""
    assert MatchedWidth()(failing(gaussian_results(), range(0, 1000, 2)))[0].value is None


def test_matched_width_counts_failures_with_the_whole_range() -> None:
    """Ten percent failures cost a tenth of the range and a larger factor."""
    honest, broken = gaussian_results(n_toys=400), failing(gaussian_results(n_toys=400), range(0, 4000, 10))
    assert answer(broken, "width_matched") > 0.9 * answer(honest, "width_matched") + 0.1 * 2.9


def test_data_blind_is_exposed_by_winkler_and_width() -> None:
    """The data-blind interval has 3 times the width and Winkler score of honest ones of sigma = 0.3."""
    blind, honest = data_blind_results(), gaussian_results()
    assert answer(blind, "interval") > 3 * answer(honest, "interval")
    assert answer(blind, "winkler") > 3 * answer(honest, "winkler")
    assert abs(answer(blind, "quantiles_score") + 0.69) < 0.1


def test_best_data_blind_winkler_score_needs_no_randomness() -> None:
    """The fixed central interval of the prior beats the data-blind game: the interval score is proper."""
    low, high = 0.1 + 0.15865 * 2.9, 3.0 - 0.15865 * 2.9
    mu = np.linspace(*MU_RANGE, 10_001)
    assert interval_score(low, high, mu).mean() < data_blind(1000, MU_RANGE).winkler


def test_inclusive_counting_is_the_known_number() -> None:
    """Half-width 1.01 on the official yields at mu = 1, and 3.05 sigma as its expected interval score."""
    line = inclusive_counting(1.0, 1015, 1_002_395 + 44_192 + 3_783)
    assert line.width / 2 == pytest.approx(1.01, abs=0.005)
    assert line.winkler == pytest.approx(3.05 * line.width / 2, rel=2e-3)


def test_ratio_of_widths_has_the_error_of_paired_toys() -> None:
    """Over independent repetitions, the ratio scatters as its stated error says, within a factor of 1.5.

    The scatter of 40 normal numbers is off by a factor of 1.5 with a probability below 1e-3, for each side.
    """
    ratios, errors = [], []
    for seed in range(40):
        one = gaussian_results(n_mu=20, n_toys=50, seed=seed)
        table = one.table.copy()
        noise = np.random.default_rng(seed).normal(0, 0.1, len(table))
        for column in ("mu_hat", "lower", "upper"):
            table[column] += noise
        ratio = matched_width_ratio(Results(table, one.mu_range), one)
        ratios.append(ratio.value)
        errors.append(ratio.error)
    assert np.mean(ratios) == pytest.approx(np.hypot(1, 1 / 3), rel=0.01)
    assert 1 / 1.5 < np.std(ratios, ddof=1) / np.mean(errors) < 1.5


def test_ratio_of_other_toys_is_refused() -> None:
    """Toys that differ in their true mu or their number have no paired ratio."""
    for other in (gaussian_results(seed=2), gaussian_results(n_toys=50)):
        with pytest.raises(InvalidDataError, match="did not answer the same toys"):
            matched_width_ratio(gaussian_results(), other)
