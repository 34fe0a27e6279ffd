"""What the finite simulated sample does to a likelihood."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import BinnedModel, GaussianErrors, PoissonErrors, Templates, fit, save_model
from fairuniverse.protocols import Process

PROCESSES = (Process("signal", 50.0, is_signal=True), Process("background", 100.0))


def gaussian(factor, delta):
    """Twice the negative logarithm of a normal constraint."""
    return ((factor - 1) / delta) ** 2


def poisson(factor, delta):
    """Twice the negative logarithm of the probability of n simulated events that expect factor * n."""
    n = 1 / delta**2
    return 2 * (factor * n - n - n * np.log(factor))


@pytest.mark.parametrize("n", [0, 1, 80, 150, 400])
@pytest.mark.parametrize("mu", [-0.4, 0.0, 1.0])
@pytest.mark.parametrize(("errors", "penalty"), [(PoissonErrors, poisson), (GaussianErrors, gaussian)])
def test_factors_are_profiled_exactly(errors, penalty, mu, n):
    """The closed form of the best factor equals a numerical minimisation over it."""
    templates = Templates(PROCESSES, np.array([[50.0], [100.0]]), np.array([[0.0], [30.0**2]]))
    scaled, fixed = (100.0, 50.0 * mu) if errors is PoissonErrors else (100 + 50 * mu, 0.0)
    delta = 30 / (100 if errors is PoissonErrors else 150)

    def full(factor):
        nu = factor * scaled + fixed
        if nu <= 0:
            return np.inf
        return 2 * (nu - n + (n * np.log(n / nu) if n else 0)) + penalty(factor, delta)

    lowest = max(-fixed / scaled, 0)
    best = minimize_scalar(full, bounds=(lowest, 5), method="bounded", options={"xatol": 1e-10}).fun
    likelihood = BinnedModel(templates, template_errors=errors).likelihood([n])
    assert likelihood.twice_nll(np.array([mu])) == pytest.approx(best, rel=1e-4, abs=1e-6)


def mean_bias(errors, n_toys=400, n_bins=40, background=100.0):
    """Mean and error of mu_hat - 1, in units of its scatter, where simulation and data have the same size."""
    rng = np.random.default_rng(7)
    signal = background * np.linspace(0, 0.1, n_bins)
    estimates = []
    for _ in range(n_toys):
        counts = rng.poisson(background, n_bins).astype(float)
        templates = Templates(PROCESSES, np.array([signal, counts]), np.array([0 * counts, counts]))
        data = rng.poisson(signal + background)
        estimates.append(fit(BinnedModel(templates, template_errors=errors).likelihood(data))["mu"] - 1)
    return np.mean(estimates) / np.std(estimates), n_toys**-0.5


def test_estimates_are_unbiased_over_simulated_samples():
    """Averaged over simulated samples and data, the default errors do not bias mu; HistFactory's do.

    Four standard errors: a false alarm in 16,000 runs, were the seed not fixed.
    """
    bias, error = mean_bias(PoissonErrors)
    assert abs(bias) < 4 * error
    bias, error = mean_bias(GaussianErrors)
    assert bias > 0.3 + 2 * error


@pytest.mark.parametrize("errors", [PoissonErrors, GaussianErrors])
def test_possible_templates_have_the_stated_variance(errors):
    """Factors that are drawn have mean 1 and the variance of the model (5 sigma: one in a million)."""
    yields = np.array([[1.0] * 3, [100.0, 50.0, 20.0]])
    drawn = errors(Templates(PROCESSES, yields, np.array([[0.0] * 3, [0.0, 50.0, 4.0]])))
    rng = np.random.default_rng(1)
    factors = np.array([drawn.draw(rng=rng) for _ in range(20_000)])
    width = np.sqrt(drawn.variance)
    assert (factors[:, 0] == 1).all()
    assert factors.mean(axis=0) == pytest.approx(1.0, abs=5 * width.max() / np.sqrt(len(factors)))
    assert factors.std(axis=0) == pytest.approx(width, rel=0.03)


def test_other_errors_are_not_saved_as_ours(tmp_path):
    """A model with HistFactory's errors is not written to a file that would not remember them."""
    templates = Templates(PROCESSES, np.array([[50.0], [100.0]]), np.zeros((2, 1)))
    with pytest.raises(InvalidDataError, match="Poisson template errors"):
        save_model(BinnedModel(templates, template_errors=GaussianErrors), tmp_path / "model.npz")
