"""The inferno baseline."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fairuniverse.simulators.inferno_toy import InfernoToy

from exact_events import draw, training_set
from fairuniverse.errors import FitError
from fairuniverse.learning import deterministic, mlp
from fairuniverse.likelihood import BinnedModel, DensityModel, Templates

NUISANCES = ("r", "rate", "bkg_scale")


@pytest.fixture(scope="module")
def submission(load_as_stranger):
    """The module as a stranger's copy, with a training of seconds."""
    module = load_as_stranger("inferno")
    module.N_SIGNAL, module.MAX_SIMULATED, module.N_LEARNT = 20_000, 40_000, 20_000
    module.N_EPOCHS, module.BATCH_SIZE, module.N_CLASSIFIER_EPOCHS = 6, 1024, 1
    module.LEARNING_RATE, module.HIDDEN = 1e-2, (32, 32)
    return module


@pytest.fixture(scope="module")
def world():
    """INFERNO's toy with its three nuisance parameters."""
    return InfernoToy(benchmark=4)


@pytest.fixture(scope="module")
def model(submission, world):
    """The fitted model."""
    fitted = submission.Model()
    fitted.fit(training_set(world))
    return fitted


class AsTheyAre:
    """The three features of a table, in the place of a `Standardizer`."""

    n_out = 3

    def __call__(self, table):
        """The inputs of the network."""
        return table.to_numpy(np.float32)


@pytest.fixture(scope="module")
def sample(submission, world):
    """Events to learn from, their three features as they are."""
    train = training_set(world)
    points, _ = submission._neighbours([p for p in world.nuisances if p.kind == "shape"])
    return submission.Sample.simulate(train, submission._new_events(train), points, AsTheyAre())


@pytest.fixture(scope="module")
def expected_error(submission, sample, world):
    """The loss of these events."""
    _, steps = submission._neighbours([p for p in world.nuisances if p.kind == "shape"])
    return submission.ExpectedError(world.processes, world.nuisances, sample, steps, 1)


def in_two_bins(features):
    """Hard shares of a single cut on the first feature, at 1."""
    upper = torch.from_numpy(features[..., 0] > 1.0).double()
    return torch.stack([1 - upper, upper], dim=-1)


def test_copies_are_the_same_events(sample):
    """The background moves by 0.4 per unit of the pull of r, and nothing else changes."""
    background = sample.process == 1
    moved = sample.features[:, 1] - sample.features[:, 2]
    assert sample.features.shape[1] == 5
    assert moved[background, 0] == pytest.approx(0.4, abs=1e-5)  # half a pull up and down
    assert not moved[~background].any()
    assert not moved[:, 1:].any()


def test_the_information_is_that_of_the_counts(expected_error, sample):
    """Two bins: counts, derivatives and information agree with the normal distribution of x0.

    20,000 events of each process: the smaller share is known to 1 %, five of them are allowed.
    """
    tensors = [torch.from_numpy(a) for a in (sample.weights, sample.process)]
    expected = expected_error.expected(in_two_bins(sample.features), *tensors)
    width = math.sqrt(5.0)
    below = [0.5 * (1 + math.erf(1.0 / math.sqrt(2))), 0.5 * (1 + math.erf(-1 / width / math.sqrt(2)))]
    exact = np.array([[50 * below[0], 50 * (1 - below[0])], [1000 * below[1], 1000 * (1 - below[1])]])
    assert expected[0].numpy() == pytest.approx(exact, rel=0.05)
    slope = 1000 * 0.4 * math.exp(-0.5 / 5) / math.sqrt(2 * math.pi * 5)
    derivatives = np.array([exact[0], [-slope, slope], [0.0, 0.0], 0.1 * exact[1]])
    information = (derivatives / exact.sum(axis=0)) @ derivatives.T + np.diag([0.0, 1.0, 1.0, 1.0])
    assert expected_error.information(expected).numpy() == pytest.approx(information, rel=0.05, abs=0.3)


