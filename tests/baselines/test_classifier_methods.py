"""The baselines that differ in how their classifier is trained: augmentation, adversarial, tangent_prop."""

import numpy as np
import pytest
from fairuniverse.simulators.gaussian_2d import Gaussian2D
from fairuniverse.simulators.inferno_toy import InfernoToy

from exact_events import training_set
from fairuniverse.learning import NetworkScore, Standardizer, deterministic
from fairuniverse.nuisance import complete
from fairuniverse.seeding import Streams

pytest.importorskip("torch")

NAMES = ("augmentation", "adversarial", "tangent_prop")
SMALL = {
    "N_EVENTS": 20_000,
    "N_COPIES": 8,
    "MAX_EVENTS": 2_000,
    "HIDDEN": (16,),
    "N_EPOCHS": 2,
    "N_ROUNDS": 30,
    "N_ADVERSARY_STEPS": 2,
}


@pytest.fixture(scope="module")
def load_small(load_as_stranger):
    """A baseline as a stranger's copy, with less training."""

    def load(name, **changes):
        module = load_as_stranger(name)
        for constant, value in {**SMALL, **changes}.items():
            if hasattr(module, constant):
                setattr(module, constant, value)
        return module

    return load


@pytest.fixture(scope="module")
def train():
    """Events of INFERNO's toy."""
    return training_set(InfernoToy(), n_events=40_000)


@pytest.fixture(scope="module", params=NAMES)
def fitted(request, load_small, train):
    """Each baseline, and its module."""
    module = load_small(request.param)
    model = module.Model()
    model.fit(train)
    return module, model


def draw(mu, nuisances, *key):
    """One pseudo-experiment of that world."""
    world = InfernoToy()
    return world.fresh_sampler().sample(mu, complete(world.nuisances, nuisances), streams=Streams(7, *key))


def test_the_classifier_separates_and_the_interval_surrounds_its_estimate(fitted):
    """Signal scores higher than background, and the answer is near the truth."""
    _, model = fitted
    table = InfernoToy().generate({"signal": 2000, "background": 2000}, seed=3)
    scores = model.score(table.to_pandas())
    # A network that learnt nothing has 0 +- 0.03 standard deviations between the means; these have above 0.5.
    distance = scores[:2000].mean() - scores[2000:].mean()
    assert distance > 0.3 * scores.std()
    answer = model.predict(draw(1.5, {}, 0).to_pandas())
    assert answer.lower < answer.mu_hat < answer.upper
    # Five half-widths on each side; by chance 6e-7.
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2


def test_saved_and_loaded_it_answers_the_same(fitted, tmp_path):
    """To the last bit, from safetensors and NumPy's format, not from a pickle."""
    module, model = fitted
    model.save(tmp_path)
    loaded = module.Model()
    loaded.load(tmp_path)
    toy = draw(1.0, {"r": 0.3}, 1).to_pandas()
    assert loaded.predict(toy) == model.predict(toy)
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".npz", ".safetensors"}


def test_training_is_reproducible(fitted, train):
    """The same training set gives the same weights, bit for bit."""
    _, model = fitted
    again = type(model)().train_score(train)
    states = [s.network.state_dict() for s in (model.score, again)]
    assert all(np.array_equal(states[0][k].numpy(), states[1][k].numpy()) for k in states[0])


def test_intervals_cover(fitted):
    """However bad the classifier: of 40 toys 68 % cover, outside 17 to 36 by chance 1 in 2,000."""
    _, model = fitted
    world, hits = InfernoToy(), 0
    for i in range(40):
        streams = Streams(11, i)
        values = {p.name: p.draw(rng=streams.rng(p.name)) for p in world.nuisances}
        answer = model.predict(draw(1.0, values, 2, i).to_pandas())
        hits += answer.lower <= 1.0 <= answer.upper
    assert 17 <= hits <= 36


