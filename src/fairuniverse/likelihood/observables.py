"""Binned measurements: from a number per event to templates, their morphing and an interval of mu.

What comes between a classifier, however it was trained, and its answer is the same for all of them.

    binned = BinnedScore.fit(train, score)        # score: a function of a table, shape (n_events,)
    interval = binned.interval(score(test))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.binned import BinnedLikelihood, BinnedModel
from fairuniverse.likelihood.fit import Likelihood
from fairuniverse.likelihood.interval import profile_interval
from fairuniverse.likelihood.monomials import Axis
from fairuniverse.likelihood.morphing import PolynomialMorphing
from fairuniverse.likelihood.storage import load_model, save_model
from fairuniverse.likelihood.templates import Templates, fill_templates
from fairuniverse.protocols import ONE_SIGMA_CL, Interval, Process

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet

MIN_BACKGROUND_COUNT = 100.0
"""Simulated events of background in a bin of `BinnedScore`: it knows its background to 10 %."""

_DEGREES = {1: 10, 2: 4}
_MANY_DEGREE = 2
"""Degree of the polynomial by the number of shape nuisances: where they are few it can afford to follow them
over effects that are not small."""

_MAX_EFFECTS = {1: 20.0, 2: 5.0}
_MANY_MAX_EFFECT = 0.5
"""Change of ln(yield) at the end of the grid that needs no evidence, see `PolynomialMorphing.fit`."""

_REACH = {1: 4.0, 2: 3.0}
_MANY_REACH = 2.5
"""Pulls up to which templates are simulated."""

_PAIR_PULL = 1.8
_PAIR_SHARE = 0.6
"""Where two of many nuisances are shifted together: a pull, or a share of the largest added noise."""

_AT_ONCE = 2
"""Shifted tables in memory at the same time, at most."""

_STARTS = {1: 25, 2: 9, 3: 5}
_START_REACH = 3.0
"""Pulls at which a fit may start, by the number of nuisances; with more of them, only the nominal ones."""


def shape_axes(train: TrainingSet) -> tuple[Axis, ...]:
    """Coordinates in which the shape nuisances of a training set act as low-order polynomials."""
    return tuple(Axis.of(p) for p in train.nuisances if p.kind == "shape")


def binned_model(
    train: TrainingSet,
    bins: Callable[[pd.DataFrame], NDArray[np.integer]],
    n_bins: int,
    templates: Templates | None = None,
) -> BinnedModel:
    """Templates of any binned observable, and how the shape nuisances deform them.

    The training events fill nominal templates and, shifted to a grid of nuisance values, the templates that a
    polynomial in the exponent is fitted to. With one or two shape nuisances the grid is a product and the
    polynomial of high degree; with more it has single shifts, pairs, and second degree.

    Args:
        train: The training set. Use other events than those that the observable was learnt from.
        bins: Function of a table of events that gives the bin of each, 0 to n_bins - 1. Where the fit has
            several threads, two call it at once.
        n_bins: Number of bins.
        templates: The nominal templates, where they are filled already.

    Raises:
        InvalidDataError: A bin without expected background: choose wider bins.
    """
    if templates is None:
        table = train.shift()
        templates = _filled(train, table, bins(table), n_bins)
        del table  # shifted copies follow: keep no more tables in memory than these
    axes = shape_axes(train)
    if not axes:
        return BinnedModel(templates, train.nuisances)
    points = list(_grid(axes))

    def yields_at(point: Mapping[str, float]) -> NDArray[np.float64]:
        return _yields(train.processes, bins, n_bins, train.shift(point))

    with ThreadPoolExecutor(min(train.n_threads, _AT_ONCE)) as threads:
        yields = list(threads.map(yields_at, points))
    nominal = templates.yields
    ratios = np.divide(yields, nominal, out=np.ones((len(points), *nominal.shape)), where=nominal > 0)
    morphing = PolynomialMorphing.fit(
        axes,
        points,
        ratios,
        templates.effective_counts,
        degree=_DEGREES.get(len(axes), _MANY_DEGREE),
        max_effect=_MAX_EFFECTS.get(len(axes), _MANY_MAX_EFFECT),
    )
    return BinnedModel(templates, train.nuisances, morphing)


def _filled(train: TrainingSet, nominal: pd.DataFrame, bins: NDArray[np.integer], n_bins: int) -> Templates:
    process, weights = nominal["process"].cat.codes, nominal["weights"]
    return fill_templates(train.processes, bins, process, weights, n_bins)


def _yields(
    processes: Sequence[Process],
    bins: Callable[[pd.DataFrame], NDArray[np.integer]],
    n_bins: int,
    table: pd.DataFrame,
) -> NDArray[np.float64]:
    """Sums of weights, shape (n_processes, n_bins)."""
    cell = table["process"].cat.codes.to_numpy(np.intp) * n_bins + bins(table)
    n_cells = len(processes) * n_bins
    sums = np.bincount(cell, table["weights"].to_numpy(), minlength=n_cells)
    return sums.reshape(len(processes), n_bins).astype(np.float64)


def _grid(axes: Sequence[Axis]) -> Iterator[dict[str, float]]:
    """Nuisance values at which templates are simulated, the nominal ones left out."""
    names = [axis.parameter.name for axis in axes]
    if len(axes) in _DEGREES:
        nodes = [_nodes(axis, 2 * _DEGREES[len(axes)] + 1, _REACH[len(axes)]) for axis in axes]
        yield from (dict(zip(names, point, strict=True)) for point in product(*nodes))
        return
    for axis in axes:
        yield from ({axis.parameter.name: theta} for theta in _nodes(axis, 4, _MANY_REACH))
    for first, second in combinations(axes, 2):
        for a, b in product(_pair_nodes(first), _pair_nodes(second)):
            yield {first.parameter.name: a, second.parameter.name: b}


def _nodes(axis: Axis, n: int, reach: float) -> list[float]:
    """Values of one nuisance, evenly spread up to `reach` prior sigmas, or over all added noise."""
    p = axis.parameter
    if axis.power == 2:
        return [float(v) for v in np.linspace(p.nominal, p.bounds[1], n + 1)[1:]]
    low, high = (min(max(p.prior.from_alpha(a), p.bounds[0]), p.bounds[1]) for a in (-reach, reach))
    return [float(v) for v in np.linspace(low, high, n)]


def _pair_nodes(axis: Axis) -> list[float]:
    p = axis.parameter
    if axis.power == 2:
        return [p.nominal + _PAIR_SHARE * (p.bounds[1] - p.nominal)]
    return [min(max(p.prior.from_alpha(a), p.bounds[0]), p.bounds[1]) for a in (-_PAIR_PULL, _PAIR_PULL)]


@dataclass(frozen=True, eq=False)
class BinnedScore:
    """Measurement with the histogram of one number per event, such as the output of a classifier.

    Attributes:
        edges: Shape (n_bins - 1,), edges between the bins, ascending; a number on one is in the upper bin.
        model: Expected counts as a function of mu and the nuisances.
        confidence_level: Probability content of the intervals.
    """

    edges: NDArray[np.float64]
    model: BinnedModel
    confidence_level: float = ONE_SIGMA_CL

    @classmethod
    def fit(
        cls,
        train: TrainingSet,
        score: Callable[[pd.DataFrame], ArrayLike],
        *,
        n_signal_bins: int = 15,
        n_background_bins: int = 10,
        min_background_count: float = MIN_BACKGROUND_COUNT,
    ) -> BinnedScore:
        """Choose bins and learn templates and morphing, see `binned_model`.

        The edges are quantiles of the signal, which measure mu, and of the background, which tell the
        nuisances. Bins that do not know their background are joined with the next lower one.

        Args:
            train: The training set. Use other events than those that the score was learnt from.
            score: Function of a table of events, shape (n_events,); higher where signal is likelier. Two
                threads call it at once where the fit has several.
            n_signal_bins: Bins of equal expected signal.
            n_background_bins: Bins of equal expected background that divide those further.
            min_background_count: Least number of simulated background events of a bin.

        Raises:
            InvalidDataError: Scores that are not finite.
        """
        nominal = train.shift()
        scores, is_signal = _finite(score(nominal)), nominal["label"].to_numpy() == 1
        weights = nominal["weights"].to_numpy()
        edges = np.union1d(
            _quantiles(scores[is_signal], weights[is_signal], n_signal_bins),
            _quantiles(scores[~is_signal], weights[~is_signal], n_background_bins),
        )
        edges = _known_background(edges, scores[~is_signal], weights[~is_signal], min_background_count)
        n_bins = len(edges) + 1
        templates = _filled(train, nominal, np.digitize(scores, edges), n_bins)
        del nominal  # shifted copies follow

        def bins(table: pd.DataFrame) -> NDArray[np.intp]:
            return np.digitize(_finite(score(table)), edges)

        return cls(edges, binned_model(train, bins, n_bins, templates), train.confidence_level)

    def counts(self, scores: ArrayLike) -> NDArray[np.intp]:
        """Events in each bin, shape (n_bins,).

        Raises:
            InvalidDataError: Scores that are not finite.
        """
        return np.bincount(np.digitize(_finite(scores), self.edges), minlength=len(self.edges) + 1)

    def likelihood(self, scores: ArrayLike) -> BinnedLikelihood:
        """Likelihood of the events with these scores, shape (n_events,)."""
        return self.model.likelihood(self.counts(scores))

    def interval(self, scores: ArrayLike) -> Interval:
        """Estimate of mu and its profile-likelihood interval.

        Raises:
            FitError: A fit did not converge.
        """
        likelihood = self.likelihood(scores)
        start = best_start(likelihood)
        return profile_interval(likelihood, confidence_level=self.confidence_level, start=start).interval

    def save(self, folder: str | Path) -> None:
        """Write everything to ``binned_score.json`` and ``binned_model.npz`` of a folder."""
        words = {"edges": self.edges.tolist(), "confidence_level": self.confidence_level}
        (Path(folder) / "binned_score.json").write_text(json.dumps(words), encoding="utf-8")
        save_model(self.model, Path(folder) / "binned_model.npz")

    @classmethod
    def load(cls, folder: str | Path) -> BinnedScore:
        """Read what `save` wrote."""
        words = json.loads((Path(folder) / "binned_score.json").read_text(encoding="utf-8"))
        model = load_model(Path(folder) / "binned_model.npz")
        return cls(np.array(words["edges"]), model, words["confidence_level"])


def best_start(likelihood: Likelihood) -> NDArray[np.float64]:
    """Best point of a coarse grid of pulls, for likelihoods with several minima.

    A nuisance whose effect is even, such as a rotation seen through one projection, has its starting value at
    a maximum, from where a fit may go either way or nowhere.

    Args:
        likelihood: Its first parameter, mu, stays at its starting value; the others are pulls.
    """
    mu, *others = likelihood.parameters
    start = np.array([p.start for p in likelihood.parameters])
    if len(others) not in _STARTS:
        return start
    pulls = np.linspace(-_START_REACH, _START_REACH, _STARTS[len(others)])
    points = product([mu.start], *(np.clip(pulls, *p.bounds) for p in others))
    return min((start, *map(np.array, points)), key=likelihood.twice_nll)


def _finite(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InvalidDataError(f"scores of shape {values.shape}: give one finite number per event")
    return values


def _quantiles(scores: NDArray[np.float64], weights: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Inner edges of n bins of equal weight."""
    order = np.argsort(scores)
    shares = np.cumsum(weights[order]) / weights.sum()
    return scores[order][np.searchsorted(shares, np.arange(1, n) / n)]


def _known_background(
    edges: NDArray[np.float64], scores: NDArray[np.float64], weights: NDArray[np.float64], minimum: float
) -> NDArray[np.float64]:
    """The edges whose bins hold at least so many background events, from the top."""
    bins = np.digitize(scores, edges)
    sums, squares = (np.bincount(bins, weights**k, minlength=len(edges) + 1) for k in (1, 2))
    kept: list[float] = []
    total = square = 0.0
    for i in range(len(edges), 0, -1):
        total, square = total + sums[i], square + squares[i]
        if total**2 >= minimum * square and square > 0:
            kept.append(float(edges[i - 1]))
            total = square = 0.0
    # A score that takes few values has its lowest edge at the lowest of them, and nothing below.
    total, square = total + sums[0], square + squares[0]
    if kept and (square == 0 or total**2 < minimum * square):
        kept.pop()
    return np.array(kept[::-1])
