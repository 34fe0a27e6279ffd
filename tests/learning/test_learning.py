"""The toolkit for methods that learn with networks."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from fairuniverse.simulators.gaussian_2d import Gaussian2D
from fairuniverse.simulators.higgs_tautau import HiggsTauTau

from fairuniverse.errors import FitError, InvalidDataError, MissingDependencyError
from fairuniverse.learning import (
    Standardizer,
    binary_cross_entropy,
    cross_entropy,
    deterministic,
    load_network,
    mlp,
    nuisance_design,
    outputs,
    save_network,
    shifted_copies,
    train_network,
)
from fairuniverse.nuisance import LogNormal, Normal, NuisanceParameter, Uniform
from fairuniverse.training import TrainingSet


def two_gaussians(n, seed=1):
    """Events of N(-1, 1) and N(1, 1) in one dimension: the logit of the second is 2 x."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    return (2 * labels[:, None] - 1 + rng.standard_normal((n, 1))).astype(np.float32), labels


def trained(seed=1, **options):
    """A small network trained on two Gaussians."""
    x, labels = two_gaussians(20_000)
    with deterministic(seed):
        network = mlp(1, (16,), 1)
        history = train_network(
            network, (x, labels), binary_cross_entropy, seed=seed, n_epochs=6, batch_size=256, **options
        )
    return network, history


@pytest.fixture(scope="module")
def rotated():
    """A training set of the rotated Gaussians."""
    world = Gaussian2D()
    events = world.generate({"signal": 300, "background": 500}, seed=3)
    return TrainingSet(world, events, seed=3, nuisances=("z",), mu_range=(0.1, 3.0), confidence_level=0.6827)


@pytest.fixture(scope="module")
def higgs():
    """Nominal Higgs events of all processes as a table."""
    world = HiggsTauTau()
    n_events = {"htautau": 3000, "ztautau": 3000, "ttbar": 3000, "diboson": 500}
    train = TrainingSet(
        world,
        world.generate(n_events, seed=4),
        seed=4,
        nuisances=("tes",),
        mu_range=(0.1, 3.0),
        confidence_level=0.6827,
    )
    return train.data, train.features


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_training_finds_the_likelihood_ratio(schedule):
    """A classifier of two known densities learns the logarithm of their ratio."""
    network, history = trained(schedule=schedule)
    x = np.linspace(-1.5, 1.5, 13, dtype=np.float32)[:, None]
    # Deterministic; the statistical error of such a slope from 20,000 events is 0.04.
    assert outputs(network, x)[:, 0] == pytest.approx(2 * x[:, 0], abs=0.25)
    assert history.validation[history.best_epoch] == min(history.validation)
    assert len(history.training) == 6


