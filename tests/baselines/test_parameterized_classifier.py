"""The parameterised-classifier baseline, with small networks and samples."""

import numpy as np
import pytest
from fairuniverse.simulators.gaussian_2d import Gaussian2D
from fairuniverse.simulators.inferno_toy import InfernoToy

from exact_events import training_set
from fairuniverse.likelihood import DensityModel, profile_interval
from fairuniverse.nuisance import Normal, NuisanceParameter
from fairuniverse.pseudo_experiments import PseudoExperiments

SMALL = {
    "HIDDEN": (32, 32),
    "N_EPOCHS": 4,
    "BATCH_SIZE": 1024,
    "N_COPIES": 24,
    "MAX_COPY_EVENTS": 3000,
    "N_NETWORK_EVENTS": 20_000,
    "N_MORPHING_EVENTS": 40_000,
    "N_CELLS": 60,
    "N_CELL_EVENTS": 10_000,
    "PRIOR_REACH": 1.5,
}
N_TOYS = 60


@pytest.fixture(scope="module")
def baseline(load_as_stranger):
    """The module as a stranger's copy, made small."""
    module = load_as_stranger("parameterized_classifier")
    for name, value in SMALL.items():
        assert hasattr(module.settings, name)
        setattr(module.settings, name, value)
    return module


@pytest.fixture(scope="module")
def world():
    """The rotated Gaussians with a twentieth of the events."""
    return Gaussian2D(luminosity=0.05)


@pytest.fixture(scope="module")
def model(baseline, world):
    """The model fitted to the rotated Gaussians."""
    fitted = baseline.Model()
    fitted.fit(training_set(world, ["z"]))
    return fitted


def test_it_is_as_precise_as_the_exact_likelihood_and_covers(model, world):
    """Over toys with z from its prior, intervals are at most 10 % wider than the exact ones, and cover.

    Coverage of 60 toys scatters by 0.060: false alarm 6e-7 at five standard deviations. Widths and the
    difference to the exact estimate are properties of the fitted model, far from their limits.
    """
    toys = PseudoExperiments(
        world.fresh_sampler(),
        world.nuisances,
        seed=2,
        n_mu=N_TOYS,
        n_toys=1,
        mu_range=(0.5, 2.5),
        floating=["z"],
    )
    exact = DensityModel(world.densities, ["z"])
    rows = []
    for truth in toys.truths():
        features = toys.draw(truth).events
        a = model.predict(features.to_pandas())
        b = profile_interval(exact.likelihood(features.features)).interval
        rows.append((truth.mu, a.mu_hat, a.lower, a.upper, b.mu_hat, b.upper - b.lower))
    mu, mu_hat, lower, upper, exact_mu_hat, exact_width = np.array(rows).T
    assert 0.97 < (upper - lower).mean() / exact_width.mean() < 1.10
    assert np.std((mu_hat - exact_mu_hat) / (exact_width / 2)) < 0.5
    assert np.mean((lower <= mu) & (mu <= upper)) == pytest.approx(0.6827, abs=5 * 0.0601)


def test_the_classifier_learns_the_density_ratio(model, world):
    """Signal over background, as a function of x and z, agrees with the exact ratio."""
    rng = np.random.default_rng(3)
    for z in (np.pi / 4 - 0.5, np.pi / 4 + 0.3):
        centres, _ = world.densities.centres(z)
        x = np.concatenate([c + 0.7 * rng.standard_normal((500, 2)) for c in centres])
        exact = world.densities.log_densities(x.T, {"z": z})
        table = training_set(world, ["z"], 10).data[["x0", "x1"]].iloc[:0]
        table = table.reindex(range(len(x))).assign(x0=x[:, 0], x1=x[:, 1]).astype(np.float32)
        logs = model.ratios(model.ratios.standardizer(table), np.array([(z - np.pi / 4) / 0.5]))
        errors = logs[:, 0] - logs[:, 1] - (exact[0] - exact[1])
        assert np.std(errors) < 0.1 * np.std(exact[0] - exact[1])
        assert abs(errors.mean()) < 0.05 * np.std(exact[0] - exact[1])


def test_there_are_anchors_where_one_nuisance_changes_much(model):
    """A rotation by two prior widths turns everything: several anchors, evenly spread around the centre."""
    z = np.array([a.view.z[0] for a in model.anchors])
    assert len(z) >= 3
    assert z == pytest.approx(-z[::-1], abs=1e-9)
    assert np.diff(z) == pytest.approx(model.anchors[0].view.spacing[0], rel=1e-6)
    # Each anchor knows mu as well as any other: nothing but the angle changes.
    sigmas = [a.model.expected_sigma() for a in model.anchors]
    assert np.ptp(sigmas) < 0.1 * np.mean(sigmas)