@pytest.mark.parametrize("name", NAMES[1:])
def test_it_measures_the_higgs_world(load_small, make_training, toy, name):
    """Missing values, azimuths and six nuisances are no obstacle."""
    model = load_small(name).Model()
    model.fit(make_training())
    answer = model.predict(toy)
    assert set(model.binned.model.names[1:]) == {p.name for p in make_training().nuisances}
    assert answer.lower < answer.mu_hat < answer.upper
    # Half-width about 2 with so few training events; five of them on each side.
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2


def test_the_adversary_learns_a_conditional_density(load_as_stranger):
    """Its mixture is a density: it integrates to one over the nuisance, whatever the network says."""
    import torch

    module = load_as_stranger("adversarial")
    grid = torch.linspace(-30, 30, 6001)[:, None]
    outputs = torch.linspace(-1, 1, 3 * module.N_COMPONENTS).expand(len(grid), -1)
    density = torch.exp(module.mixture_log_density(outputs, grid))
    assert float(density.sum() * 60 / 6000) == pytest.approx(1.0, abs=1e-3)


def test_a_large_penalty_hides_the_nuisance(load_small, train):
    """The mean background score follows the shift of the background less where the adversary is paid for."""
    moves, size = (
        [],
        {"N_EVENTS": 40_000, "N_COPIES": 12, "MAX_EVENTS": 5000, "HIDDEN": (32, 32), "N_EPOCHS": 3},
    )
    for penalty, n_rounds in ((0.0, 1), (10.0, 300)):
        module = load_small("adversarial", PENALTY=penalty, N_ROUNDS=n_rounds, N_ADVERSARY_STEPS=5, **size)
        score = module.Model().train_score(train)
        tables = (train.shift(r=r) for r in (-0.4, 0.4))
        means = [score(t[t["label"] == 0]).mean() for t in tables]
        moves.append(abs(means[1] - means[0]) / score(train.data).std())
    assert moves[1] < 0.8 * moves[0]


def test_tangents_are_the_derivatives_of_the_inputs(load_small):
    """On the rotated Gaussian the tangent of x is (-sin z, cos z) for signal, per prior sigma of 0.5 rad."""
    module = load_small("tangent_prop")
    train = training_set(Gaussian2D(), n_events=500)
    standardizer = Standardizer.fit(train.data, train.features)
    features, label, weights, tangents = module.tangent_sample(train, standardizer)
    assert features.shape == (1000, 2)
    assert tangents.shape == (1000, 1, 2)
    assert weights.sum() == pytest.approx(101_000)
    z = np.pi / 4
    sigmas = np.array([c.sigma for c in standardizer.columns])
    expected = 0.5 * np.array([-np.sin(z), np.cos(z)]) / sigmas
    # Differences over half a sigma miss the derivative of a circle by 1 %.
    assert tangents[label == 1, 0].mean(axis=0) == pytest.approx(expected, rel=0.02)
    assert tangents[label == 0, 0].mean(axis=0) == pytest.approx(-expected, rel=0.02)


def test_the_penalty_is_the_squared_slope(load_small):
    """Of a linear network: cross-entropy plus (sigmoid' w.t)^2 for each event."""
    import torch

    module = load_small("tangent_prop")
    with deterministic(seed=1):
        network = torch.nn.Linear(2, 1)
    x, tangents = torch.randn(5, 2), torch.randn(5, 1, 2)
    target = torch.zeros(5)
    plain = module.flat_cross_entropy(network, x, target, torch.zeros(5, 1, 2))
    slope = torch.sigmoid(network(x)) * (1 - torch.sigmoid(network(x))) * (tangents[:, 0] @ network.weight.T)
    expected = plain + module.PENALTY * slope.squeeze(1) ** 2
    assert torch.allclose(module.flat_cross_entropy(network, x, target, tangents), expected)


def test_scores_of_networks_are_their_logits(train, tmp_path):
    """One number per event, the same after a round trip."""
    standardizer = Standardizer.fit(train.data, train.features)
    with deterministic(seed=2):
        score = NetworkScore.untrained(standardizer, (4,))
    score.save(tmp_path)
    scores = score(train.data)
    assert scores.shape == (len(train.data),)
    assert np.array_equal(NetworkScore.load(tmp_path)(train.data), scores)
