"""Cells of events in the space of their scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import (
    ScoreCells,
    Standardizer,
    deterministic,
    load_network,
    mlp,
    outputs,
    process_scales,
    score_directions,
    train_network,
)
from fairuniverse.likelihood import Monomials

from . import settings
from .densities import Densities, save_mlp
from .samples import Sample, is_signal

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from fairuniverse.training import TrainingSet


@dataclass(frozen=True, eq=False)
class Scores:
    """Derivatives of the learned log density of an event at the nominal point.

    Attributes:
        densities: The learned densities.
        yields: Shape (n_processes,), expected events.
        scales: Shape (n_scales, n_processes): relative effect of mu and of every normalisation nuisance.
        linear: Shape (n_axes,), which monomials are a shape nuisance itself.
    """

    densities: Densities
    yields: NDArray[np.float64]
    scales: NDArray[np.float64]
    linear: NDArray[np.intp]

    @classmethod
    def of(
        cls, train: TrainingSet, sample: Sample, densities: Densities, monomials: Monomials | None
    ) -> Scores:
        """Scores from learned densities, with the yields of a sample."""
        powers = np.empty((0, 0)) if monomials is None else monomials.powers
        yields = np.bincount(sample.process, sample.weights).astype(np.float64)
        return cls(densities, yields, process_scales(train), np.flatnonzero(powers.sum(axis=1) == 1))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores, shape (n_events, n_parameters), from the inputs of the networks."""
        starts = range(0, len(x), settings.CHUNK)
        return np.concatenate([self._of_some(x[i : i + settings.CHUNK]) for i in starts])

    def _of_some(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        probabilities, shifts = self.densities(x)
        shares = self.yields[:, None] * probabilities.astype(np.float64)
        shares /= shares.sum(axis=0)
        slopes = np.einsum("pn,ptn->tn", shares, shifts[:, self.linear])
        return np.vstack([self.scales @ shares, slopes]).T


@dataclass(frozen=True, eq=False)
class Partition:
    """Cell of every event.

    Most events look nothing like the signal and need no more than a sketch of their scores, which a small
    network gives, in the space in which a squared error is the information that it loses.

    Attributes:
        standardizer: From a table to the inputs of all networks.
        sketch: Network from these to the space of the cells.
        scores: The scores themselves.
        directions: Shape (n_parameters, n_parameters + 1), from scores to the space of the cells.
        threshold: Last coordinate in a sketch, which moves mu, above which scores are computed.
        cells: The cells.
        regions: Shape (n_regions,), the cells in which the likelihood is unbinned.
    """

    standardizer: Standardizer
    sketch: torch.nn.Module
    scores: Scores
    directions: NDArray[np.float32]
    threshold: float
    cells: ScoreCells
    regions: NDArray[np.intp]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.cells.n_cells

    @classmethod
    def fit(
        cls, train: TrainingSet, sample: Sample, standardizer: Standardizer, scores: Scores, n_templates: int
    ) -> Partition:
        """Train the network and find the cells, on events that no template will see.

        Cells are as small as about `n_templates` events can fill.
        """
        rows = np.arange(0, len(sample.x), 1 + len(sample.x) // settings.N_SKETCH_EVENTS)
        x, process, weights = sample.x[rows], sample.process[rows], sample.weights[rows]
        weights = weights * (sample.weights.sum() / weights.sum())
        exact = scores(x)
        # Scaled to about one: no number that a network gives or gets should be small.
        directions = score_directions(exact, weights, constraints=1.0) * np.sqrt(weights.sum())
        directions = directions.astype(np.float32)
        targets = exact.astype(np.float32) @ directions
        with deterministic(seed=3):
            sketch = mlp(standardizer.n_out, settings.SKETCH_HIDDEN, targets.shape[1])
            train_network(
                sketch,
                (x, targets),
                _squared_error,
                seed=3,
                weights=weights,
                n_epochs=settings.N_SKETCH_EPOCHS,
                batch_size=settings.BATCH_SIZE,
                learning_rate=settings.SKETCH_RATE,
                title="scores",
            )
            points = outputs(sketch, x)
        threshold = _upper(points[:, -1], weights, settings.EXACT_SHARE)
        is_likely = points[:, -1] > threshold
        points[is_likely] = targets[is_likely]
        some = slice(None, None, 1 + len(x) // settings.N_CELL_EVENTS)
        same = np.eye(targets.shape[1])
        cells = ScoreCells.fit(points[some], weights[some], n_cells=settings.N_CELLS, directions=same)
        cells = _known(cells, cells(points), weights, ~is_signal(train)[process], n_templates / len(x))
        regions = _regions(cells(points), points[:, -1], weights, cells.n_cells)
        return cls(standardizer, sketch, scores, directions, threshold, cells, regions)

    def __call__(self, table: pd.DataFrame) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.intp]]]:
        """Inputs of the networks and cells of the events of a table, some rows at a time."""
        for i in range(0, max(len(table), 1), settings.CHUNK):
            rows = slice(i, i + settings.CHUNK)
            x = self.standardizer(table.iloc[rows])
            yield rows, x, self.cells(self._points(x))

    def _points(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Coordinates in the space of the cells."""
        with deterministic(seed=0):
            points = outputs(self.sketch, x)
        likely = np.flatnonzero(points[:, -1] > self.threshold)
        if len(likely):
            points[likely] = self.scores(x[likely]).astype(np.float32) @ self.directions
        return points

    def save(self, folder: Path) -> None:
        """Write everything."""
        save_mlp(self.sketch, settings.SKETCH_HIDDEN, folder / "sketch.safetensors")
        words = {"standardizer": self.standardizer.to_json(), "threshold": self.threshold}
        (folder / "partition.json").write_text(json.dumps(words), encoding="utf-8")
        scores = {name: getattr(self.scores, name) for name in ("yields", "scales", "linear")}
        np.savez(folder / "partition.npz", directions=self.directions, regions=self.regions, **scores)
        np.savez(folder / "cells.npz", **vars(self.cells))

    @classmethod
    def load(cls, folder: Path, densities: Densities) -> Partition:
        """Read what `save` wrote."""
        words = json.loads((folder / "partition.json").read_text(encoding="utf-8"))
        with np.load(folder / "cells.npz", allow_pickle=False) as file:
            cells = ScoreCells(*(file[f.name] for f in fields(ScoreCells)))
        with np.load(folder / "partition.npz", allow_pickle=False) as file:
            return cls(
                Standardizer.from_json(words["standardizer"]),
                load_network(folder / "sketch.safetensors"),
                Scores(densities, file["yields"], file["scales"], file["linear"]),
                file["directions"],
                words["threshold"],
                cells,
                file["regions"],
            )


def _upper(values: NDArray[np.floating], weights: NDArray[np.float64], share: float) -> float:
    """Value above which this share of the weights lies."""
    order = np.argsort(-values)
    sums = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(sums, share * sums[-1])]])


def _squared_error(network: torch.nn.Module, x: Tensor, target: Tensor) -> Tensor:
    distance: Tensor = network(x) - target
    return distance.square().sum(dim=1)


def _known(
    cells: ScoreCells,
    cell: NDArray[np.intp],
    weights: NDArray[np.float64],
    is_background: NDArray[np.bool_],
    ratio: float,
) -> ScoreCells:
    """The cells whose background templates of `ratio` times as many events will know well enough."""
    n = cells.n_cells
    sums, squares = (np.bincount(cell[is_background], weights[is_background] ** k, n) for k in (1, 2))
    counts = ratio * np.divide(sums**2, squares, out=np.zeros(n), where=squares > 0)
    return cells.without_poor(counts, settings.MIN_BACKGROUND_COUNT)


def _regions(
    cell: NDArray[np.intp], to_mu: NDArray[np.floating], expected: NDArray[np.float64], n_cells: int
) -> NDArray[np.intp]:
    """Cells that lose most by being counted: with the largest variance of what moves mu, per event."""
    n, first, second = (np.bincount(cell, expected * to_mu**k, minlength=n_cells) for k in range(3))
    variance = second - np.divide(first**2, n, out=np.zeros_like(n), where=n > 0)
    order = np.argsort(-np.divide(variance, n, out=np.zeros_like(n), where=n > 0), kind="stable")
    return np.sort(order[np.cumsum(n[order]) <= settings.MAX_UNBINNED])
