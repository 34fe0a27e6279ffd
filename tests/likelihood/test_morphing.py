"""Morphing of templates between simulated points."""

import itertools

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import (
    Axis,
    BinnedModel,
    Code4pMorphing,
    PiecewiseExponentialMorphing,
    PolynomialMorphing,
    Templates,
)
from fairuniverse.nuisance import LogNormal, Normal, NuisanceParameter
from fairuniverse.protocols import Process

TES = NuisanceParameter("tes", Normal(1.0, 0.01), 1.0, (0.9, 1.1), "shape")
SOFT_MET = NuisanceParameter("soft_met", LogNormal(0.0, 1.0), 0.0, (0.0, 5.0), "shape")
AXES = (Axis(TES), Axis(SOFT_MET, 2))
GRID = [{"tes": t, "soft_met": s} for t, s in itertools.product((0.98, 0.99, 1.0, 1.01, 1.02), (0, 1, 3))]


def _yield(tes, soft_met):
    """Two bins whose logarithm is a polynomial in the coordinates."""
    t, v = (tes - 1) / 0.01, soft_met**2
    log = np.array([0.05 * t + 0.004 * t**2 + 0.003 * v * t, -0.03 * t + 0.02 * v - 0.0005 * v**2])
    return np.exp(log)[None]


def _fit(counts=1e6, ratios=None):
    ratios = np.array([_yield(**p) for p in GRID]) if ratios is None else ratios
    return PolynomialMorphing.fit(AXES, GRID, ratios, np.full((1, 2), counts))


def test_fit_recovers_a_polynomial_with_cross_terms():
    """Exact shifted templates give back the function they came from, also between and beyond the points."""
    morphing = _fit()
    for tes, soft_met in ((1.013, 2.0), (0.975, 0.5), (1.0, 0.0)):
        alpha = np.array([(tes - 1) / 0.01, np.log(soft_met) if soft_met else -np.inf])
        assert morphing.ratio(alpha) == pytest.approx(_yield(tes, soft_met), rel=1e-4)


def test_ratio_is_one_at_the_nominal_point():
    """At nominal nuisances (soft_met = 0, pull minus infinity) nothing is morphed, and no NaN appears."""
    ratio, gradient = _fit().ratio_and_gradient(np.array([0.0, -np.inf]))
    assert ratio == pytest.approx(1.0)
    assert gradient[1] == pytest.approx(0.0)


def test_empty_and_poor_bins_do_not_run_away():
    """Bins without events stay put; a bin of two events hardly follows a change of one of them."""
    ratios = np.array([_yield(**p) for p in GRID])
    ratios[:, 0, 0] = [0.5 if p["tes"] > 1.01 else 1.0 for p in GRID]
    poor = PolynomialMorphing.fit(AXES, GRID, ratios, np.array([[2.0, 0.0]]))
    reached = poor.ratio(np.array([3.0, 1.5]))
    assert reached[0, 1] == pytest.approx(1.0)
    assert 0.2 < reached[0, 0] < 1.5


def test_too_few_points_are_refused():
    """A polynomial with more terms than shifted samples is refused."""
    with pytest.raises(InvalidDataError, match="cannot fix"):
        PolynomialMorphing.fit(AXES, GRID[:3], np.ones((3, 1, 2)), np.ones((1, 2)))


def test_an_axis_without_points_is_refused():
    """A nuisance parameter that no sample shifts cannot be morphed."""
    points = [{"tes": 1 + 0.001 * i} for i in range(1, 9)]
    with pytest.raises(InvalidDataError, match="never shifted"):
        PolynomialMorphing.fit(AXES, points, np.ones((8, 1, 2)), np.ones((1, 2)))


def test_ratios_that_are_not_finite_are_refused():
    """A NaN among the shifted templates is refused."""
    ratios = np.array([_yield(**p) for p in GRID])
    ratios[3] = np.nan
    with pytest.raises(InvalidDataError, match="finite"):
        _fit(ratios=ratios)


def test_code4p_agrees_with_what_it_approximates_at_one_sigma():
    """Code4p through another morphing has its yields at 0 and +-1 sigma."""
    morphing = _fit()
    code4p = Code4pMorphing.through(morphing)
    for alpha in ([0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]):
        assert code4p.ratio(np.array(alpha)) == pytest.approx(morphing.ratio(np.array(alpha)))


