"""Points of the nuisances from which events are seen, each with templates around it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import ScoreCells, process_scales
from fairuniverse.likelihood import (
    Axis,
    BinnedModel,
    ProfileInterval,
    Templates,
    load_model,
    profile_interval,
    save_model,
)
from fairuniverse.nuisance import NuisanceParameter

from . import settings
from .coordinates import coordinate, seen_from
from .ratios import Ratios
from .templates import cells_of, effective_counts, fill, morphing_around
from .view import View

if TYPE_CHECKING:
    from fairuniverse.training import TrainingSet


class AnchoredModel(BinnedModel):
    """Binned model whose fits start where its shape nuisances are nominal."""

    @cached_property
    def start(self) -> NDArray[np.float64]:
        """The nominal point: mu = 1, added noise at the centre of its prior."""
        pulls = [0.0 if p.is_noise else p.prior.to_alpha(p.nominal) for p in self.nuisances]
        return np.array([1.0, *pulls])


@dataclass(frozen=True, eq=False)
class Anchor:
    """Cells of the scores as seen from one point of the nuisances, and what is expected in them around it.

    Attributes:
        view: The point.
        cells: The cells.
        model: Expected events in them; it holds within the bounds of its nuisances.
    """

    view: View
    cells: ScoreCells
    model: AnchoredModel

    @classmethod
    def fit(
        cls,
        ratios: Ratios,
        nuisances: Sequence[NuisanceParameter],
        spacing: NDArray[np.float64],
        sample: TrainingSet,
        morphing: TrainingSet,
    ) -> Anchor:
        """Find the cells of an anchor, and fill them with simulated events.

        Args:
            ratios: The classifier.
            nuisances: The nuisance parameters with the anchor as their nominal values.
            spacing: Distance to the next anchors.
            sample: Events that fill the templates.
            morphing: Independent events that tell how the templates deform.
        """
        axes = [Axis.of(p) for p in nuisances if p.kind == "shape"]
        here = {a.parameter.name: seen_from(a.parameter) for a in axes}
        table = morphing.shift(here)
        process, weights = table["process"].cat.codes.to_numpy(), table["weights"].to_numpy()
        view = View(
            np.array([coordinate(a.parameter, here[a.parameter.name]) for a in axes]),
            spacing,
            _yields(process, weights, len(morphing.processes)),
            process_scales(morphing),
        )
        rows = np.arange(0, len(table), 1 + len(table) // settings.N_CELL_EVENTS)
        kept = weights[rows] * (weights.sum() / weights[rows].sum())
        scores = view.scores(ratios, ratios.standardizer(table.iloc[rows]))
        cells = ScoreCells.fit(scores, kept, n_cells=settings.N_CELLS, constraints=1.0)
        del table  # shifted copies follow: keep one table in memory at a time
        nominal = {a.parameter.name: a.parameter.nominal for a in axes}
        sums, squares = fill(ratios, view, cells, sample, nominal)
        is_background = np.array([not p.is_signal for p in morphing.processes])
        background, variance = sums[is_background].sum(axis=0), squares[is_background].sum(axis=0)
        cells = cells.without_poor(effective_counts(background, variance), settings.MIN_BACKGROUND_COUNT)
        templates = Templates(morphing.processes, cells.merge(sums), cells.merge(squares))
        deformed = morphing_around(ratios, view, cells, morphing, axes) if axes else None
        return cls(view, cells, AnchoredModel(templates, tuple(nuisances), deformed))

    def twice_nll(self, ratios: Ratios, x: NDArray[np.float32], n_each: float) -> float:
        """Twice the negative log-likelihood of events here, by the classifier; each stands for `n_each`."""
        pulls = self.model.start * self.model.constrained
        expected = self.view.yields.sum()
        return float(2 * expected - 2 * n_each * self.view.log_intensity(ratios, x).sum() + pulls @ pulls)

    def measure(self, ratios: Ratios, x: NDArray[np.float32], confidence_level: float) -> ProfileInterval:
        """Fit of the events in the cells of this anchor."""
        counts = np.bincount(cells_of(ratios, self.view, self.cells, x), minlength=self.cells.n_cells)
        return profile_interval(self.model.likelihood(counts), confidence_level=confidence_level)

    def distance(self, answer: ProfileInterval) -> float:
        """Largest distance of a best fit from the point, over the distance to the next points."""
        z = [
            coordinate(p, p.prior.from_alpha(answer.best[p.name]))
            for p in self.model.nuisances
            if p.kind == "shape"
        ]
        return float(np.max(np.abs(np.array(z) - self.view.z) / self.view.spacing, initial=0.0))

    def save(self, folder: Path, i: int) -> None:
        """Write the anchor as number i."""
        save_model(self.model, folder / f"anchor{i}.npz")
        arrays = {**vars(self.view), **vars(self.cells)}
        np.savez(folder / f"cells{i}.npz", **arrays)

    @classmethod
    def load(cls, folder: Path, i: int) -> Anchor:
        """Read what `save` wrote as number i."""
        model = load_model(folder / f"anchor{i}.npz")
        with np.load(folder / f"cells{i}.npz", allow_pickle=False) as file:
            view = View(*(file[f.name] for f in fields(View)))
            cells = ScoreCells(*(file[f.name] for f in fields(ScoreCells)))
        return cls(view, cells, AnchoredModel(**{f.name: getattr(model, f.name) for f in fields(model)}))


def anchor_spacing(ratios: Ratios, sample: TrainingSet) -> NDArray[np.float64]:
    """Distance of anchors: what changes log densities by `MAX_EFFECT`, or infinite; shape (n_axes,)."""
    table = sample.shift()
    table = table.iloc[:: 1 + len(table) // settings.N_CELL_EVENTS]
    process, weights = table["process"].cat.codes.to_numpy(), table["weights"].to_numpy()
    shapes = [p for p in sample.nuisances if p.kind == "shape"]
    yields = _yields(process, weights, len(sample.processes))
    z = np.array([coordinate(p, seen_from(p)) for p in shapes])
    view = View(z, np.full(len(z), np.inf), yields, np.empty((0, len(yields))))
    scores = view.scores(ratios, ratios.standardizer(table))
    rms = np.sqrt(np.average(scores**2, axis=0, weights=weights))
    spacing = settings.MAX_EFFECT / np.maximum(rms, 1e-9)
    is_noise = np.array([p.is_noise for p in shapes], dtype=bool)
    return np.where(is_noise | (spacing > settings.PRIOR_REACH), np.inf, spacing)


def anchored(
    nuisances: Sequence[NuisanceParameter], spacing: NDArray[np.float64]
) -> Iterator[tuple[NuisanceParameter, ...]]:
    """The nuisance parameters with each anchor in turn as nominal values, and bounds just beyond the next."""
    shapes = [p.name for p in nuisances if p.kind == "shape"]
    choices = []
    for p in nuisances:
        step = dict(zip(shapes, spacing.tolist(), strict=True)).get(p.name, np.inf)
        n = math.ceil(settings.PRIOR_REACH / step)
        choices.append([_recentred(p, i * step, step) for i in range(-n, n + 1)] if n else [p])
    yield from product(*choices)


def _recentred(parameter: NuisanceParameter, alpha: float, step: float) -> NuisanceParameter:
    low, nominal, high = (
        float(np.clip(parameter.prior.from_alpha(a), *parameter.bounds))
        for a in (alpha - step, alpha, alpha + step)
    )
    return replace(parameter, nominal=nominal, bounds=(low, high))


def _yields(process: NDArray[Any], weights: NDArray[np.float64], n_processes: int) -> NDArray[np.float64]:
    """Expected events of each process."""
    return np.asarray(np.bincount(process, weights, minlength=n_processes), dtype=np.float64)
