"""Impacts, pulls, constraints and the breakdown of an uncertainty."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import (
    BinnedModel,
    Templates,
    breakdown,
    fit,
    histfactory_approximation,
    impacts,
    profile_interval,
)
from fairuniverse.nuisance import Normal, NuisanceParameter, Uniform
from fairuniverse.protocols import Process

SIGNAL, BACKGROUND = 1000.0, 100_000.0
SCALE = NuisanceParameter("scale", Normal(1.0, 0.005), 1.0, (0.9, 1.1), "normalisation", ("z",))
FREE = NuisanceParameter("scale", Uniform(0.5, 1.5), 1.0, (0.1, 2.0), "normalisation", ("z",))
STAT, SYST = np.sqrt(SIGNAL + BACKGROUND) / SIGNAL, 0.005 * BACKGROUND / SIGNAL


def on_off(nuisance, ratio=1.0):
    """Signal in the first of two bins, the same background in both, in the second `ratio` times as much."""
    processes = (Process("signal", SIGNAL, is_signal=True), Process("z", BACKGROUND))
    yields = np.array([[SIGNAL, 0.0], [BACKGROUND, ratio * BACKGROUND]])
    return BinnedModel(Templates(processes, yields, np.zeros((2, 2))), (nuisance,))


def test_a_counting_experiment_learns_nothing_about_its_background(counting_model):
    """Pull 0, constraint 1, and an impact of -+ b sigma / s before as after the fit."""
    model = counting_model(SIGNAL, BACKGROUND, nuisances=(SCALE,))
    ranking = impacts(model.asimov(np.array([1.0, 0.0])))
    impact = ranking["scale"]
    assert impact.pull == pytest.approx(0.0, abs=1e-3)
    assert impact.constraint == pytest.approx((1.0, 1.0), rel=1e-3)
    assert impact.postfit == pytest.approx((SYST, -SYST), rel=2e-3)
    assert impact.prefit == pytest.approx((SYST, -SYST), rel=2e-3)
    assert impact.size == pytest.approx(SYST, rel=2e-3)


def test_a_control_region_constrains_and_pulls():
    """An excess of z background standard errors in the off region pulls by z times the constraint's share."""
    model = on_off(SCALE, ratio=4.0)
    prior, data = 0.005, 1 / np.sqrt(4 * BACKGROUND)
    sigma = 1 / np.hypot(1 / prior, 1 / data)
    excess = 4 * BACKGROUND * 1.003
    impact = impacts(model.likelihood([SIGNAL + BACKGROUND, excess]))["scale"]
    assert impact.constraint == pytest.approx((sigma / prior, sigma / prior), rel=0.01)
    assert impact.pull == pytest.approx(0.003 * (sigma / data) ** 2 / prior, rel=0.01)
    assert impact.postfit[1] == pytest.approx(-sigma * BACKGROUND / SIGNAL, rel=0.01)
    assert impact.prefit[1] == pytest.approx(-SYST, rel=0.01)


def test_impacts_are_refits_with_the_nuisance_fixed(higgs_like):
    """Every shift of mu is that of a fit with the parameter fixed; the largest comes first."""
    likelihood = higgs_like(20).likelihood(np.round(higgs_like(20).expected(np.array([1.4, *[0.5] * 6]))))
    ranking = impacts(likelihood)
    assert len(ranking.ranking) == 6
    sizes = [impact.size for impact in ranking.ranking]
    assert sizes == sorted(sizes, reverse=True)
    for name in ("tes", "soft_met", "bkg_scale"):
        shifted = fit(likelihood, {name: ranking.best[name] + ranking.best.error(name)})
        assert ranking[name].postfit[1] == pytest.approx(shifted["mu"] - ranking.best["mu"], abs=2e-3)
        assert ranking[name].pull == pytest.approx(ranking.best[name], abs=1e-6)


def test_linear_impacts_are_the_correlation_times_the_error(higgs_like):
    """In the parabolic limit the post-fit impact is the covariance over the nuisance's error."""
    likelihood = higgs_like(20).asimov(higgs_like(20).start)
    ranking = impacts(likelihood)
    for name in ("tes", "ttbar_scale", "bkg_scale"):
        i = ranking.best.names.index(name)
        expected = ranking.best.covariance[0, i] / ranking.best.error(name)
        assert ranking[name].postfit[1] == pytest.approx(expected, rel=0.1, abs=0.01)


