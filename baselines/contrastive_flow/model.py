"""Contrastive normalizing flows as features of a classifier, templates, profile likelihood.

After Elsharkawy and Kahn, "Contrastive normalizing flows for uncertainty-aware parameter estimation"
(arXiv:2505.08709). Its card is README.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fairuniverse.errors import FitError
from fairuniverse.learning import (
    HistogramMethod,
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
    score_directions,
    shifted_copies,
    template_events,
    train_network,
)
from fairuniverse.seeding import generator

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet

N_SIGNAL, BACKGROUND_FACTOR, MAX_SIMULATED = 100_000, 1.5, 1_500_000
"""Events to simulate: of the signal, and of a background process over its yield, but not less or more."""

N_COPIES, MAX_EVENTS = 10, 50_000
"""Points in the nuisances to learn from, and events at each of them, the same number of each process."""

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

N_IMITATED, N_IMITATION_EPOCHS = 400_000, 8
"""Events from which one network learns what flows and classifier say about an event; passes over them."""

N_CELLS, N_CELL_EVENTS, MIN_BACKGROUND_COUNT = 300, 100_000, 60.0
"""Bins in the space of what an event tells, events to find them, and simulated background in each."""

_MAX_LOGIT = 50.0
_MAX_SHAPE = 1.0
_MAX_ARGUMENT = 8.0
_CHUNK = 1 << 15


class Model(HistogramMethod):
    """Signal strength from a histogram in what a classifier and two flows say about each event."""

    def fit(self, train: TrainingSet) -> None:
        """Learn flows, classifier and bins from events simulated for it; fill templates."""
        fresh = further_events(train, _numbers(train), purpose="contrastive flow")
        self.score = Score.fit(fresh)
        templates = template_events(train)
        learnt = fresh.shift()
        few = learnt.iloc[:: 1 + len(learnt) // N_IMITATED]
        del learnt
        self.measure_in(Imitation.fit(self.score, few, templates.shift(), fresh.seed), templates)

    def load_binning(self, folder: Path) -> Imitation:
        """Read the bins."""
        return Imitation.load(folder)


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
        log_odds: Logarithm of the expected signal over the background, which the classifier saw as equals.
    """

    standardizer: Standardizer
    network: nn.Module
    log_odds: float

    @classmethod
    def fit(cls, events: TrainingSet) -> Score:
        """Train on events that no template holds, at values all over the priors of the shape nuisances."""
        nominal = events.shift()
        standardizer = Standardizer.fit(nominal, events.features, azimuths="relative")
        background, signal = np.bincount(nominal["label"], nominal["weights"], minlength=2)
        del nominal
        n_each = MAX_EVENTS // len(events.processes)
        sample = shifted_copies(events, N_COPIES, seed=events.seed, max_events=n_each, transform=standardizer)
        seed = int(generator(events.seed, "contrastive flow").integers(2**31))
        with deterministic(seed):
            network = FlowClassifier(standardizer.n_out, len(sample.nuisances), N_LAYERS, WIDTH, HIDDEN)
            _train(network, sample, seed)
        return cls(standardizer, network.eval(), float(np.log(signal / background)))

    def __call__(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Derivatives for each event, shape (n_events, 1 + n_shape_nuisances)."""
        columns = outputs(self.network, self.standardizer(table)).astype(np.float64)
        signal = 1 / (1 + np.exp(np.clip(-columns[:, 0] - self.log_odds, -_MAX_LOGIT, _MAX_LOGIT)))
        moved = (1 - signal[:, None]) * np.clip(columns[:, 1:], -MAX_DERIVATIVE, MAX_DERIVATIVE)
        return np.column_stack([signal, moved])


@dataclass(frozen=True, eq=False)
class Imitation:
    """Cell of each event in the space of the scores, which one small network has learnt to imitate.

    Flows take ten times as long, and every event is evaluated in every shifted template. What the imitation
    gets wrong costs precision, as whatever the flows get wrong does.

    Attributes:
        standardizer: From a table to the inputs of the network.
        network: From these to a space in which squared distances are lost information.
        cells: Cells in that space.
    """

    standardizer: Standardizer
    network: nn.Module
    cells: ScoreCells

    @classmethod
    def fit(cls, score: Score, learnt: pd.DataFrame, filled: pd.DataFrame, seed: int) -> Imitation:
        """Imitate the scores of events that no template holds, and find cells that the templates know.

        Args:
            score: Flows and classifier.
            learnt: Nominal events.
            filled: Those of the templates, which decide which cells have background enough.
            seed: Decides the start and the order of the training.
        """
        t, x, weights = score(learnt), score.standardizer(learnt), learnt["weights"].to_numpy()
        constraints = np.r_[0.0, np.ones(t.shape[1] - 1)]
        # Scaled to about one: no number that a network gives should be small.
        directions = score_directions(t, weights, constraints=constraints) * np.sqrt(weights.sum())
        with deterministic(seed % 2**31):
            network = mlp(x.shape[1], HIDDEN, directions.shape[1])
            train_network(
                network,
                (x, (t @ directions).astype(np.float32)),
                _squared_error,
                seed=seed % 2**31,
                weights=balanced(weights, learnt["label"].to_numpy()),
                n_epochs=N_IMITATION_EPOCHS,
                batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                title="imitation",
            )
        few = slice(None, None, 1 + len(x) // N_CELL_EVENTS)
        same = np.eye(directions.shape[1])
        cells = ScoreCells.fit(outputs(network, x[few]), weights[few], n_cells=N_CELLS, directions=same)
        all_cells = cls(score.standardizer, network, cells)
        is_background = filled["label"].to_numpy() == 0
        weights, found = filled["weights"].to_numpy()[is_background], all_cells(filled[is_background])
        sums, squares = (np.bincount(found, weights**k, minlength=len(cells.centres)) for k in (1, 2))
        counts = np.divide(sums**2, squares, out=np.zeros(len(sums)), where=squares > 0)
        return cls(score.standardizer, network, cells.without_poor(counts, MIN_BACKGROUND_COUNT))

    @property
    def n_bins(self) -> int:
        """Number of cells."""
        return self.cells.n_cells

    def __call__(self, table: pd.DataFrame) -> NDArray[np.intp]:
        """Cell of each event, shape (n_events,).

        Raises:
            FitError: Outputs that are not finite.
        """
        points = outputs(self.network, self.standardizer(table))
        if not np.isfinite(points).all():
            raise FitError("the network answers numbers that are not finite: check the events")
        return self.cells(points)

    def save(self, folder: Path) -> None:
        """Write the network, how features are prepared for it, and the cells."""
        n_in, n_out = self.standardizer.n_out, self.cells.centres.shape[1]
        config = {"n_in": n_in, "hidden": HIDDEN, "n_out": n_out}
        save_network(self.network, folder / "network.safetensors", config)
        words = json.dumps(self.standardizer.to_json())
        (folder / "standardizer.json").write_text(words, encoding="utf-8")
        np.savez(folder / "cells.npz", **vars(self.cells))

    @classmethod
    def load(cls, folder: Path) -> Imitation:
        """Read what `save` wrote."""
        words = json.loads((folder / "standardizer.json").read_text(encoding="utf-8"))
        network = load_network(folder / "network.safetensors")
        with np.load(folder / "cells.npz", allow_pickle=False) as file:
            cells = ScoreCells(*(file[f.name] for f in fields(ScoreCells)))
        return cls(Standardizer.from_json(words), network, cells)


def _squared_error(network: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    losses: Tensor = (network(x) - target).square().sum(dim=1)
    return losses


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
    logs = _in_chunks(network.log_densities, x, 2)
    network.mean.copy_(logs.mean(dim=0))
    network.sigma.copy_(logs.std(dim=0))
    inputs = network.inputs(torch.from_numpy(x), logs).numpy()
    train_network(
        network.classifier, (inputs, sample.label), binary_cross_entropy, title="classifier", **options
    )


def _in_chunks(function: Callable[[Tensor], Tensor], x: NDArray[np.float32], n_out: int) -> Tensor:
    """A function of events without gradients, shape (n_events, n_out), in pieces that fit into the cache."""
    found = torch.empty(len(x), n_out)
    with torch.no_grad():
        for part, out in zip(
            torch.split(torch.from_numpy(x), _CHUNK), torch.split(found, _CHUNK), strict=True
        ):
            out.copy_(function(part))
    return found