def test_without_shapes_it_is_the_information_of_the_likelihood(submission, sample, world):
    """The fit that comes later has the same Fisher information in mu and a normalisation."""
    scale = world.nuisances[2]
    one_copy = replace(sample, features=sample.features[:, :1], weights=sample.weights[:, :1])
    loss = submission.ExpectedError(world.processes, (scale,), one_copy, (), 1)
    tensors = [torch.from_numpy(a) for a in (one_copy.weights, one_copy.process)]
    expected = loss.expected(in_two_bins(one_copy.features), *tensors)
    templates = Templates(world.processes, expected[0].numpy(), np.zeros((2, 2)))
    binned = BinnedModel(templates, (scale,))
    assert loss.information(expected).numpy() == pytest.approx(
        binned.fisher_information(binned.start), rel=1e-5
    )


def test_the_gradient_of_the_loss_is_right(expected_error, sample):
    """Derivatives in all weights of a network agree with finite differences in double precision."""
    rows = np.r_[0:40, -60:0]
    x, weights = (torch.from_numpy(a[rows]).double() for a in (sample.features, sample.weights))
    process = torch.from_numpy(sample.process[rows])
    with deterministic(1):
        network = mlp(3, (3,), 4).double()
    names, values = zip(*network.named_parameters(), strict=True)

    def value(*parameters):
        def call(features):
            return torch.func.functional_call(network, dict(zip(names, parameters, strict=True)), (features,))

        return expected_error(call, x, weights, process)

    inputs = tuple(v.detach().requires_grad_() for v in values)
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_learnt_bins_beat_those_that_ignore_the_nuisances(model, world):
    """Even a short training comes within 25 % of the bound; bins that ignore nuisances are 66 % above it."""
    bound = DensityModel(world.densities, NUISANCES).expected_sigma()
    assert 1.0 < model.binned.expected_sigma() / bound < 1.25


def test_every_bin_knows_its_background(model, submission, world):
    """Joined bins are numbered without a gap, hold enough background, and every event has one."""
    templates = model.binned.templates
    assert templates.effective_counts[1].min() >= submission.MIN_BACKGROUND_COUNT
    assert templates.yields.sum() == pytest.approx(1050)
    toy = draw(world)
    assert np.bincount(model.binning(toy), minlength=templates.n_bins).sum() == len(toy)


def test_predict_answers_near_the_truth(model, world):
    """At mu = 2 with shifted nuisances the answer is within five half-widths (by chance 6e-7)."""
    answer = model.predict(draw(world, 2.0, r=0.3, rate=2.5, bkg_scale=1.05))
    assert answer.lower < answer.mu_hat < answer.upper
    assert abs(answer.mu_hat - 2.0) < 5 * (answer.upper - answer.lower) / 2


def test_saved_and_loaded_it_answers_the_same(model, submission, world, tmp_path):
    """To the last bit, and the confidence level is obeyed."""
    toy = draw(world)
    model.save(tmp_path)
    loaded = submission.Model()
    loaded.load(tmp_path)
    assert loaded.predict(toy) == model.predict(toy)
    loaded.confidence_level = 0.9545
    wide, narrow = loaded.predict(toy), model.predict(toy)
    assert (wide.upper - wide.lower) / (narrow.upper - narrow.lower) == pytest.approx(2, rel=0.1)


def test_two_fits_give_the_same_bits(model, submission, world):
    """The same training set gives the same network and templates."""
    again = submission.Model()
    again.fit(training_set(world))
    for a, b in zip(again.binning.network.parameters(), model.binning.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert np.array_equal(again.binned.templates.yields, model.binned.templates.yields)


def test_events_that_are_no_numbers_are_refused(model, world):
    """A feature that is not finite is an error, not an event in the first bin."""
    toy = draw(world)
    toy.loc[3, "x1"] = np.nan
    with pytest.raises(FitError, match="not finite"):
        model.predict(toy)


@pytest.mark.parametrize("nuisances", [(), ("bkg_scale",), ("rate",)])
def test_any_nuisances_may_float(submission, world, nuisances):
    """Only floating nuisances become fit parameters; none at all is possible."""
    model = submission.Model()
    model.fit(training_set(world, nuisances))
    assert set(model.binned.names) == {"mu", *nuisances}
    assert model.predict(draw(world)).lower < model.predict(draw(world)).upper


def test_it_measures_in_the_higgs_world(submission, make_training, toy):
    """Jets that are missing, added noise and a selection: the answer is near the true mu of 1.5."""
    model = submission.Model()
    model.fit(make_training(("tes", "soft_met", "ttbar_scale")))
    answer = model.predict(toy)
    assert answer.lower < answer.mu_hat < answer.upper
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2