def test_equal_seeds_give_equal_bits():
    """The same seed gives the same weights to the last bit, another seed others."""
    first, again, other = (trained(seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_deterministic_leaves_no_trace():
    """Threads, mode and the state of random numbers are restored, after an exception, too."""
    threads, mode = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()

    def fail_inside():
        with deterministic(5, n_threads=threads + 1):
            assert torch.get_num_threads() == threads + 1
            assert torch.are_deterministic_algorithms_enabled()
            torch.rand(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == mode
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_count_as_events():
    """Twice the weight of one class moves the logit by ln 2."""
    x, labels = two_gaussians(20_000)
    with deterministic(1):
        network = mlp(1, (16,), 2)
        train_network(
            network,
            (x, labels),
            cross_entropy,
            seed=1,
            weights=1.0 + labels,
            n_epochs=6,
            batch_size=256,
        )
    logits = outputs(network, np.zeros((1, 1), np.float32))[0]
    assert logits[1] - logits[0] == pytest.approx(np.log(2), abs=0.15)


def test_a_loss_of_the_whole_batch_is_possible_without_weights():
    """A scalar loss, as of a method that optimises an uncertainty, is taken as it is; weights are refused."""
    x, _ = two_gaussians(500)

    def spread(network, batch):
        return (network(batch).mean() - 3.0) ** 2

    with deterministic(1):
        network = mlp(1, (4,), 1)
        train_network(network, (x,), spread, seed=1, n_epochs=30, batch_size=100, learning_rate=0.05)
        assert outputs(network, x).mean() == pytest.approx(3, abs=0.3)
        with pytest.raises(InvalidDataError, match="one number per batch"):
            train_network(network, (x,), spread, seed=1, weights=np.ones(500), n_epochs=1)


def test_patience_ends_a_training_that_gains_nothing():
    """Without information to learn the training stops, and the best epoch's weights are kept."""
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((2000, 5)).astype(np.float32), rng.integers(2, size=2000)
    with deterministic(1):
        network = mlp(5, (64, 64), 2)
        history = train_network(
            network,
            (x, labels),
            cross_entropy,
            seed=1,
            n_epochs=50,
            batch_size=100,
            learning_rate=0.01,
            patience=3,
            is_validation=np.arange(2000) % 4 == 0,
        )
        losses = torch.nn.functional.cross_entropy(
            network(torch.from_numpy(x[::4])), torch.from_numpy(labels[::4])
        )
    assert len(history.validation) == history.best_epoch + 4
    assert float(losses.detach()) == pytest.approx(history.validation[history.best_epoch], rel=1e-5)


def test_a_loss_that_is_not_finite_is_a_failure():
    """Inputs that are not numbers raise instead of giving a network of noise."""
    x, labels = two_gaussians(500)
    with deterministic(1), pytest.raises(FitError, match="never finite"):
        train_network(
            mlp(1, (4,), 1), (np.full_like(x, np.nan), labels), binary_cross_entropy, seed=1, n_epochs=2
        )


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ((np.zeros((5, 1), np.float32), np.zeros(4)), {}, r"\[5, 4\] rows"),
        (
            (np.zeros((5, 1), np.float32), np.zeros(5)),
            {"is_validation": np.zeros(5, bool)},
            "0 to validate",
        ),
    ],
)
def test_unusable_data_are_refused(data, options, message):
    """Arrays that do not fit together and an empty validation set are named."""
    with deterministic(1), pytest.raises(InvalidDataError, match=message):
        train_network(mlp(1, (4,), 1), data, binary_cross_entropy, seed=1, **options)


def test_a_saved_network_gives_the_same_outputs(tmp_path):
    """Weights and structure survive the file; a file without structure is refused."""
    config = {"n_in": 1, "hidden": [16], "n_out": 1}
    network, _ = trained()
    save_network(network, tmp_path / "n.safetensors", config)
    x = two_gaussians(100)[0]
    assert np.array_equal(outputs(load_network(tmp_path / "n.safetensors"), x), outputs(network, x))

    from safetensors.torch import save_file

    save_file(network.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(InvalidDataError, match="save_network"):
        load_network(tmp_path / "bare.safetensors")


def test_networks_can_start_at_zero_and_take_no_events():
    """A correction starts as none; no events give no outputs; unknown activations are refused."""
    with deterministic(1):
        network = mlp(3, (8, 8), 5, "tanh", is_zero_at_start=True)
    assert not outputs(network, np.ones((4, 3), np.float32)).any()
    assert outputs(network, np.ones((0, 3), np.float32)).shape == (0, 5)
    with pytest.raises(InvalidDataError, match="'sine' is not one of relu"):
        mlp(1, (4,), 1, "sine")


def test_without_torch_the_remedy_is_named(monkeypatch):
    """Where PyTorch is missing the message says what to install."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"fairuniverse\[torch\]"), deterministic(1):
        pass


def test_standardised_columns_have_unit_scale(higgs):
    """Present values have mean 0 and width 1, missing ones are flagged once for each set of features."""
    table, features = higgs
    standardizer = Standardizer.fit(table, features, azimuths="relative")
    x = standardizer(table)
    flags = [i for i, c in enumerate(standardizer.columns) if c.kind == "missing"]
    assert [standardizer.columns[i].name for i in flags] == ["PRI_jet_leading_pt", "PRI_jet_subleading_pt"]
    assert np.array_equal(x[:, flags[0]], table["PRI_n_jets"] == 0)
    assert x.dtype == np.float32
    assert x.shape == (len(table), standardizer.n_out)
    assert np.isfinite(x).all()
    assert np.abs(x).max() < 15
    for i, column in enumerate(standardizer.columns):
        if column.kind == "value":
            present = x[table[column.name] != -25, i]
            assert (present.mean(), present.std()) == pytest.approx((0, 1), abs=1e-2), column.name


def test_azimuths_only_enter_relative_to_each_other(higgs):
    """Turning the whole event changes no input; dropping leaves no azimuth at all."""
    table, features = higgs
    standardizer = Standardizer.fit(table, features, azimuths="relative")
    turned = table.copy()
    for name in features:
        if name.endswith("phi"):
            turned[name] = np.where(table[name] == -25, -25, table[name] + 0.7)
    assert standardizer(turned) == pytest.approx(standardizer(table), abs=1e-4)
    assert "PRI_had_phi" in {c.name for c in standardizer.columns}
    dropped = Standardizer.fit(table, features, azimuths="drop")
    assert not [c.name for c in dropped.columns if c.name.endswith("phi")]
    with pytest.raises(InvalidDataError, match="keep the azimuths"):
        Standardizer.fit(table, ["PRI_had_phi"], azimuths="drop")


def test_only_heavy_tails_become_logarithms():
    """Log-normal features are taken the logarithm of; exponential, normal and signed ones are not."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "heavy": np.exp(rng.standard_normal(20_000)),
            "exponential": rng.standard_exponential(20_000),
            "normal": 10 + rng.standard_normal(20_000),
            "signed": rng.standard_t(2, 20_000),
            "constant": np.full(20_000, 3.0),
        }
    )
    standardizer = Standardizer.fit(table, list(table))
    assert [c.name for c in standardizer.columns if c.log_scale] == ["heavy"]
    assert not standardizer(table)[:, -1].any()


