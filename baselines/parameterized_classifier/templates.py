"""What is expected in the cells of the scores, and how the nuisances deform it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import ScoreCells
from fairuniverse.likelihood import Axis, PolynomialMorphing

from . import settings
from .coordinates import seen_from
from .ratios import Ratios
from .view import View

if TYPE_CHECKING:
    from fairuniverse.training import TrainingSet


def cells_of(ratios: Ratios, view: View, cells: ScoreCells, x: NDArray[np.float32]) -> NDArray[np.intp]:
    """Cell of each event, shape (n_events,)."""
    return cells(view.scores(ratios, x))


def fill(
    ratios: Ratios, view: View, cells: ScoreCells, sample: TrainingSet, point: Mapping[str, float]
) -> NDArray[np.float64]:
    """Sums of weights and of their squares, shape (2, n_processes, n_cells)."""
    table = sample.shift(point)
    bins = cells_of(ratios, view, cells, ratios.standardizer(table))
    n_processes = len(sample.processes)
    flat = table["process"].cat.codes.to_numpy(np.intp) * cells.n_cells + bins
    weights = table["weights"].to_numpy()
    sums = [np.bincount(flat, weights**k, minlength=n_processes * cells.n_cells) for k in (1, 2)]
    return np.array(sums, dtype=np.float64).reshape(2, n_processes, cells.n_cells)


def effective_counts(sums: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number of unweighted events with the same relative uncertainty."""
    return np.divide(sums**2, squares, out=np.zeros_like(sums), where=squares > 0)


def morphing_around(
    ratios: Ratios, view: View, cells: ScoreCells, sample: TrainingSet, axes: Sequence[Axis]
) -> PolynomialMorphing:
    """How the shape nuisances deform the counts in the cells around the anchor."""
    nominal = {a.parameter.name: a.parameter.nominal for a in axes}
    base, squares = fill(ratios, view, cells, sample, nominal)
    points = list(_points(axes, view.spacing))
    shifted = np.array([fill(ratios, view, cells, sample, nominal | p)[0] for p in points])
    changes = np.divide(shifted, base, out=np.ones_like(shifted), where=base > 0)
    return PolynomialMorphing.fit(axes, points, changes, effective_counts(base, squares))


def _points(axes: Sequence[Axis], spacing: NDArray[np.float64]) -> Iterator[dict[str, float]]:
    """Nuisance values at which templates are simulated: each alone, and each two together."""
    singles, pairs = [], []
    for axis, step in zip(axes, spacing.tolist(), strict=True):
        p, reach = axis.parameter, min(step, settings.PRIOR_REACH)
        centre = p.prior.to_alpha(seen_from(p))
        alone = settings.NOISE_PULLS if p.is_noise else [centre + reach * a for a in (-1.0, -0.5, 0.5, 1.0)]
        together = settings.NOISE_PAIR_PULLS if p.is_noise else [centre + reach * a for a in (-0.7, 0.7)]
        values = [[float(np.clip(p.prior.from_alpha(a), *p.bounds)) for a in c] for c in (alone, together)]
        singles.append(values[0])
        pairs.append(values[1])
        yield from ({p.name: theta} for theta in values[0])
    names = [a.parameter.name for a in axes]
    for i, j in combinations(range(len(axes)), 2):
        yield from ({names[i]: a, names[j]: b} for a, b in product(pairs[i], pairs[j]))