def test_code4p_is_smooth_at_one_sigma():
    """Value and slope of code4p are continuous where polynomial and line meet."""
    code4p = Code4pMorphing.through(_fit())
    below, above = (code4p.ratio_and_gradient(np.array([1.0 + e, 0.2])) for e in (-1e-9, 1e-9))
    assert below[0] == pytest.approx(above[0], abs=1e-8)
    assert below[1] == pytest.approx(above[1], abs=1e-7)


def test_piecewise_exponentials_agree_with_what_they_approximate_at_one_sigma():
    """Code1 through another morphing has its yields at 0 and +-1 sigma, and grows like a power beyond."""
    morphing = _fit()
    code1 = PiecewiseExponentialMorphing.through(morphing)
    for alpha in ([0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]):
        assert code1.ratio(np.array(alpha)) == pytest.approx(morphing.ratio(np.array(alpha)))
    at_two = code1.nominal * code1.up[0] ** 2 / code1.down[1] ** -0.5
    assert code1.ratio(np.array([2.0, -0.5])) == pytest.approx(at_two)


def test_piecewise_exponentials_are_those_of_pyhf():
    """The ratio is pyhf's code1 of a normsys, nuisance by nuisance."""
    from pyhf.interpolators import code1

    rng = np.random.default_rng(6)
    up, down = rng.uniform(0.8, 1.3, (2, 2, 3, 4))
    ours = PiecewiseExponentialMorphing((TES, SOFT_MET), up, down, np.ones((3, 4)))
    histograms = np.stack([down, np.ones_like(down), up], axis=2)  # nuisance, process, variation, bin
    for alpha in ([0.0, 0.0], [0.4, -1.7], [-2.5, 0.3]):
        theirs = code1(histograms.tolist())(np.array(alpha)[:, None])
        assert ours.ratio(np.array(alpha)) == pytest.approx(np.prod(np.asarray(theirs)[:, :, 0, :], axis=0))


def test_gradient_of_piecewise_exponentials_agrees_with_differences():
    """The derivatives are the numerical ones on both sides of 0."""
    code1 = PiecewiseExponentialMorphing.through(_fit())
    for alpha in ([0.3, -0.6], [-1.4, 1.2]):
        _, gradient = code1.ratio_and_gradient(np.array(alpha))
        steps = 1e-6 * np.eye(2)
        numerical = [code1.ratio(alpha + s) - code1.ratio(alpha - s) for s in steps]
        assert gradient == pytest.approx(np.array(numerical) / 2e-6, abs=1e-8)


def test_piecewise_exponentials_serve_a_fit():
    """A nuisance that moves the background by +-10 % adds its effect in quadrature to the error of mu."""
    up = np.array([[[1.0, 1.0], [1.1, 1.1]]])
    morphing = PiecewiseExponentialMorphing((TES,), up, 1 / up, np.ones((2, 2)))
    processes = (Process("signal", 100.0, is_signal=True), Process("z", 1000.0))
    templates = Templates(processes, np.array([[50.0, 50.0], [500.0, 500.0]]), np.zeros((2, 2)))
    sigma = BinnedModel(templates, (TES,), morphing).expected_sigma()
    assert sigma == pytest.approx(np.hypot(np.sqrt(1100), 1000 * np.log(1.1)) / 100)


def test_a_bin_that_a_nuisance_empties_has_no_exponential():
    """A ratio of 0 is refused with what to do."""
    ratios = np.ones((1, 1, 2))
    with pytest.raises(InvalidDataError, match="merge bins"):
        PiecewiseExponentialMorphing((TES,), ratios, 0 * ratios, np.ones((1, 2)))


def test_large_effects_are_fitted():
    """A peak that moves through a bin changes it by factors of thousands, a parabola in the exponent."""
    axis = Axis(NuisanceParameter("z", Normal(0.0, 1.0), 0.0, (-5.0, 5.0), "shape"))
    points = [{"z": float(z)} for z in np.linspace(-4, 4, 17)]
    centres = np.array([-3.0, -1.0, 0.0, 2.0, 4.0])
    z = np.array([p["z"] for p in points])[:, None]
    logs = -((centres - z) ** 2 - centres**2) / 2
    counts = 1e4 * np.exp(-(centres**2) / 2)[None]
    morphing = PolynomialMorphing.fit([axis], points, np.exp(logs)[:, None], counts, max_effect=20.0)
    for alpha in (-3.3, 0.0, 2.7):
        expected = np.exp(-((centres - alpha) ** 2 - centres**2) / 2)
        assert morphing.ratio(np.array([alpha]))[0] == pytest.approx(expected, rel=0.02)