def test_templates_know_their_background(model, baseline):
    """No cell holds fewer simulated background events than asked for, and all events are in one."""
    for anchor in model.anchors:
        templates = anchor.model.templates
        counts = templates.yields[1] ** 2 / templates.variances[1]
        assert counts.min() >= baseline.settings.MIN_BACKGROUND_COUNT
        assert templates.yields.sum(axis=1) == pytest.approx([50, 5000])


def test_saved_and_loaded_it_answers_the_same(model, baseline, world, tmp_path):
    """The saved model gives the same answer to the last bit, and obeys its confidence level."""
    model.save(tmp_path)
    loaded = baseline.Model()
    loaded.load(tmp_path)
    toy = PseudoExperiments(
        world.fresh_sampler(), world.nuisances, seed=5, n_mu=1, n_toys=1, mu_range=(1, 2), floating=["z"]
    )
    table = toy.draw(toy.truth(0, 0)).events.to_pandas()
    assert loaded.predict(table) == model.predict(table)
    loaded.confidence_level = 0.9545
    wide, narrow = loaded.predict(table), model.predict(table)
    assert (wide.upper - wide.lower) / (narrow.upper - narrow.lower) == pytest.approx(2, rel=0.1)


def test_fit_is_reproducible(baseline, monkeypatch):
    """Two fits of the same training events give the same bits, with normalisation nuisances, too."""
    for name, value in {"N_NETWORK_EVENTS": 3000, "N_MORPHING_EVENTS": 3000, "MAX_COPY_EVENTS": 500}.items():
        monkeypatch.setattr(baseline.settings, name, value)
    train = training_set(InfernoToy(), ["r", "bkg_scale"], 5000)
    models = [baseline.Model(), baseline.Model()]
    for m in models:
        m.fit(train)
    first, second = (m.anchors[0] for m in models)
    assert np.array_equal(first.model.templates.yields, second.model.templates.yields)
    assert np.array_equal(first.model.morphing.coefficients, second.model.morphing.coefficients)
    assert models[0].anchors[0].model.names == ("mu", "r", "bkg_scale")


def test_it_measures_the_higgs_world(baseline, monkeypatch, make_training, toy):
    """All six nuisances of the Higgs world are fitted around one anchor."""
    for name, value in {"N_NETWORK_EVENTS": 5000, "N_MORPHING_EVENTS": 5000, "N_CELLS": 30}.items():
        monkeypatch.setattr(baseline.settings, name, value)
    model = baseline.Model()
    model.fit(make_training())
    answer = model.predict(toy)
    assert len(model.anchors) == 1
    assert set(model.anchors[0].model.names[1:]) == {p.name for p in make_training().nuisances}
    # Half-width 1 and more with so few training events; five of them on each side.
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2


def test_without_shape_nuisances_there_is_one_anchor(baseline, monkeypatch):
    """Normalisations alone need no shifted copies."""
    for name, value in {"N_NETWORK_EVENTS": 3000, "MAX_COPY_EVENTS": 500}.items():
        monkeypatch.setattr(baseline.settings, name, value)
    world = InfernoToy()
    model = baseline.Model()
    model.fit(training_set(world, ["bkg_scale"], 5000))
    assert [a.model.morphing for a in model.anchors] == [None]
    assert model.anchors[0].model.names == ("mu", "bkg_scale")


def test_anchors_of_two_nuisances_are_a_grid(baseline):
    """Where both change much, anchors are the product of both; bounds reach to the next anchors."""
    a = NuisanceParameter("a", Normal(0.0, 1.0), 0.0, (-5.0, 5.0), "shape")
    b = NuisanceParameter("b", Normal(1.0, 0.1), 1.0, (0.0, 2.0), "shape")
    c = NuisanceParameter("c", Normal(1.0, 0.1), 1.0, (0.0, 2.0), "normalisation")
    anchored = list(baseline.anchors.anchored((a, c, b), np.array([1.0, np.inf])))
    assert [p[0].nominal for p in anchored] == pytest.approx([-2, -1, 0, 1, 2])
    assert anchored[0][0].bounds == pytest.approx((-3, -1))
    assert {p[1:] for p in anchored} == {(c, b)}
    assert len(list(baseline.anchors.anchored((a, b), np.array([1.0, 1.0])))) == 25
