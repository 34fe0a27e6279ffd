"""The baseline of unbinned learned densities, with small networks and samples."""

import numpy as np
import pytest
from fairuniverse.simulators.inferno_toy import InfernoToy

from exact_events import training_set
from fairuniverse.likelihood import DensityModel, EventTerms, profile_interval
from fairuniverse.pseudo_experiments import PseudoExperiments

SMALL = {
    "RATIO_HIDDEN": (32, 32),
    "N_RATIO_EVENTS": 60_000,
    "N_RATIO_EPOCHS": 4,
    "SHIFT_HIDDEN": (32, 32),
    "N_SHIFT_EVENTS": 8000,
    "N_SHIFT_EPOCHS": 2,
    "SKETCH_HIDDEN": (32, 32),
    "N_SKETCH_EVENTS": 60_000,
    "BATCH_SIZE": 1024,
    "DEGREES": {1: 4, 2: 2},
    "N_CELLS": 8,
    "N_CELL_EVENTS": 10_000,
    "N_MORPHING_EVENTS": 20_000,
}
NUISANCES = ["r", "bkg_scale"]
N_TOYS = 60


@pytest.fixture(scope="module")
def baseline(load_as_stranger):
    """The module as a stranger's copy, made small, with few cells so that much is left within them."""
    module = load_as_stranger("unbinned_ml")
    for name, value in SMALL.items():
        assert hasattr(module.settings, name)
        setattr(module.settings, name, value)
    return module


@pytest.fixture(scope="module")
def model(baseline):
    """The fitted model."""
    fitted = baseline.Model()
    fitted.fit(training_set(InfernoToy(), NUISANCES, 30_000))
    return fitted


@pytest.fixture(scope="module")
def toys():
    """Events and true mu of toys whose nuisances follow their priors."""
    world = InfernoToy()
    drawn = PseudoExperiments(
        world.fresh_sampler(),
        world.nuisances,
        seed=2,
        n_mu=N_TOYS,
        n_toys=1,
        mu_range=(0.5, 2.5),
        floating=NUISANCES,
    )
    return [(t.mu, drawn.draw(t).events.to_pandas().copy()) for t in drawn.truths()]


def test_it_is_as_precise_as_the_exact_likelihood_and_covers(model, toys):
    """Intervals are within 10 % of the exact width, narrower than from counts in the same cells, and cover.

    Coverage of 60 toys scatters by 0.060: false alarm 6e-7 at five standard deviations. Widths are
    properties of the fitted model, far from their limits.
    """
    exact = DensityModel(InfernoToy().densities, NUISANCES)
    rows = []
    for mu, table in toys:
        a = model.predict(table)
        b = profile_interval(exact.likelihood(table.to_numpy(float).T)).interval
        c = profile_interval(model.measurement.likelihood(table).counted).interval
        rows.append((mu, a.mu_hat, a.lower, a.upper, b.mu_hat, b.upper - b.lower, c.upper - c.lower))
    mu, mu_hat, lower, upper, exact_mu_hat, exact_width, counted_width = np.array(rows).T
    width = (upper - lower).mean()
    assert 0.93 < width / exact_width.mean() < 1.10
    assert width < 0.97 * counted_width.mean()
    assert np.std((mu_hat - exact_mu_hat) / (exact_width / 2)) < 0.5
    assert np.mean((lower <= mu) & (mu <= upper)) == pytest.approx(0.6827, abs=5 * 0.0601)


def test_every_cell_is_unbinned_where_events_are_few(model):
    """A world of a thousand events needs no counting, and counts keep the simulation's uncertainty."""
    measurement = model.measurement
    assert np.array_equal(measurement.regions, np.arange(measurement.partition.n_cells))
    assert (measurement.model.templates.variances.sum(axis=0) > 0).all()
    assert not measurement._within.regions.templates.variances.any()


def test_densities_are_normalised_in_every_cell(model):
    """Means of ratios, and of shifted ratios, over reference events of a cell are one for every process."""
    train = training_set(InfernoToy(), NUISANCES, 30_000)
    table = train.shift()
    measurement = model.measurement
    cell = np.concatenate([cell for _, _, cell in measurement.partition(table)])
    process = table["process"].cat.codes.to_numpy()
    probabilities, shifts = measurement.densities(measurement.partition.standardizer(table))
    weights = 1.0 / np.bincount(process)[process]
    monomials = measurement._within.monomials
    for r in (0.0, 0.6):
        z = monomials.at({"r": r})
        for i, region in enumerate(measurement.regions):
            rows = cell == region
            ratio = probabilities[:, rows] / measurement.norms[i][:, None]
            shift = np.exp(
                np.einsum("t,ptn->pn", z, shifts[:, :, rows] - measurement.shift_norms[i][..., None])
            )
            means = (ratio * shift * weights[rows]).sum(axis=1) / weights[rows].sum()
            assert means == pytest.approx(1, abs=1e-3 if r == 0 else 0.03)