def test_a_free_nuisance_has_no_pull():
    """Without a constraint there is no prior width to compare with, but an impact."""
    impact = impacts(on_off(FREE).likelihood([SIGNAL + BACKGROUND, BACKGROUND]))["scale"]
    assert np.isnan([impact.pull, *impact.constraint, *impact.prefit]).all()
    assert impact.postfit == pytest.approx(
        (np.sqrt(BACKGROUND) / SIGNAL, -np.sqrt(BACKGROUND) / SIGNAL), rel=0.01
    )


def test_a_nuisance_at_its_limit_has_one_side():
    """Beyond a limit nothing can be fixed: no shift there, and the profile's distance on the other side."""
    narrow = NuisanceParameter("scale", Normal(1.0, 0.005), 1.0, (0.99, 1.002), "normalisation", ("z",))
    impact = impacts(on_off(narrow).likelihood([SIGNAL + BACKGROUND, 1.004 * BACKGROUND]))["scale"]
    assert impact.pull == pytest.approx(0.4, abs=0.01)
    assert (impact.postfit[1], impact.prefit[1]) == pytest.approx((0.0, 0.0), abs=1e-3)
    assert impact.constraint[1] == pytest.approx(0.0, abs=0.01)
    assert impact.constraint[0] > 0.1
    assert impact.postfit[0] > 0.05


def test_parts_of_a_counting_experiment_have_their_closed_form(counting_model):
    """Systematic b sigma / s, simulation e / s, statistical sqrt(n) / s; in quadrature the whole interval."""
    model = counting_model(SIGNAL, BACKGROUND, error=300.0, nuisances=(SCALE,))
    parts = breakdown(model.asimov(np.array([1.0, 0.0])))
    assert list(parts.parts) == ["systematic", "simulation statistics", "statistical"]
    assert parts.parts["systematic"] == pytest.approx((SYST, SYST), rel=0.01)
    assert parts.parts["simulation statistics"] == pytest.approx((0.3, 0.3), rel=0.01)
    assert parts.parts["statistical"] == pytest.approx((STAT, STAT), rel=0.01)
    squares = np.square(list(parts.parts.values())).sum(axis=0)
    assert np.sqrt(squares) == pytest.approx(parts.total, rel=1e-6)
    assert parts.total == pytest.approx([np.sqrt(SYST**2 + 0.3**2 + STAT**2)] * 2, rel=0.01)


def test_groups_are_fixed_in_their_order(higgs_like):
    """Parts of two groups add up to that of both, and the statistical part does not depend on the order."""
    model = higgs_like(20)
    likelihood = model.asimov(model.start)
    shapes, rates = ["tes", "jes", "soft_met"], ["ttbar_scale", "diboson_scale", "bkg_scale"]
    one = breakdown(likelihood, {"shapes": shapes, "rates": rates})
    other = breakdown(likelihood, {"rates": rates, "shapes": shapes})
    both = breakdown(likelihood)
    assert list(one.parts)[:2] == ["shapes", "rates"]
    for parts in (one, other):
        joint = np.hypot(parts.parts["shapes"], parts.parts["rates"])
        assert joint == pytest.approx(both.parts["systematic"], rel=0.02)
        assert parts.parts["statistical"] == pytest.approx(both.parts["statistical"], rel=1e-3)
    interval = profile_interval(likelihood)
    assert both.total == pytest.approx((both.estimate - interval.lower, interval.upper - both.estimate))


def test_exact_templates_have_no_simulation_part(higgs_like):
    """Without Monte Carlo uncertainty the group is left out."""
    model = histfactory_approximation(higgs_like(8, np.inf))
    parts = breakdown(model.asimov(model.start), {"energy scales": ["tes", "jes"]})
    assert list(parts.parts) == ["energy scales", "statistical"]


def test_a_free_background_counts_as_statistical():
    """What only the data determine shrinks with more data."""
    parts = breakdown(on_off(FREE).likelihood([SIGNAL + BACKGROUND, BACKGROUND]))
    assert parts.parts["systematic"] == pytest.approx((0.0, 0.0), abs=1e-3)
    statistical = np.sqrt(SIGNAL + 2 * BACKGROUND) / SIGNAL
    assert parts.parts["statistical"] == pytest.approx((statistical, statistical), rel=0.01)


@pytest.mark.parametrize("groups", [{"a": ["tse"]}, {"a": ["tes"], "b": ["tes"]}, {"a": ["mu"]}])
def test_groups_of_unknown_or_repeated_members_are_refused(higgs_like, groups):
    """A name that is not there, that is there twice, or that is the parameter of interest itself raises."""
    model = higgs_like(5)
    with pytest.raises(InvalidDataError, match="at most once"):
        breakdown(model.asimov(model.start), groups)