def test_a_standardizer_survives_its_file(higgs):
    """From its plain values comes an equal one."""
    import json

    table, features = higgs
    standardizer = Standardizer.fit(table, features, azimuths="relative")
    assert Standardizer.from_json(json.loads(json.dumps(standardizer.to_json()))) == standardizer


PARAMETERS = (
    NuisanceParameter("a", Normal(1.0, 0.1), 1.0, (0.5, 1.5), "shape"),
    NuisanceParameter("b", Uniform(-2.0, 2.0), 0.0, (-3.0, 3.0), "shape"),
    NuisanceParameter("c", LogNormal(0.0, 1.0), 0.0, (0.0, 5.0), "shape"),
)


def test_the_design_fills_the_priors():
    """Points have the priors' means and widths, far better than random draws would, within the bounds."""
    points = nuisance_design(PARAMETERS, 500, seed=1)
    pulls = np.array([[p.prior.to_alpha(t) for p, t in zip(PARAMETERS, x, strict=True)] for x in points])[
        :, :2
    ]
    assert points.shape == (500, 3)
    assert points[:, 2].max() == 5.0
    # A random sample would scatter by 0.045.
    assert pulls.mean(axis=0) == pytest.approx(0, abs=0.02)
    assert pulls.std(axis=0) == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(pulls.T)[0, 1]) < 0.03
    wide = nuisance_design(PARAMETERS, 500, seed=1, spread=2.0)
    assert (wide[:, 0] - 1).std() / (points[:, 0] - 1).std() == pytest.approx(2, abs=0.1)
    assert np.array_equal(wide[:, 1], points[:, 1])


def test_shifted_copies_are_the_shifted_events(rotated):
    """Every copy is what the training set gives at that point, with weights that sum to the yields."""
    copies = shifted_copies(rotated, 3, seed=1)
    assert copies.points.shape == (3, 1)
    for i, (z,) in enumerate(copies.points):
        rows = copies.copy == i
        table = rotated.shift(z=z)
        assert np.array_equal(copies.features[rows], table[rotated.features].to_numpy())
        assert np.array_equal(copies.label[rows], table["label"])
        assert copies.weights[rows] == pytest.approx(table["weights"])
        assert copies.pulls[rows] == pytest.approx((z - np.pi / 4) / 0.5, abs=1e-6)


def test_thinned_copies_keep_their_yields(rotated):
    """Fewer events per process stand for the same yields; selection and transform are applied."""
    copies = shifted_copies(
        rotated,
        2,
        seed=1,
        max_events=200,
        select=lambda t: t["x0"].to_numpy() > -0.5,
        transform=lambda t: t[["x1"]].to_numpy(np.float32),
    )
    for i, (z,) in enumerate(copies.points):
        table = rotated.shift(z=z)
        table = table[table["x0"] > -0.5]
        for code in (0, 1):
            rows = (copies.copy == i) & (copies.process == code)
            chosen = table["process"].cat.codes == code
            assert rows.sum() == min(200, chosen.sum())
            assert copies.weights[rows].sum() == pytest.approx(table["weights"][chosen].sum())
    assert copies.features.shape == (len(copies.copy), 1)
    again = shifted_copies(rotated, 2, seed=1, max_events=200, select=lambda t: t["x0"].to_numpy() > -0.5)
    assert np.array_equal(again.copy, copies.copy)
    with pytest.raises(InvalidDataError, match="at least 1"):
        shifted_copies(rotated, 0, seed=1)
