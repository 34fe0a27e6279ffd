"""The counting baseline."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def counting(load_as_stranger):
    """The module as a stranger's copy."""
    return load_as_stranger("counting")


@pytest.fixture(scope="module")
def model(counting, make_training):
    """The fitted model, all nuisances floating."""
    fitted = counting.Model()
    fitted.fit(make_training())
    return fitted


def test_every_event_has_a_region(counting, toy):
    """The eight regions are all filled and together hold every event."""
    counts = np.bincount(counting._region(toy), minlength=8)
    assert counts.shape == (8,)
    assert counts.min() > 0
    assert counts.sum() == len(toy)


def test_weights_are_unbiased(model, make_training, counting):
    """The estimate of the expected counts is mu, for any mu: weights times signal is one."""
    nominal = counting._yields(make_training(("bkg_scale",)).shift())
    narrow = counting.Model()
    narrow.fit(make_training(("bkg_scale",)))
    for mu in (0.1, 1.0, 3.0):
        counts = nominal[1:].sum(axis=0) + mu * nominal[0]
        assert narrow.weights @ (counts - narrow.background) == pytest.approx(mu, abs=1e-6)


def test_one_unknown_normalisation_gives_the_textbook_error(counting, make_training):
    """With bkg_scale alone V = diag(n) + sum w^2 + (0.001 b)(0.001 b)^T, and the error is (s V^-1 s)^-1/2."""
    train = make_training(("bkg_scale",))
    model = counting.Model()
    model.fit(train)
    table = train.shift()
    yields = counting._yields(table)
    signal, background = yields[0], yields[1:].sum(axis=0)
    squares = np.bincount(counting._region(table), table["weights"].to_numpy() ** 2, minlength=8)
    covariance = np.diag(signal + background + squares) + 1e-6 * np.outer(background, background)
    sigma = (signal @ np.linalg.inv(covariance) @ signal) ** -0.5
    assert model.half_width == pytest.approx(sigma, rel=1e-3)


def test_energy_scales_widen_the_interval(model, counting, make_training):
    """Floating energy scales make the interval wider than normalisations alone do."""
    narrow = counting.Model()
    narrow.fit(make_training(("ttbar_scale", "diboson_scale", "bkg_scale")))
    assert model.half_width > 1.2 * narrow.half_width


def test_predict_answers_an_interval(model, toy):
    """Prediction is a finite interval around the estimate."""
    answer = model.predict(toy)
    assert answer.lower < answer.mu_hat < answer.upper
    assert np.isfinite([answer.lower, answer.upper]).all()
