"""A classifier whose output hardly changes along the nuisances, then a binned profile likelihood.

After Simard, Victorri, LeCun and Denker, "Tangent Prop - A formalism for specifying selected invariances in
an adaptive network" (Advances in Neural Information Processing Systems 4 (1991) 895). Its card is README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import (
    ClassifierMethod,
    NetworkScore,
    Standardizer,
    balanced,
    binary_cross_entropy,
    deterministic,
    further_events,
    train_network,
)
from fairuniverse.likelihood import Axis
from fairuniverse.nuisance import NuisanceParameter
from fairuniverse.seeding import Streams, generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fairuniverse.training import TrainingSet

PENALTY = 1.0
"""Weight of the squared derivative of the output, for one prior sigma of every nuisance, in the loss."""

N_EVENTS = 400_000
"""Simulated events, before selection, that the classifier learns from; others fill the templates."""

STEP = 0.5
"""Half-width of the finite differences of the features, in prior sigmas; added noise goes from none to its
median instead, for it cannot be negative."""

MAX_TANGENT = 3.0
"""Standard deviations by which one prior sigma may move an input: where a jet appears or vanishes, the
difference is a jump, and no derivative."""

HIDDEN = (64, 64)
N_EPOCHS = 6


class Model(ClassifierMethod):
    """Signal strength from a fit to the scores of a classifier that is flat along the nuisances."""

    def train_score(self, train: TrainingSet) -> NetworkScore:
        """Classifier of signal against all backgrounds at nominal nuisances, its slopes penalised."""
        sample = further_events(train, N_EVENTS, purpose="tangent_prop")
        standardizer = Standardizer.fit(sample.data, train.features, azimuths="relative")
        features, label, weights, tangents = tangent_sample(sample, standardizer)
        seed = int(generator(train.seed, "tangent_prop").integers(2**31))
        with deterministic(seed):
            score = NetworkScore.untrained(standardizer, HIDDEN)
            train_network(
                score.network,
                (features, label, tangents),
                flat_cross_entropy,
                seed=seed,
                weights=balanced(weights, label),
                n_epochs=N_EPOCHS,
                title="tangent_prop",
            )
        return score


def tangent_sample(
    sample: TrainingSet, standardizer: Standardizer
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float64], NDArray[np.float32]]:
    """Nominal events, and how their inputs move along each shape nuisance.

    Returns:
        Inputs, shape (n_events, n_inputs); labels; weights; tangents, shape (n_events, n_nuisances,
        n_inputs): change of the inputs by one prior sigma, 0 where an event is not selected on both sides.
    """
    features, rows, weights = _shifted(sample, standardizer, {})
    place = np.full(len(sample.events), -1)
    place[rows] = np.arange(len(rows))
    shapes = [p for p in sample.nuisances if p.kind == "shape"]
    tangents = np.zeros((len(rows), len(shapes), features.shape[1]), dtype=np.float32)
    for i, p in enumerate(shapes):
        low, high, width = _neighbours(p)
        (a, rows_a, _), (b, rows_b, _) = (_shifted(sample, standardizer, {p.name: t}) for t in (low, high))
        both, of_a, of_b = np.intersect1d(rows_a, rows_b, assume_unique=True, return_indices=True)
        is_nominal = place[both] >= 0
        slopes = (b[of_b[is_nominal]] - a[of_a[is_nominal]]) / np.float32(width)
        tangents[place[both[is_nominal]], i] = np.clip(slopes, -MAX_TANGENT, MAX_TANGENT)
    process = sample.events.process
    assert process is not None
    is_signal = np.array([q.is_signal for q in sample.processes], dtype=np.uint8)
    return features, is_signal[process[rows]], weights, tangents


def flat_cross_entropy(network: torch.nn.Module, x: Tensor, target: Tensor, tangents: Tensor) -> Tensor:
    """Cross-entropy of each event plus the squared derivatives of its output along the tangents."""
    import torch

    with torch.enable_grad():  # validation has them switched off
        inputs = x.detach().requires_grad_()
        probability = torch.sigmoid(network(inputs)).sum()
        (gradient,) = torch.autograd.grad(probability, inputs, create_graph=True)
    slopes = (tangents * gradient[:, None]).sum(dim=2)
    return binary_cross_entropy(network, x, target) + PENALTY * (slopes**2).sum(dim=1)


def _shifted(
    sample: TrainingSet, standardizer: Standardizer, values: dict[str, float]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Inputs of the selected events, their rows among all, and their weights; equal noise in every call."""
    events, rows = sample.simulator.shift_with_rows(sample.events, values, streams=Streams(sample.seed))
    assert events.weights is not None
    return standardizer(events.to_pandas()), rows, events.weights


def _neighbours(p: NuisanceParameter) -> tuple[float, float, float]:
    """Values below and above the nominal one, and their distance in prior sigmas (medians, for noise)."""
    scale = Axis.of(p).scale
    if p.is_noise:
        return p.nominal, p.nominal + scale, 1.0
    low, high = (min(max(p.nominal + s * STEP * scale, p.bounds[0]), p.bounds[1]) for s in (-1, 1))
    return low, high, (high - low) / scale
