"""The oracle: a reference line that knows the nuisances."""

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.inferno_toy import InfernoToy

from fairuniverse.likelihood import DensityModel
from fairuniverse.nuisance import complete
from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSet

FLOATING = ["r", "rate", "bkg_scale"]


@pytest.fixture(scope="module")
def baseline(load_as_stranger):
    """The module as a stranger's copy, with a smaller classifier."""
    module = load_as_stranger("oracle")
    module.N_EVENTS, module.HIDDEN, module.N_EPOCHS, module.N_SIGNAL_BINS = 60_000, (32, 32), 3, 15
    return module


@pytest.fixture(scope="module")
def world():
    """A world with densities."""
    return InfernoToy()


@pytest.fixture(scope="module")
def exact(baseline, world):
    """Fitted to that world."""
    events = world.generate({p.name: 100 for p in world.processes}, seed=1)
    model = baseline.Model()
    model.fit(
        TrainingSet(world, events, seed=1, nuisances=FLOATING, mu_range=(0.5, 2.5), confidence_level=0.6827)
    )
    return model


@pytest.fixture(scope="module")
def binned(baseline, make_training):
    """Fitted to the Higgs world."""
    model = baseline.Model()
    model.fit(make_training())
    return model


def toys(world, n):
    """Pseudo-experiments at mu = 1 with nuisances from their priors."""
    for i in range(n):
        streams = Streams(4, i)
        values = {p.name: p.draw(rng=streams.rng(p.name)) for p in world.nuisances}
        yield world.fresh_sampler().sample(1.0, values, streams=streams).to_pandas(), values


def test_it_reaches_the_bound_for_known_nuisances(exact, world):
    """Intervals cover, and are as wide as the Fisher information at the truth allows.

    Of 100 toys 68 cover: outside 53 to 83 by chance 1 in 1,000. The mean of 20 ratios scatters by 0.5 %.
    """
    bound = DensityModel(world.densities)
    hits, ratios = 0, []
    for i, (table, values) in enumerate(toys(world, 100)):
        answer = exact.predict(table, values)
        hits += answer.lower <= 1.0 <= answer.upper
        if i < 20:
            ratios.append((answer.upper - answer.lower) / 2 / bound.expected_sigma(1.0, values))
    assert 53 <= hits <= 83
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.03)


def test_wrong_nuisances_bias_it(exact, world):
    """It believes what it is told: with half of the background denied, the rest becomes signal."""
    (table, values), *_ = toys(world, 1)
    truth = exact.predict(table, values)
    told = exact.predict(table, values | {"bkg_scale": values["bkg_scale"] / 2})
    assert told.mu_hat > truth.upper + (truth.upper - truth.lower)


def test_knowing_the_nuisances_narrows_the_higgs_interval(binned, toy):
    """The interval is shorter than the profiled one of the same histogram, and not far from mu = 1.5."""
    known = {"tes": 1.004, "jes": 0.995, "soft_met": 1.3, "bkg_scale": 1.0005}
    values = complete(HiggsTauTau().nuisances, known)
    answer = binned.predict(toy, values)
    _, pulls = binned.measurement(toy, values)
    assert set(pulls) == {"tes", "jes", "soft_met", "ttbar_scale", "diboson_scale", "bkg_scale"}
    profiled = binned.measurement.binned.interval(binned.measurement.score(toy))
    assert answer.upper - answer.lower < 0.9 * (profiled.upper - profiled.lower)
    # Five half-widths on each side; by chance 6e-7.
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2


@pytest.mark.parametrize("kind", ["exact", "binned"])
def test_saved_and_loaded_it_answers_the_same(kind, request, baseline, world, toy, tmp_path):
    """To the last bit, in either kind of world."""
    model = request.getfixturevalue(kind)
    if kind == "exact":
        (table, values), *_ = toys(world, 1)
    else:
        table, values = toy, dict.fromkeys(("tes", "jes", "ttbar_scale", "diboson_scale", "bkg_scale"), 1.0)
        values["soft_met"] = 0.0  # no noise at all: minus infinity in pulls
    model.save(tmp_path)
    loaded = baseline.Model()
    loaded.load(tmp_path)
    assert loaded.predict(table, values) == model.predict(table, values)
