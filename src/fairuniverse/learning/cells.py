"""Cells in the space of scores: the histogram that keeps most of what several learned numbers tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError

_N_STEPS = 15
_CHUNK = 1 << 9
"""Events at a time: their distances from all centres stay in the cache of a core."""


@dataclass(frozen=True, eq=False)
class ScoreCells:
    """Partition of the space of scores, the derivatives of ln(lambda) of an event in mu and the nuisances.

    A histogram loses the variance of the scores within its cells, weighted by the expected events, of their
    Fisher information. A k-means clustering minimises just that; scores are divided by the expected errors
    first, and the direction that moves mu counts more. Scores need not be exact: what is lost then is
    precision, and never that the templates of the cells are right.

    Attributes:
        directions: Shape (n_parameters, n_dimensions), from scores to the space of cells.
        centres: Shape (n_fine, n_dimensions), of the cells as they were found.
        merged: Shape (n_fine,), final cell of each of them.
    """

    directions: NDArray[np.float64]
    centres: NDArray[np.float64]
    merged: NDArray[np.intp]

    @property
    def n_cells(self) -> int:
        """Number of final cells."""
        return int(self.merged.max()) + 1

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        weights: NDArray[np.float64],
        *,
        n_cells: int = 300,
        constraints: ArrayLike = 0.0,
        mu_emphasis: float = 3.0,
        directions: NDArray[np.float64] | None = None,
        seed: int = 0,
    ) -> ScoreCells:
        """Find the cells.

        Args:
            scores: Shape (n_events, n_parameters), mu first.
            weights: Expected events that each one stands for.
            n_cells: Number of cells.
            constraints: Information on each parameter from elsewhere, such as 1 for a nuisance in units of
                its prior's standard deviation.
            mu_emphasis: How much more the direction that moves the estimate of mu counts.
            directions: From scores to the space of cells, where it is not to follow from the scores by
                `score_directions`.
            seed: Decides the first centres.

        Raises:
            InvalidDataError: Scores that are not finite, or parameters that cannot be told from each other.
        """
        t = np.asarray(scores, dtype=np.float64)
        if directions is None:
            directions = score_directions(t, weights, constraints=constraints, mu_emphasis=mu_emphasis)
        centres = _k_means(t @ directions, weights, n_cells, np.random.default_rng(seed))
        return cls(directions, centres, np.arange(len(centres)))

    def __call__(self, scores: ArrayLike) -> NDArray[np.intp]:
        """Cell of each event, shape (n_events,), from its scores, shape (n_events, n_parameters)."""
        t = np.asarray(scores)
        precision = np.result_type(t, np.float32)  # single precision is enough, where it is what is given
        directions, centres = (a.astype(precision, copy=False) for a in (self.directions, self.centres))
        return np.asarray(self.merged[_nearest(t @ directions, centres)])

    def without_poor(self, counts: NDArray[np.float64], minimum: float) -> ScoreCells:
        """The same cells after those with small counts have joined their nearest neighbours.

        Args:
            counts: Shape (n_fine,), such as the simulated background events in each cell as it was found.
            minimum: Least count; the cell with the largest count stays in any case.
        """
        rich = self.centres[counts >= min(minimum, float(counts.max()))]
        return ScoreCells(self.directions, self.centres, _nearest(self.centres, rich))

    def merge(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the cells as they were found, on the last axis, added up over the final ones."""
        return np.asarray(sums @ np.eye(self.n_cells)[self.merged])


def score_directions(
    scores: ArrayLike, weights: NDArray[np.float64], *, constraints: ArrayLike = 0.0, mu_emphasis: float = 3.0
) -> NDArray[np.float64]:
    """From scores to a space in which a squared distance is the information that not telling it apart loses.

    Args:
        scores: As of `ScoreCells.fit`, as are the other arguments.
        weights: Expected events that each one stands for.
        constraints: Information on each parameter from elsewhere.
        mu_emphasis: How much more the direction that moves the estimate of mu counts.

    Returns:
        Shape (n_parameters, n_parameters + 1); the last column is the one that moves mu.

    Raises:
        InvalidDataError: Scores that are not finite, or parameters that cannot be told from each other.
    """
    t = np.asarray(scores, dtype=np.float64)
    if t.ndim != 2 or not np.isfinite(t).all():
        raise InvalidDataError(f"scores of shape {t.shape}: give finite numbers, a row per event")
    constrained = np.broadcast_to(np.asarray(constraints, dtype=np.float64), t.shape[1])
    information = (t * weights[:, None]).T @ t + np.diag(constrained)
    try:
        covariance = np.linalg.inv(information)
        whitening = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise InvalidDataError(
            "the scores do not determine all parameters: leave one out, or state its constraint"
        ) from error
    to_mu = covariance[:, :1] / np.sqrt(covariance[0, 0])
    return np.hstack([whitening, mu_emphasis * to_mu])


def _k_means(
    points: NDArray[np.float64], weights: NDArray[np.float64], n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Centres of cells with little variance within, shape (n_cells, n_dimensions): Lloyd's algorithm.

    It starts from points drawn with probability proportional to weight and squared distance from those drawn
    before (Arthur and Vassilvitskii, k-means++, 2007).
    """
    distances = (points**2).sum(axis=1)
    centres = np.empty((min(n, len(points)), points.shape[1]))
    for i in range(len(centres)):
        chance = np.cumsum(weights * distances)
        row = min(np.searchsorted(chance, rng.random() * chance[-1], side="right"), len(points) - 1)
        centres[i] = points[row]
        distances = np.minimum(distances, ((points - centres[i]) ** 2).sum(axis=1))
    for _ in range(_N_STEPS):
        cell = _nearest(points, centres)
        total = np.bincount(cell, weights, minlength=len(centres))
        is_used = total > 0
        sums = np.array([np.bincount(cell, weights * c, minlength=len(centres)) for c in points.T]).T
        centres[is_used] = sums[is_used] / total[is_used, None]
    return centres


def _nearest(points: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.intp]:
    """Index of the nearest centre of each point, shape (n_points,)."""
    half = (centres**2).sum(axis=1) / 2
    starts = range(0, max(len(points), 1), _CHUNK)
    parts = [np.argmax(points[i : i + _CHUNK] @ centres.T - half, axis=1) for i in starts]
    return np.concatenate(parts)
