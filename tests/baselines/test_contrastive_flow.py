"""The contrastive_flow baseline."""

import numpy as np
import pytest
import torch
from fairuniverse.simulators.gaussian_2d import Gaussian2D
from fairuniverse.simulators.inferno_toy import InfernoToy

from exact_events import draw, training_set
from fairuniverse.errors import FitError
from fairuniverse.learning import deterministic


@pytest.fixture(scope="module")
def submission(load_as_stranger):
    """The module as a stranger's copy, with a training of seconds."""
    module = load_as_stranger("contrastive_flow")
    module.N_SIGNAL, module.MAX_SIMULATED, module.MAX_EVENTS = 10_000, 20_000, 4_000
    module.N_COPIES, module.N_CELLS, module.N_CELL_EVENTS = 4, 25, 20_000
    module.N_IMITATED, module.N_IMITATION_EPOCHS = 20_000, 2
    module.N_EPOCHS, module.BATCH_SIZE, module.N_LAYERS, module.WIDTH = 2, 512, 2, 8
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


def random_flow(submission, n_features, seed=4):
    """A flow that does something: its networks do not start at zero."""
    with deterministic(seed):
        flow = submission.Flow(n_features, 1, 4, 8)
        for p in flow.parameters():
            torch.nn.init.normal_(p, std=0.15)
    return flow.double()


def test_densities_integrate_to_one(submission):
    """Over a plane, whatever the weights and the nuisance, up to the fineness of the grid."""
    flow = random_flow(submission, 2)
    axis = torch.linspace(-12, 12, 241, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    for z in (-1.0, 1.0):
        with torch.no_grad():
            density = torch.exp(flow(x, torch.full((len(x), 1), z, dtype=torch.float64)))
        assert float(density.sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-3)


def test_the_determinant_is_that_of_the_map(submission):
    """Each coupling's logarithm of the determinant is that of its Jacobian by automatic differentiation."""
    layer = random_flow(submission, 5).layers[0]
    x = torch.tensor([[0.3, -1.2, 0.8, 2.0, -0.1]], dtype=torch.float64)
    condition = torch.tensor([[0.7]], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None], condition)[0][0], x[0])
    _, log_determinant = layer(x, condition)
    assert log_determinant.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-10)


def test_the_loss_pushes_the_other_class_down_to_a_floor_only(submission):
    """Gradients of the other class point the other way, and end where its density is low enough."""

    def at(log_density, is_own):
        value = torch.tensor([log_density], requires_grad=True)
        loss = submission.contrastive_loss(
            lambda x, conditions: value, torch.zeros(1, 2), torch.zeros(1, 1), torch.tensor([is_own])
        )
        loss.sum().backward()
        return float(value.grad)

    assert at(-3.0, True) == -1
    assert at(-3.0, False) == pytest.approx(submission.CONTRAST)
    assert at(-100.0, False) == 0


def test_the_flows_know_the_classes(model, world, submission):
    """Signal is denser in the signal's flow: the means differ by over 30 standard errors."""
    table = training_set(world).data.iloc[::20]
    x = torch.from_numpy(model.score.standardizer(table))
    with torch.no_grad():
        logs = model.score.network.log_densities(x).numpy()
    ratio, label = np.clip(logs[:, 0] - logs[:, 1], -20, 20), table["label"].to_numpy()
    means = [ratio[label == k].mean() for k in (0, 1)]
    error = np.hypot(*(ratio[label == k].std() / np.sqrt((label == k).sum()) for k in (0, 1)))
    assert means[1] - means[0] > 30 * error


def test_predict_answers_near_the_truth(model, world):
    """At mu = 2 with shifted nuisances the answer is within five half-widths (by chance 6e-7)."""
    answer = model.predict(draw(world, 2.0, r=0.3, rate=2.5, bkg_scale=1.05))
    assert answer.lower < answer.mu_hat < answer.upper
    assert abs(answer.mu_hat - 2.0) < 5 * (answer.upper - answer.lower) / 2


def test_saved_and_loaded_it_answers_the_same(model, submission, world, tmp_path):
    """To the last bit, also when saved once more."""
    toy = draw(world)
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        model.save(folder)
        loaded = submission.Model()
        loaded.load(folder)
        assert loaded.predict(toy) == model.predict(toy)
        model = loaded


def test_two_fits_give_the_same_bits(model, submission, world):
    """The same training set gives the same networks and templates."""
    again = submission.Model()
    again.fit(training_set(world))
    for a, b in zip(again.score.network.parameters(), model.score.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert np.array_equal(again.binned.templates.yields, model.binned.templates.yields)


def test_events_that_are_no_numbers_are_refused(model, world):
    """A feature that is not finite is an error, not an event in some bin."""
    toy = draw(world)
    toy.loc[3, "x1"] = np.nan
    with pytest.raises(FitError, match="not finite"):
        model.predict(toy)


def test_no_nuisance_need_float(submission):
    """Without shape nuisances the flows have no conditions, and two features are enough."""
    world = Gaussian2D(luminosity=0.01)
    model = submission.Model()
    model.fit(training_set(world, ()))
    answer = model.predict(draw(world))
    assert answer.lower < answer.mu_hat < answer.upper


def test_it_measures_in_the_higgs_world(submission, make_training, toy):
    """Jets that are missing, added noise and a selection: the answer is near the true mu of 1.5."""
    model = submission.Model()
    model.fit(make_training(("tes", "bkg_scale")))
    answer = model.predict(toy)
    assert answer.lower < answer.mu_hat < answer.upper
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2
