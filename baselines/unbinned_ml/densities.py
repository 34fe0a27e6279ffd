"""Learned densities of the processes, and how they shift with the nuisances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import (
    Standardizer,
    cross_entropy,
    deterministic,
    further_events,
    load_network,
    mlp,
    outputs,
    save_network,
    train_network,
)
from fairuniverse.likelihood import Monomials

from . import settings
from .samples import Sample, is_signal, n_to_simulate, shift_points

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fairuniverse.training import TrainingSet


@dataclass(frozen=True, eq=False)
class Densities:
    """Learned densities of the processes at every value of the nuisances.

    Attributes:
        ratios: Network of the probability of each process in a balanced mixture, its density over the sum of
            all.
        shifts: Network of the coefficients of the monomials of the nuisances, over `reach`, in the logarithm
            of the density of each process; None if there is no shape nuisance.
        reach: Shape (n_terms,), the largest values of the monomials that were learnt.
    """

    ratios: torch.nn.Module
    shifts: torch.nn.Module | None
    reach: NDArray[np.float64]

    @classmethod
    def fit(
        cls, train: TrainingSet, sample: Sample, standardizer: Standardizer, monomials: Monomials | None
    ) -> Densities:
        """Train the networks: the ratios on a sample, the shifts on newly simulated events."""
        shares = _shares(train)
        relative = shares / np.bincount(sample.process, sample.weights)
        with deterministic(seed=1):
            ratios = mlp(standardizer.n_out, settings.RATIO_HIDDEN, len(shares))
            train_network(
                ratios,
                (sample.x, sample.process),
                cross_entropy,
                seed=1,
                weights=sample.weights * relative[sample.process],
                n_epochs=settings.N_RATIO_EPOCHS,
                batch_size=settings.BATCH_SIZE,
                learning_rate=settings.RATIO_RATE,
                title="density ratios",
            )
            _divide_by(ratios, shares)
        if monomials is None:
            return cls(ratios, None, np.empty(0))
        points = list(shift_points(monomials.axes))
        terms = np.array([monomials.at(p) for p in points])
        reach = np.abs(terms).max(axis=0)
        numbers = n_to_simulate(train, settings.N_SHIFT_EVENTS)
        further = further_events(train, numbers, purpose="shifts", prescale=settings.PRESCALE)
        shifts = _train_shifts(further, standardizer, ratios, points, terms / reach)
        return cls(ratios, shifts, reach)

    def __call__(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities and coefficients of the shifts of events, from the inputs of the networks.

        Returns:
            Shapes (n_processes, n_events) and (n_processes, n_terms, n_events).
        """
        with deterministic(seed=0):
            logits = outputs(self.ratios, x).T
            logits = np.exp(logits - logits.max(axis=0))
            probabilities = logits / logits.sum(axis=0)
            if self.shifts is None:
                return probabilities, np.empty((len(probabilities), 0, len(x)), np.float32)
            flat = outputs(self.shifts, x).T
        shape = len(probabilities), len(self.reach), len(x)
        coefficients = flat.reshape(shape) / self.reach[:, None]
        return probabilities, coefficients.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write the networks."""
        save_mlp(self.ratios, settings.RATIO_HIDDEN, folder / "ratios.safetensors")
        if self.shifts is not None:
            save_mlp(self.shifts, settings.SHIFT_HIDDEN, folder / "shifts.safetensors")
        words = {"reach": self.reach.tolist()}
        (folder / "densities.json").write_text(json.dumps(words), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Densities:
        """Read what `save` wrote."""
        words = json.loads((folder / "densities.json").read_text(encoding="utf-8"))
        shifts = folder / "shifts.safetensors"
        return cls(
            load_network(folder / "ratios.safetensors"),
            load_network(shifts) if shifts.exists() else None,
            np.array(words["reach"]),
        )


def _train_shifts(
    train: TrainingSet,
    standardizer: Standardizer,
    ratios: torch.nn.Module,
    points: Sequence[Mapping[str, float]],
    terms: NDArray[np.float64],
) -> torch.nn.Module:
    """Network of the shift coefficients, shape (n_events, n_processes * n_terms).

    Its polynomial is the logit of a classifier between the events at a point of the nuisances and the same
    events at the nominal one, all points at once: being the same events, they differ by the shift alone.
    """
    import torch
    from torch.nn import functional

    parts = [Sample.of(train.shift(p), standardizer) for p in ({}, *points)]
    x = torch.from_numpy(np.concatenate([p.x for p in parts]))
    process = np.concatenate([p.process for p in parts])
    totals = np.bincount(parts[0].process, parts[0].weights)
    weights = np.concatenate([p.weights for p in parts]) / totals[process]
    starts = np.cumsum([0, *(len(p.x) for p in parts)])
    nominal = np.arange(starts[1])
    # Each nominal event stands against every shifted sample.
    row = np.concatenate([*([nominal] * len(points)), np.arange(starts[1], starts[-1])])
    point = np.concatenate(
        [
            np.repeat(np.arange(len(points)), len(nominal)),
            np.repeat(np.arange(len(points)), np.diff(starts[1:])),
        ]
    )
    with deterministic(seed=2):
        chance = np.exp(outputs(ratios, x.numpy()))
        of_signal = (chance / chance.sum(axis=1, keepdims=True))[:, is_signal(train)].sum(axis=1)
        focus = settings.MIN_FOCUS + of_signal
        n_processes, n_terms = len(train.processes), terms.shape[1]
        network = mlp(x.shape[1], settings.SHIFT_HIDDEN, n_processes * n_terms, is_zero_at_start=True)
        polynomial = torch.from_numpy(terms.astype(np.float32))
        codes = torch.from_numpy(process.astype(np.int64))

        def loss(net: torch.nn.Module, rows: Tensor, of_point: Tensor, is_shifted: Tensor) -> Tensor:
            coefficients = net(x[rows]).view(-1, n_processes, n_terms)
            own = coefficients[torch.arange(len(rows)), codes[rows]]
            logits = (own * polynomial[of_point]).sum(dim=1)
            return functional.binary_cross_entropy_with_logits(logits, is_shifted, reduction="none")

        train_network(
            network,
            (row, point, (row >= starts[1]).astype(np.float32)),
            loss,
            seed=2,
            weights=(weights * focus)[row],
            n_epochs=settings.N_SHIFT_EPOCHS,
            batch_size=settings.BATCH_SIZE,
            learning_rate=settings.SHIFT_RATE,
            title="shifts",
        )
    return network


def _shares(train: TrainingSet) -> NDArray[np.float64]:
    """Weight of each process in the training of the ratios: in between equal ones and the yields.

    Equal weights would spend the network on rare backgrounds, the yields on the most frequent one.
    """
    yields = np.array([p.expected_yield for p in train.processes])
    relative = (yields / yields[~is_signal(train)].max()) ** 0.25
    return np.where(is_signal(train), 1.0, relative)


def _divide_by(network: torch.nn.Module, shares: NDArray[np.float64]) -> None:
    """Make the probabilities of a classifier those of a mixture in which all classes have the same share."""
    import torch

    *_, bias = network.parameters()
    with torch.no_grad():
        bias.sub_(torch.from_numpy(np.log(shares).astype(np.float32)))


def save_mlp(network: torch.nn.Module, hidden: Sequence[int], path: Path) -> None:
    """Write a network that `mlp` made."""
    weights = list(network.parameters())
    config = {"n_in": weights[0].shape[1], "hidden": hidden, "n_out": len(weights[-1])}
    save_network(network, path, config)
