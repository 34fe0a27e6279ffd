"""Nuisance parameters without a constraint in the binned likelihood."""

import numpy as np
import pytest
from fairuniverse.simulators.counting import OnOffCounting, exact

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import (
    Axis,
    BinnedModel,
    Templates,
    load_model,
    profile_interval,
    save_model,
    to_pyhf,
)

WORLD = OnOffCounting()


@pytest.fixture(scope="module")
def on_off():
    """Two bins, on and off, whose common background is free."""
    yields = np.array([[100.0, 0.0], [400.0, 800.0]])
    return BinnedModel(Templates(WORLD.processes, yields, np.zeros((2, 2))), WORLD.nuisances)


def test_the_interval_is_that_of_the_on_off_problem(on_off):
    """Only the off region tells the background: estimate and interval are the closed form."""
    numerical = profile_interval(on_off.likelihood([560, 770]))
    closed = exact.profile_interval(560, 770, WORLD.densities)
    assert numerical.best["mu"] == pytest.approx(closed.mu_hat, abs=1e-4)
    assert (numerical.lower, numerical.upper) == pytest.approx((closed.lower, closed.upper), abs=1e-4)


def test_the_expected_error_has_no_constraint(on_off):
    """The textbook error, (n_on + n_off / tau^2)^(1/2) / s."""
    assert on_off.expected_sigma(1.0) == pytest.approx((500 + 800 / 4) ** 0.5 / 100, rel=1e-9)


def test_the_model_comes_back_from_a_file(on_off, tmp_path):
    """A uniform prior is stored and read."""
    save_model(on_off, tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").nuisances == on_off.nuisances


def test_histfactory_cannot_say_it(on_off):
    """The export refuses instead of adding a constraint."""
    with pytest.raises(InvalidDataError, match="bkg_scale has a uniform prior"):
        to_pyhf(on_off, [560, 770])


def test_a_morphing_axis_is_in_standard_deviations():
    """An axis along a uniform prior counts in its standard deviations, with the slope to match."""
    (parameter,) = WORLD.nuisances
    axis = Axis(parameter)
    assert axis.at(1.0 + parameter.prior.sigma) == pytest.approx(1.0)
    assert axis.at_pull(0.5) == pytest.approx((0.5, 1.0))
