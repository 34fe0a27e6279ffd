"""Point estimates and cost in closed form."""

import math

import numpy as np
import pytest
from fairuniverse.scoring import score_card
from fairuniverse.scoring.cost import failures

from interval_toys import answer, failing, results_of


def test_point_estimates_by_hand() -> None:
    """Bias, RMSE and MAE of residuals -1, 0, 2; the failed toy is left out and counted."""
    results = failing(results_of(mu_true=1.0, mu_hat=[0.0, 1.0, 3.0, 9.0]), [3])
    assert answer(results, "bias") == pytest.approx(1 / 3)
    assert answer(results, "mu_hat_rmse") == pytest.approx(math.sqrt(5 / 3))
    assert answer(results, "mu_hat_mae") == pytest.approx(1.0)
    assert score_card(results)["bias"].n_failed == 1


def test_pulls_use_the_side_that_faces_the_truth() -> None:
    """Too high: mu_hat - lower. Too low: upper - mu_hat. Without extent: no pull, and it is counted."""
    results = results_of(mu_true=1.0, mu_hat=[2.0, 0.0, 0.0], lower=[1.5, -5.0, -1.0], upper=[9.0, 2.0, 0.0])
    card = score_card(results)
    assert card["pull_mean"].value == pytest.approx((2.0 - 0.5) / 2, rel=1e-4)
    assert card["pull_mean"].n_failed == 1


def test_official_rmse_and_mae_by_hand() -> None:
    """Residual 0.5 with a stated uncertainty of 0.3, as the public challenge mixes them."""
    results = results_of(mu_true=[1.0], mu_hat=[1.5], delta_mu_hat=[0.3])
    assert answer(results, "rmse") == pytest.approx(math.sqrt(0.25 + (0.25 - 0.09) ** 2))
    assert answer(results, "mae") == pytest.approx(0.5 + 0.2)


def test_half_the_width_stands_for_an_uncertainty_that_was_not_stated() -> None:
    """The official errors need a delta_mu_hat: without one it is half the width of the interval."""
    results = results_of(mu_true=[1.0], mu_hat=[1.5], lower=[1.2], upper=[1.8], delta_mu_hat=[np.nan])
    assert answer(results, "mae") == pytest.approx(0.5 + 0.2)


def test_cost_by_hand() -> None:
    """Times and memory over the toys where they were measured."""
    results = results_of(wall_time_s=[1.0, 3.0, np.nan], memory_mib=[100.0, 300.0, np.nan])
    assert answer(results, "wall_time_median") == 2.0
    assert answer(results, "wall_time_total") == 4.0
    assert answer(results, "wall_time_p95") == pytest.approx(2.9)
    assert answer(results, "peak_memory") == 300.0


def test_cost_that_was_not_measured_has_no_value() -> None:
    """No time known: the score exists and is empty, and does not reach scores.json."""
    card = score_card(results_of(wall_time_s=[np.nan, np.nan]))
    assert card["wall_time_median"].value is None
    assert "wall_time_median" not in card.to_flat()


def test_failures_are_counted_by_kind() -> None:
    """Each status has its own count, and the total is theirs."""
    results = failing(failing(results_of(mu_true=[1.0] * 5), [0], "timeout"), [1, 2], "swapped")
    counts = failures(results)
    assert (counts["timeout"], counts["swapped"], counts["crashed"]) == (1, 2, 0)
    assert answer(results, "n_failed") == 3
    assert answer(results, "failed_timeout") == 1
