"""The calibrated_regression baseline."""

import numpy as np
import pytest
from fairuniverse.simulators.inferno_toy import InfernoToy

from fairuniverse.errors import FitError
from fairuniverse.training import TrainingSet

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def baseline(load_as_stranger):
    """The module as a stranger's copy, with less training."""
    module = load_as_stranger("calibrated_regression")
    module.N_EVENTS, module.N_COPIES, module.MAX_EVENTS = 40_000, 8, 4_000
    module.CLASSIFIER, module.CLASSIFIER_EPOCHS = (16,), 3
    module.N_TOYS, module.REGRESSION, module.REGRESSION_EPOCHS = 20_000, (32,), 15
    module.MIN_CALIBRATION, module.MAX_CALIBRATION = 20, 300
    return module


@pytest.fixture(scope="module")
def train():
    """Events of INFERNO's toy, all nuisances floating."""
    world = InfernoToy()
    events = world.generate({p.name: 40_000 for p in world.processes}, seed=1)
    names = [p.name for p in world.nuisances]
    return TrainingSet(world, events, seed=1, nuisances=names, mu_range=(0.5, 2.5), confidence_level=0.6827)


@pytest.fixture(scope="module")
def model(baseline, train):
    """Fitted to that world."""
    fitted = baseline.Model()
    fitted.fit(train)
    return fitted


@pytest.fixture(scope="module")
def answers(model, baseline, train):
    """True mu and answers of 150 pseudo-experiments that nothing was trained or calibrated on."""
    baseline.MAX_CALIBRATION = 150
    other = TrainingSet(
        train.simulator,
        train.events,
        seed=99,
        nuisances=[p.name for p in train.nuisances],
        mu_range=train.mu_range,
        confidence_level=train.confidence_level,
    )
    return [(mu, model.predict(test)) for mu, test in baseline.pseudo_experiments(other)]


def test_the_next_pseudo_experiments_are_covered(answers):
    """As guaranteed: 68 % of 150, the calibration having 300 of its own.

    The scatter of both together is 4.7 %: outside 79 to 125 by chance 1 in 900.
    """
    hits = sum(a.lower <= mu <= a.upper for mu, a in answers)
    assert len(answers) == 150
    assert 79 <= hits <= 125


def test_it_measures_better_than_the_middle_of_the_range(answers):
    """Estimates follow the truth: their error is well below the spread of mu."""
    mu, mu_hat = np.array([(m, a.mu_hat) for m, a in answers]).T
    # Knowing nothing gives 1; exact likelihood 0.6. 150 toys tell this ratio to 6 %.
    assert np.std(mu_hat - mu) / np.std(mu) < 0.85


def test_saved_and_loaded_it_answers_the_same(model, baseline, train, tmp_path):
    """To the last bit, and without a pickle."""
    model.save(tmp_path)
    loaded = baseline.Model()
    loaded.load(tmp_path)
    (_, toy), *_ = baseline.pseudo_experiments(train)
    assert loaded.predict(toy) == model.predict(toy)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".npz", ".safetensors"}


def test_training_is_reproducible(model, baseline, train):
    """The same training set and templates give the same regression, bit for bit."""
    again = baseline.Regression.fit(model.binned.model, train)
    states = [r.network.state_dict() for r in (model.regression, again)]
    assert all(np.array_equal(states[0][k].numpy(), states[1][k].numpy()) for k in states[0])


def test_impossible_counts_are_no_answer(model, baseline):
    """A network that gives no number gives a status instead."""
    counts = np.full(len(model.regression.centre), np.nan)
    with pytest.raises(FitError, match="gives no number"):
        model.regression(counts)


def test_it_measures_the_higgs_world(baseline, make_training, toy):
    """Two pseudo-experiments of a million events calibrate nothing, but the whole chain runs."""
    baseline.MIN_CALIBRATION = baseline.MAX_CALIBRATION = 3
    model = baseline.Model()
    model.fit(make_training())
    answer = model.predict(toy)
    assert answer.lower < answer.mu_hat < answer.upper
