"""What is expected in the cells, and within some of them event by event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import further_events
from fairuniverse.likelihood import (
    BinnedModel,
    EventTerms,
    Monomials,
    PolynomialMorphing,
    Templates,
    UnbinnedModel,
    load_model,
    save_model,
)

from . import settings
from .densities import Densities
from .partition import Partition
from .samples import labels, n_to_simulate, shift_points
from .sharpened import SharpenedLikelihood

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is expected in the cells of the scores, and within some of them event by event.

    Attributes:
        densities: The learned densities.
        partition: Cells of events.
        model: Expected events in the cells, from simulation alone.
        norms: Shape (n_regions, n_processes), mean probability of each process in each unbinned cell.
        shift_norms: Shape (n_regions, n_processes, n_terms), polynomials that normalise the shifts there.
    """

    densities: Densities
    partition: Partition
    model: BinnedModel
    norms: NDArray[np.float64]
    shift_norms: NDArray[np.float64]

    @classmethod
    def fit(
        cls, train: TrainingSet, densities: Densities, partition: Partition, monomials: Monomials | None
    ) -> Measurement:
        """Fill the cells with simulated events, and calibrate the densities within them."""
        points = [] if monomials is None else list(shift_points(monomials.axes))
        terms = np.array([monomials.at(p) for p in points]) if monomials is not None else np.empty((0, 0))
        table = train.shift()
        sums, squares = _tally(train, partition, table)
        norms, shift_norms = _norms(train, densities, partition, table, terms)
        del table  # shifted copies follow: keep one table in memory at a time
        morphing = None
        if monomials is not None:
            numbers = n_to_simulate(train, settings.N_MORPHING_EVENTS)
            further = further_events(train, numbers, purpose="morphing", prescale=settings.PRESCALE)
            morphing = _morphing(further, partition, monomials, points)
        model = BinnedModel(Templates(train.processes, sums, squares), train.nuisances, morphing)
        return cls(densities, partition, model, norms, shift_norms)

    @property
    def regions(self) -> NDArray[np.intp]:
        """The cells in which the likelihood is unbinned."""
        return self.partition.regions

    def likelihood(self, table: pd.DataFrame) -> SharpenedLikelihood:
        """Likelihood of the events of a table."""
        counts = np.zeros(self.partition.n_cells)
        inside = np.isin(np.arange(len(counts)), self.regions)
        chosen = []
        for _, x, cell in self.partition(table):
            counts += np.bincount(cell, minlength=len(counts))
            rows = np.flatnonzero(inside[cell])
            chosen.append((x[rows], cell[rows]))
        x, cell = (np.concatenate(a) for a in zip(*chosen, strict=True))
        order = np.argsort(cell, kind="stable")
        probabilities, shifts = self.densities(x[order])
        ends = np.searchsorted(cell[order], [self.regions, self.regions + 1])
        events = [
            EventTerms(
                probabilities[:, first:last] / norm[:, None],
                shifts[:, :, first:last] - shift_norm[:, :, None],
            )
            for first, last, norm, shift_norm in zip(*ends, self.norms, self.shift_norms, strict=True)
        ]
        return SharpenedLikelihood(
            self.model.likelihood(counts),
            self._within.likelihood(events),
            self._within.regions.likelihood(counts[self.regions]),
        )

    @cached_property
    def _within(self) -> UnbinnedModel:
        """The unbinned cells alone, without the uncertainty of their simulation."""
        morphing = self.model.morphing
        yields = self.model.templates.yields[:, self.regions]
        chosen, monomials = None, None
        if isinstance(morphing, PolynomialMorphing):
            coefficients = morphing.coefficients[:, :, self.regions]
            chosen, monomials = replace(morphing, coefficients=coefficients), morphing.monomials
        templates = Templates(self.model.templates.processes, yields, np.zeros_like(yields))
        return UnbinnedModel(BinnedModel(templates, self.model.nuisances, chosen), monomials)

    def save(self, folder: Path) -> None:
        """Write everything."""
        self.densities.save(folder)
        self.partition.save(folder)
        save_model(self.model, folder / "model.npz")
        np.savez(folder / "norms.npz", norms=self.norms, shift_norms=self.shift_norms)

    @classmethod
    def load(cls, folder: Path) -> Measurement:
        """Read what `save` wrote."""
        with np.load(folder / "norms.npz", allow_pickle=False) as file:
            norms, shift_norms = file["norms"], file["shift_norms"]
        model = load_model(folder / "model.npz")
        densities = Densities.load(folder)
        return cls(densities, Partition.load(folder, densities), model, norms, shift_norms)


def _tally(
    train: TrainingSet, partition: Partition, table: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of weights, and of their squares, of each process in each cell, shape (n_processes, n_cells)."""
    process, weights = labels(table)
    shape = len(train.processes), partition.n_cells
    sums = np.zeros((2, shape[0] * shape[1]))
    for rows, _, cell in partition(table):
        index = process[rows] * shape[1] + cell
        for k in (1, 2):
            sums[k - 1] += np.bincount(index, weights[rows] ** k, minlength=sums.shape[1])
    first, second = sums.reshape(2, *shape)
    return first, second


def _norms(
    train: TrainingSet,
    densities: Densities,
    partition: Partition,
    table: pd.DataFrame,
    terms: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Norms and shift norms of `Measurement`: with them, learned densities integrate to one in a cell.

    The reference density is a mixture in which all processes have the same share. `terms` are the monomials
    at the points of the nuisances at which shifted densities are normalised, shape (n_points, n_terms).
    """
    process, weights = labels(table)
    balanced = weights / np.bincount(process, weights)[process]
    n_processes, n_regions = len(train.processes), len(partition.regions)
    total, share = np.zeros(n_regions), np.zeros((n_processes, n_regions))
    shifted = np.zeros((len(terms), n_processes, n_regions))
    place = np.full(partition.n_cells, -1)
    place[partition.regions] = np.arange(n_regions)
    for rows, x, cell in partition(table):
        inside = np.flatnonzero(place[cell] >= 0)
        region, expected = place[cell[inside]], balanced[rows][inside]
        probabilities, shifts = densities(x[inside])
        total += np.bincount(region, expected, minlength=n_regions)
        for p, probability in enumerate(expected * probabilities):
            share[p] += np.bincount(region, probability, minlength=n_regions)
            for k, factors in enumerate(np.exp(terms @ shifts[p]) if len(terms) else ()):
                shifted[k, p] += np.bincount(region, probability * factors, minlength=n_regions)
    logs = np.log(shifted / share).reshape(len(terms), share.size)
    solved = np.asarray(np.linalg.lstsq(terms, logs)[0] if len(terms) else logs, dtype=np.float64)
    return np.asarray((share / total).T), solved.reshape(-1, *share.shape).transpose(2, 1, 0)


def _morphing(
    sample: TrainingSet, partition: Partition, monomials: Monomials, points: Sequence[Mapping[str, float]]
) -> PolynomialMorphing:
    """How the shape nuisances deform the counts in the cells."""
    base, squares = _tally(sample, partition, sample.shift())
    shifted = np.array([_tally(sample, partition, sample.shift(p))[0] for p in points])
    ratios = np.divide(shifted, base, out=np.ones_like(shifted), where=base > 0)
    counts = np.divide(base**2, squares, out=np.zeros_like(base), where=squares > 0)
    degree = int(monomials.powers.sum(axis=1).max())
    return PolynomialMorphing.fit(monomials.axes, points, ratios, counts, degree=degree)
