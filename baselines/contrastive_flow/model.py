"""Contrastive normalizing flows as features of a classifier, templates, profile likelihood.

After Elsharkawy and Kahn, "Contrastive normalizing flows for uncertainty-aware parameter estimation"
(arXiv:2505.08709). Its card is README.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fairuniverse import Interval
from fairuniverse.errors import FitError
from fairuniverse.learning import (
    ScoreCells,
    ShiftedCopies,
    Standardizer,
    balanced,
    binary_cross_entropy,
    deterministic,
    further_events,
    load_network,
    mlp,
    outputs,
    save_network,
    shifted_copies,
    template_events,
    train_network,
)
from fairuniverse.likelihood import best_start, binned_model, load_model, profile_interval, save_model
from fairuniverse.seeding import generator

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet

N_SIGNAL, BACKGROUND_FACTOR, MAX_SIMULATED = 100_000, 1.5, 1_500_000
"""Events to simulate: of the signal, and of a background process over its yield, but not less or more."""

N_COPIES, MAX_EVENTS = 10, 25_000
"""Points in the nuisances to learn from, and events of each process at each of them."""

N_LAYERS, WIDTH = 4, 32
"""Coupling layers of a flow, and hidden units of the network in each."""

CONTRAST = 0.2
"""Weight of the other class in the loss of a flow, 1/c of the paper."""

FLOOR = 10.0
"""Depth below the mean log density of a normal distribution where the other class is far enough away."""

BLUR = 0.05
"""Noise on the standardised features in training, without which a discrete one has no density."""

HIDDEN = (64, 64)
N_EPOCHS, BATCH_SIZE, LEARNING_RATE = 5, 2048, 3e-3
MAX_FEATURE = 6.0
"""Standardised log densities that the classifier sees end here."""

STEP, MAX_DERIVATIVE = 0.5, 5.0
"""Prior standard deviations of the difference that stands for a derivative, and where those are cut."""

N_CELLS, N_CELL_EVENTS, MIN_BACKGROUND_COUNT = 120, 200_000, 100.0
"""Bins in the space of what an event tells, events to find them, and simulated background in each."""

_MAX_LOGIT = 50.0
_MAX_SHAPE = 1.0
_MAX_ARGUMENT = 8.0
_CHUNK = 1 << 15


class Model:
    """Signal strength from a histogram in what a classifier and two flows say about each event."""

    def fit(self, train: TrainingSet) -> None:
        """Learn flows, classifier and bins from events simulated for it; fill templates."""
        self.confidence_level = train.confidence_level
        fresh = further_events(train, _numbers(train), purpose="contrastive flow")
        self.score = Score.fit(fresh)
        templates = template_events(train)
        learnt = fresh.shift()
        few = learnt.iloc[:: 1 + len(learnt) // N_CELL_EVENTS]
        del learnt
        self.cells = self._choose_cells(few, templates.shift())
        self.binned = binned_model(templates, self._bins, self.cells.n_cells)

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment."""
        likelihood = self.binned.likelihood(np.bincount(self._bins(test), minlength=self.cells.n_cells))
        start = best_start(likelihood)
        return profile_interval(likelihood, confidence_level=self.confidence_level, start=start).interval

    def save(self, folder: str | Path) -> None:
        """Write the networks as safetensors, numbers as JSON and in NumPy's format."""
        self.score.save(Path(folder))
        save_model(self.binned, Path(folder) / "binned.npz")
        np.savez(
            Path(folder) / "cells.npz", **{f.name: getattr(self.cells, f.name) for f in fields(ScoreCells)}
        )
        words = json.dumps({"confidence_level": self.confidence_level})
        (Path(folder) / "interval.json").write_text(words, encoding="utf-8")

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        self.score = Score.load(Path(folder))
        self.binned = load_model(Path(folder) / "binned.npz")
        with np.load(Path(folder) / "cells.npz", allow_pickle=False) as file:
            self.cells = ScoreCells(*(file[f.name] for f in fields(ScoreCells)))
        words = json.loads((Path(folder) / "interval.json").read_text(encoding="utf-8"))
        self.confidence_level = words["confidence_level"]

    def _bins(self, table: pd.DataFrame) -> NDArray[np.intp]:
        return self.cells(self.score(table))

    def _choose_cells(self, learnt: pd.DataFrame, filled: pd.DataFrame) -> ScoreCells:
        """Cells of the events that were learnt from, but only those that the templates know well."""
        scores, weights = self.score(learnt), learnt["weights"].to_numpy()
        constraints = np.r_[0.0, np.ones(scores.shape[1] - 1)]
        cells = ScoreCells.fit(scores, weights, n_cells=N_CELLS, constraints=constraints)
        is_background = filled["label"].to_numpy() == 0
        weights, found = filled["weights"].to_numpy()[is_background], cells(self.score(filled[is_background]))
        sums, squares = (np.bincount(found, weights**k, minlength=len(cells.centres)) for k in (1, 2))
        counts = np.divide(sums**2, squares, out=np.zeros(len(sums)), where=squares > 0)
        return cells.without_poor(counts, MIN_BACKGROUND_COUNT)