def test_the_shift_of_the_background_is_learnt(model):
    """The logarithm of the background's density changes as it exactly does; the signal's does not."""
    table = training_set(InfernoToy(), NUISANCES, 3000).shift()
    x = table[["x0", "x1", "x2"]].to_numpy(float).T
    densities = InfernoToy().densities
    nominal, moved = (densities.log_densities(x, {"r": r}) for r in (0.0, 0.4))
    _, shifts = model.measurement.densities(model.measurement.partition.standardizer(table))
    learnt = np.einsum("t,ptn->pn", model.measurement._within.monomials.at({"r": 0.4}), shifts)
    weights = np.exp(nominal[1])  # where the background is
    assert np.corrcoef(learnt[1], (moved - nominal)[1])[0, 1] > 0.95
    assert np.abs(learnt[0]).mean() < 0.3 * np.abs((moved - nominal)[1]).mean()
    assert np.average(learnt[1] - (moved - nominal)[1], weights=weights) == pytest.approx(0, abs=0.08)


def test_the_gradient_is_that_of_the_likelihood(model, toys):
    """Analytic derivatives agree with differences."""
    likelihood = model.measurement.likelihood(toys[0][1])
    x = np.array([1.2, 0.4, -0.3])
    for i, step in enumerate(1e-4 * np.eye(3)):
        slope = (likelihood.twice_nll(x + step) - likelihood.twice_nll(x - step)) / 2e-4
        assert likelihood.gradient(x)[i] == pytest.approx(slope, rel=1e-5, abs=1e-5)


def test_without_information_in_the_cells_it_is_the_counted_likelihood(model, toys):
    """Events that look alike within their cells add nothing to the counts."""
    likelihood = model.measurement.likelihood(toys[0][1])
    flat = [
        EventTerms(np.ones_like(p.ratios), np.zeros_like(p.log_shifts)) for p in likelihood.unbinned.parts
    ]
    blind = type(likelihood)(
        likelihood.counted, likelihood.unbinned.model.likelihood(flat), likelihood.cancelled
    )
    points = np.array([[1.0, 0, 0], [0.5, 1, -1], [2.0, -1, 0.5]])
    differences = [blind.twice_nll(x) - likelihood.counted.twice_nll(x) for x in points]
    assert np.ptp(differences) == pytest.approx(0, abs=1e-6)


def test_saved_and_loaded_it_answers_the_same(model, baseline, toys, tmp_path):
    """The saved model gives the same answer to the last bit, and obeys its confidence level."""
    model.save(tmp_path)
    loaded = baseline.Model()
    loaded.load(tmp_path)
    table = toys[0][1]
    assert loaded.predict(table) == model.predict(table)
    loaded.confidence_level = 0.9545
    wide, narrow = loaded.predict(table), model.predict(table)
    assert (wide.upper - wide.lower) / (narrow.upper - narrow.lower) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("nuisances", [["r", "rate"], ["bkg_scale"]])
def test_fit_is_reproducible(baseline, monkeypatch, toys, nuisances):
    """Two fits of the same training events give the same answer to the last bit, whatever floats."""
    few = {"N_RATIO_EVENTS": 3000, "N_SHIFT_EVENTS": 500, "N_MORPHING_EVENTS": 2000, "N_CELLS": 5}
    for name, value in few.items():
        monkeypatch.setattr(baseline.settings, name, value)
    train = training_set(InfernoToy(), nuisances, 3000)
    answers = []
    for _ in range(2):
        model = baseline.Model()
        model.fit(train)
        answers.append(model.predict(toys[0][1]))
    assert answers[0] == answers[1]


def test_it_measures_the_higgs_world(baseline, monkeypatch, make_training, toy):
    """All six nuisances of the Higgs world are fitted; only part of its events are unbinned."""
    few = {"N_RATIO_EVENTS": 40_000, "N_SHIFT_EVENTS": 2000, "N_MORPHING_EVENTS": 60_000}
    for name, value in few.items():
        monkeypatch.setattr(baseline.settings, name, value)
    model = baseline.Model()
    model.fit(make_training())
    measurement = model.measurement
    expected = measurement.model.templates.yields.sum(axis=0)
    assert expected[measurement.regions].sum() <= 1.2 * baseline.settings.MAX_UNBINNED < expected.sum()
    answer = model.predict(toy)
    # Half-width 1 and more with so few training events; five of them on each side.
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2
