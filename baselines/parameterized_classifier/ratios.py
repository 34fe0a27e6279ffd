"""The classifier: density ratios of every process at any values of the nuisances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import (
    Standardizer,
    cross_entropy,
    deterministic,
    load_network,
    mlp,
    save_network,
    shifted_copies,
    train_network,
)

from . import settings
from .coordinates import coordinates

if TYPE_CHECKING:
    import torch

    from fairuniverse.training import TrainingSet


@dataclass(frozen=True, eq=False)
class Ratios:
    """Density of every process at nuisance values z over one reference density, for any event and any z.

    A classifier of the processes at z against events whose z was exchanged: their z says nothing about them.
    The logits of the processes minus the reference's are the logarithms of the density ratios (Cranmer, Pavez
    and Louppe, arXiv:1506.02169). Inputs z are in prior standard deviations.
    """

    standardizer: Standardizer
    network: torch.nn.Module
    config: Mapping[str, Any]

    @classmethod
    def fit(cls, train: TrainingSet) -> Ratios:
        """Train the classifier on shifted copies of the events."""
        standardizer = Standardizer.fit(train.shift(), train.features, azimuths="relative")
        copies = shifted_copies(
            train,
            settings.N_COPIES,
            seed=1,
            spread=settings.SPREAD,
            max_events=settings.MAX_COPY_EVENTS,
            transform=standardizer,
        )
        n_processes = len(train.processes)
        z = np.array([coordinates(copies.nuisances, point) for point in copies.points])[copies.copy]
        rng = np.random.default_rng(1)
        reference = rng.permutation(len(z))[: len(z) // n_processes]
        x = np.concatenate([copies.features, copies.features[reference]])
        z = np.concatenate([z, z[rng.permutation(reference)]]).astype(np.float32)
        target = np.concatenate([copies.process, np.full(len(reference), n_processes)])
        # Classes weigh the same in the loss, and processes weigh the same in the reference.
        group = np.concatenate([copies.process, n_processes + copies.process[reference]]).astype(np.intp)
        weights = np.concatenate([copies.weights, copies.weights[reference]])
        weights /= np.bincount(group, weights)[group]
        weights[target == n_processes] /= n_processes
        config = {
            "n_in": standardizer.n_out + z.shape[1],
            "hidden": settings.HIDDEN,
            "n_out": n_processes + 1,
        }
        with deterministic(seed=1):
            network = mlp(**config)
            train_network(
                network,
                (np.hstack([x, z]), target),
                cross_entropy,
                seed=1,
                weights=weights,
                n_epochs=settings.N_EPOCHS,
                batch_size=settings.BATCH_SIZE,
                learning_rate=settings.LEARNING_RATE,
                weight_decay=0.0,
                title="parameterised classifier",
            )
        return cls(standardizer, network, config)

    def __call__(self, x: NDArray[np.float32], z: NDArray[np.float64]) -> NDArray[np.float32]:
        """Logarithms of the density ratios of events at one z, shape (n_events, n_processes)."""
        with deterministic(seed=0):
            return self.with_slopes(x, z)[0]

    def with_slopes(
        self, x: NDArray[np.float32], z: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logarithms of the density ratios and their derivatives in z, of events that fit into the cache.

        Differentiated forwards, layer by layer: what the activations need is computed once for all.

        Args:
            x: Standardised events, shape (n_events, n_inputs).
            z: The point, shape (n_axes,).

        Returns:
            Shapes (n_events, n_processes) and (n_events, n_axes, n_processes).
        """
        import torch

        first, *others = (m for m in self.network.modules() if isinstance(m, torch.nn.Linear))
        with torch.inference_mode():
            of_x, of_z = torch.split(first.weight, [x.shape[1], len(z)], dim=1)
            bias = first.bias + of_z @ torch.from_numpy(z.astype(np.float32))
            h, tangents = torch.addmm(bias, torch.from_numpy(x), of_x.T), list(of_z.T)
            for layer in others:
                share = torch.sigmoid(h)
                rise = share * (1 + h * (1 - share))
                tangents = [(rise * t) @ layer.weight.T for t in tangents]
                h = torch.addmm(layer.bias, h * share, layer.weight.T)
            rows = torch.stack([h, *tangents], dim=1).numpy()
        ratios = rows[:, :, :-1] - rows[:, :, -1:]
        return ratios[:, 0], ratios[:, 1:]

    def save(self, folder: Path) -> None:
        """Write the network and its preprocessing."""
        save_network(self.network, folder / "ratios.safetensors", self.config)
        words = {"standardizer": self.standardizer.to_json(), "network": self.config}
        (folder / "ratios.json").write_text(json.dumps(words), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ratios:
        """Read what `save` wrote."""
        words = json.loads((folder / "ratios.json").read_text(encoding="utf-8"))
        network = load_network(folder / "ratios.safetensors")
        return cls(Standardizer.from_json(words["standardizer"]), network, words["network"])