class Coupling(nn.Module):
    """Map of half of the features by a function whose parameters the other half and the nuisances decide.

    Affine, then sinh-arcsinh (Jones and Pewsey, Biometrika 96 (2009) 761): with v = (x - t) e^s the result is
    sinh(e^d arsinh(v) + e), where e skews and d makes tails. It is monotonic and has its inverse and
    derivative in closed form.

    Args:
        order: Order of the features: the first half decides about the second.
        n_conditions: Number of nuisance parameters.
        width: Hidden units.
    """

    order: Tensor

    def __init__(self, order: Tensor, n_conditions: int, width: int) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self._n_fixed = len(order) // 2
        n_moved = len(order) - self._n_fixed
        self.network = mlp(self._n_fixed + n_conditions, (width,), 4 * n_moved, is_zero_at_start=True)

    def forward(self, x: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Mapped features, (n_events, n_features), and the logarithm of the determinant, (n_events,)."""
        parts = [self._n_fixed, x.shape[1] - self._n_fixed]
        fixed, moved = torch.split(x[:, self.order], parts, dim=1)
        raw = self.network(torch.cat([fixed, conditions], dim=1))
        shift, log_scale, skew, log_tail = raw.chunk(4, dim=1)
        log_scale, log_tail = 2 * torch.tanh(log_scale / 2), _MAX_SHAPE * torch.tanh(log_tail / _MAX_SHAPE)
        v = (moved - shift) * torch.exp(log_scale)
        u = torch.exp(log_tail) * torch.asinh(v) + skew
        u = torch.clamp(u, -_MAX_ARGUMENT, _MAX_ARGUMENT)
        slope = log_scale + log_tail + torch.log(torch.cosh(u)) - torch.log1p(v * v) / 2
        return torch.cat([fixed, torch.sinh(u)], dim=1), slope.sum(dim=1)


class Flow(nn.Module):
    """Normalizing flow: an invertible map under which events of its class are normally distributed.

    Args:
        n_features: Number of features.
        n_conditions: Number of nuisance parameters that the density depends on.
        n_layers: Number of coupling layers.
        width: Hidden units of each.
    """

    def __init__(self, n_features: int, n_conditions: int, n_layers: int, width: int) -> None:
        super().__init__()
        swap = torch.arange(n_features).roll(-(n_features // 2))
        orders = [swap if i % 2 else torch.randperm(n_features) for i in range(n_layers)]
        self.layers = nn.ModuleList(Coupling(order, n_conditions, width) for order in orders)

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        """Logarithm of the density at the given pulls of the nuisances, shape (n_events,)."""
        log_density = torch.zeros(len(x))
        for layer in self.layers:
            x, slope = layer(x, conditions)
            log_density = log_density + slope
        return log_density - (x * x).sum(dim=1) / 2 + x.shape[1] * _LOG_PEAK


_LOG_PEAK = -0.5 * float(np.log(2 * np.pi))


def contrastive_loss(flow: nn.Module, x: Tensor, conditions: Tensor, is_own: Tensor) -> Tensor:
    """Minus the log density of the own class; plus that of the other class, down to a floor, (n_events,).

    The paper's loss, -c E_own[ln p] + E_other[max(ln p, floor)], divided by c: the flow is drawn to its class
    and pushed away from the other, so that it is accurate where the two differ.
    """
    log_density = flow(x + BLUR * torch.randn_like(x), conditions)
    floor = x.shape[1] * (_LOG_PEAK - 0.5) - FLOOR
    return torch.where(is_own, -log_density, CONTRAST * torch.clamp(log_density, min=floor))


class FlowClassifier(nn.Module):
    """Two flows, and a classifier that sees the features and the log densities at the centre of the priors.

    Args:
        n_features: Number of features.
        n_conditions: Number of shape nuisances.
        n_layers: Coupling layers of each flow.
        width: Hidden units of each layer.
        hidden: Hidden layers of the classifier.
    """

    mean: Tensor
    sigma: Tensor

    def __init__(
        self, n_features: int, n_conditions: int, n_layers: int, width: int, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self._n_conditions = n_conditions
        self.signal = Flow(n_features, n_conditions, n_layers, width)
        self.background = Flow(n_features, n_conditions, n_layers, width)
        self.classifier = mlp(n_features + 2, hidden)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("sigma", torch.ones(2))

    def log_densities(self, x: Tensor) -> Tensor:
        """Logarithms of both densities, shape (n_events, 2)."""
        centre = torch.zeros(len(x), self._n_conditions)
        return torch.stack([self.signal(x, centre), self.background(x, centre)], dim=1)

    def inputs(self, x: Tensor, log_densities: Tensor) -> Tensor:
        """What the classifier sees, shape (n_events, n_features + 2)."""
        logs = torch.clamp((log_densities - self.mean) / self.sigma, -MAX_FEATURE, MAX_FEATURE)
        return torch.cat([x, logs], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logit of signal, and derivatives of the background's log density, (n_events, 1 + n_conditions)."""
        logs = self.log_densities(x)
        columns = [self.classifier(self.inputs(x, logs))[:, 0]]
        for step in STEP * torch.eye(self._n_conditions):
            columns.append((self.background(x, step.expand(len(x), -1)) - logs[:, 1]) / STEP)
        return torch.stack(columns, dim=1)


@dataclass(frozen=True, eq=False)
class Score:
    """What an event tells about mu and the shape nuisances: derivatives of the logarithm of its density.

    In mu, at mu = 1, this is the probability of signal; in a nuisance, that of the background's density, as
    far as the event is background. Normalisations need no number of their own: they move the same shapes.

    Attributes:
        standardizer: From a table to the inputs of the network.
        network: Flows and classifier.
        config: Arguments that build the network.
        log_odds: Logarithm of the expected signal over the background, which the classifier saw as equals.
    """

    standardizer: Standardizer
    network: nn.Module
    config: Mapping[str, Any]
    log_odds: float

    @classmethod
    def fit(cls, events: TrainingSet) -> Score:
        """Train on events that no template holds, at values all over the priors of the shape nuisances."""
        nominal = events.shift()
        standardizer = Standardizer.fit(nominal, events.features, azimuths="relative")
        background, signal = np.bincount(nominal["label"], nominal["weights"], minlength=2)
        del nominal
        sample = shifted_copies(
            events, N_COPIES, seed=events.seed, max_events=MAX_EVENTS, transform=standardizer
        )
        config: dict[str, Any] = {
            "n_features": standardizer.n_out,
            "n_conditions": len(sample.nuisances),
            "n_layers": N_LAYERS,
            "width": WIDTH,
            "hidden": HIDDEN,
        }
        seed = int(generator(events.seed, "contrastive flow").integers(2**31))
        with deterministic(seed):
            network = FlowClassifier(**config)
            _train(network, sample, seed)
        return cls(standardizer, network.eval(), config, float(np.log(signal / background)))

    def __call__(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Derivatives for each event, shape (n_events, 1 + n_shape_nuisances).

        Raises:
            FitError: Outputs that are not finite.
        """
        columns = outputs(self.network, self.standardizer(table)).astype(np.float64)
        if not np.isfinite(columns).all():
            raise FitError("the networks answer numbers that are not finite: check the events")
        signal = 1 / (1 + np.exp(np.clip(-columns[:, 0] - self.log_odds, -_MAX_LOGIT, _MAX_LOGIT)))
        moved = (1 - signal[:, None]) * np.clip(columns[:, 1:], -MAX_DERIVATIVE, MAX_DERIVATIVE)
        return np.column_stack([signal, moved])

    def save(self, folder: Path) -> None:
        """Write the network and how features are prepared for it."""
        save_network(self.network, folder / "network.safetensors", self.config)
        words = {
            "standardizer": self.standardizer.to_json(),
            "config": dict(self.config),
            "log_odds": self.log_odds,
        }
        (folder / "score.json").write_text(json.dumps(words), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Score:
        """Read what `save` wrote."""
        words = json.loads((folder / "score.json").read_text(encoding="utf-8"))
        network = load_network(folder / "network.safetensors", FlowClassifier)
        standardizer = Standardizer.from_json(words["standardizer"])
        return cls(standardizer, network, words["config"], words["log_odds"])


def _numbers(train: TrainingSet) -> dict[str, int]:
    """Events of each process to simulate."""
    wanted = {p.name: round(BACKGROUND_FACTOR * p.expected_yield) for p in train.processes}
    return {
        p.name: N_SIGNAL if p.is_signal else min(max(wanted[p.name], N_SIGNAL), MAX_SIMULATED)
        for p in train.processes
    }


def _train(network: FlowClassifier, sample: ShiftedCopies, seed: int) -> None:
    """Train both flows, then the classifier on top of them; signal weighs as much as background."""
    x, pulls, is_signal = sample.features, sample.pulls, sample.label == 1
    options: dict[str, Any] = {
        "seed": seed,
        "weights": balanced(sample.weights, sample.label),
        "n_epochs": N_EPOCHS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
    }
    train_network(network.signal, (x, pulls, is_signal), contrastive_loss, title="signal flow", **options)
    train_network(
        network.background, (x, pulls, ~is_signal), contrastive_loss, title="background flow", **options
    )
    logs = _in_chunks(network.log_densities, x)
    network.mean.copy_(logs.mean(dim=0))
    network.sigma.copy_(logs.std(dim=0))
    inputs = network.inputs(torch.from_numpy(x), logs).numpy()
    train_network(
        network.classifier, (inputs, sample.label), binary_cross_entropy, title="classifier", **options
    )


def _in_chunks(function: Callable[[Tensor], Tensor], x: NDArray[np.float32]) -> Tensor:
    """A function of events without gradients, in pieces that fit into the cache."""
    with torch.no_grad():
        return torch.cat([function(part) for part in torch.split(torch.from_numpy(x), _CHUNK)])
