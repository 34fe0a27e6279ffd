"""Training events under many values of the nuisance parameters, for methods that learn their effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.nuisance import NuisanceParameter, Uniform
from fairuniverse.seeding import generator

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet


@dataclass(frozen=True, eq=False)
class ShiftedCopies:
    """Rows of many shifted copies of the training events, in one block.

    Attributes:
        nuisances: The nuisance parameters that were shifted.
        points: Their values in each copy, shape (n_copies, n_nuisances), physical units.
        features: Shape (n_rows, n_features), float32.
        process: Index into ``train.processes``, shape (n_rows,), uint8.
        label: 1 for signal, shape (n_rows,), uint8.
        weights: Expected events that each row stands for within its copy, shape (n_rows,).
        copy: Which copy a row belongs to, shape (n_rows,).
    """

    nuisances: tuple[NuisanceParameter, ...]
    points: NDArray[np.float64]
    features: NDArray[np.float32]
    process: NDArray[np.uint8]
    label: NDArray[np.uint8]
    weights: NDArray[np.float64]
    copy: NDArray[np.int64]

    @property
    def pulls(self) -> NDArray[np.float32]:
        """Nuisances of each row in prior standard deviations, shape (n_rows, n_nuisances)."""
        alpha = [[p.prior.to_alpha(t) for p, t in zip(self.nuisances, x, strict=True)] for x in self.points]
        shape = (len(self.points), len(self.nuisances))
        pulls: NDArray[np.float32] = np.array(alpha, dtype=np.float32).reshape(shape)[self.copy]
        return pulls


def nuisance_design(
    nuisances: Sequence[NuisanceParameter], n_points: int, *, seed: int, spread: float = 1.0
) -> NDArray[np.float64]:
    """Values of nuisance parameters that fill their priors more evenly than random draws.

    An additive recurrence with the powers of the generalised golden ratio (M. Roberts, The unreasonable
    effectiveness of quasirandom sequences, 2018), from a random start, mapped to the priors.

    Args:
        nuisances: The parameters.
        n_points: Number of points.
        seed: Decides the start.
        spread: Factor on the pulls of constrained parameters: with more than 1 the ends of the priors, where
            fits go now and then, are inside what was learnt.

    Returns:
        Shape (n_points, n_nuisances), physical values within the bounds.
    """
    from scipy.special import ndtri

    n = len(nuisances)
    ratio = 2.0
    for _ in range(60):
        ratio = (1 + ratio) ** (1 / (n + 1))
    steps = ratio ** -np.arange(1.0, n + 1)
    start = generator(seed, "nuisance design").random(n)
    unit = (start + np.arange(n_points)[:, None] * steps) % 1.0
    unit = np.clip(unit, 1e-9, 1 - 1e-9)
    columns = []
    for p, u in zip(nuisances, unit.T, strict=True):
        if isinstance(p.prior, Uniform):
            values = p.prior.low + (p.prior.high - p.prior.low) * u
        else:
            values = np.array([p.prior.from_alpha(float(a)) for a in spread * ndtri(u)])
        columns.append(np.clip(values, *p.bounds))
    return np.array(columns).reshape(n, n_points).T


def shifted_copies(
    train: TrainingSet,
    n_copies: int,
    *,
    seed: int,
    spread: float = 1.0,
    max_events: int | None = None,
    select: Callable[[pd.DataFrame], NDArray[Any]] | None = None,
    transform: Callable[[pd.DataFrame], NDArray[np.float32]] | None = None,
) -> ShiftedCopies:
    """Training events at many values of the shape nuisances, spread over their priors.

    Only one shifted table is in memory at a time, so thin the copies where the training sample is large.

    Args:
        train: The training set.
        n_copies: Number of points in the nuisance parameters, see `nuisance_design`.
        seed: Decides the points, the noise, and which events are kept.
        spread: Factor on the pulls, see `nuisance_design`.
        max_events: Events of each process to keep in a copy, by chance, other ones in every copy; weights
            grow so that their sum stays. None keeps all.
        select: Function of a shifted table that gives the rows of interest, a mask or indices.
        transform: Function of the remaining rows that gives their features, such as a `Standardizer`; by
            default the features as they are.

    Raises:
        InvalidDataError: No copies asked for.
    """
    if n_copies < 1:
        raise InvalidDataError(f"n_copies = {n_copies} must be at least 1")
    nuisances = tuple(p for p in train.nuisances if p.kind == "shape")
    points = nuisance_design(nuisances, n_copies, seed=seed, spread=spread)
    parts = []
    for i, point in enumerate(points):
        values = dict(zip([p.name for p in nuisances], point.tolist(), strict=True))
        table = train.shift(values, seed=i)
        rows, factors = _chosen(table, select, max_events, generator(seed, "shifted copies", i))
        chosen = table.iloc[rows]
        del table
        block = transform(chosen) if transform else chosen[train.features].to_numpy(np.float32)
        process = chosen["process"].cat.codes.to_numpy().astype(np.uint8)
        label = chosen["label"].to_numpy(np.uint8)
        weights = chosen["weights"].to_numpy() * factors[process]
        parts.append((block, process, label, weights, np.full(len(chosen), i)))
    return ShiftedCopies(nuisances, points, *(np.concatenate(a) for a in zip(*parts, strict=True)))


def _chosen(
    table: pd.DataFrame,
    select: Callable[[pd.DataFrame], NDArray[Any]] | None,
    max_events: int | None,
    rng: np.random.Generator,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows to keep in ascending order, and the factor on the weights of each process."""
    rows = np.arange(len(table))
    if select is not None:
        rows = rows[select(table)]
    codes = table["process"].cat.codes.to_numpy()[rows]
    factors = np.ones(len(table["process"].cat.categories))
    if max_events is None:
        return rows, factors
    kept = []
    for code in range(len(factors)):
        candidates = rows[codes == code]
        if len(candidates) > max_events:
            total = table["weights"].to_numpy()[candidates].sum()
            candidates = np.sort(rng.choice(candidates, max_events, replace=False))
            factors[code] = total / table["weights"].to_numpy()[candidates].sum()
        kept.append(candidates)
    return np.sort(np.concatenate(kept)), factors
