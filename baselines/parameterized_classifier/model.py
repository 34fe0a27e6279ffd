"""Classifier with the nuisance parameters as inputs; mu and nuisances are fitted to templates of its scores.

After Ghosh, Nachman and Whiteson, arXiv:2105.08742. Its card is README.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse import Interval
from fairuniverse.errors import FitError
from fairuniverse.learning import (
    ScoreCells,
    Standardizer,
    cross_entropy,
    deterministic,
    further_events,
    load_network,
    mlp,
    process_scales,
    save_network,
    shifted_copies,
    template_events,
    train_network,
)
from fairuniverse.likelihood import (
    Axis,
    BinnedModel,
    PolynomialMorphing,
    ProfileInterval,
    Templates,
    load_model,
    profile_interval,
    save_model,
)
from fairuniverse.nuisance import NuisanceParameter

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from fairuniverse.training import TrainingSet

HIDDEN = (64, 64)
N_EPOCHS = 6
BATCH_SIZE = 4096
LEARNING_RATE = 5e-3
N_COPIES = 40
MAX_COPY_EVENTS = 20_000
SPREAD = 1.3
"""The classifier learns from so many copies of so many events of each process, over wider priors."""

N_NETWORK_EVENTS = 300_000
N_MORPHING_EVENTS = 1_000_000
PRESCALE = 4
"""Most events of one process that are simulated for the classifier and for the deformation of templates."""

N_CELLS = 300
N_CELL_EVENTS = 30_000
MIN_BACKGROUND_COUNT = 60.0
"""Cells in the space of scores, and how many simulated background events each must hold."""

MAX_EFFECT = 0.5
PRIOR_REACH = 2.5
"""From one anchor to the next the log density of a typical event changes by no more, and they span so many
prior standard deviations; a nuisance that changes it less over them has one anchor."""

NOISE_PULLS = (0.0, 0.7, 1.25, 1.6)
NOISE_PAIR_PULLS = (1.1,)
"""Pulls of a nuisance that adds noise at which templates are simulated: alone, and with another."""

N_ANCHOR_EVENTS = 20_000
CHUNK = 1 << 12
"""Events whose scores are computed at once, in the cache of a core."""


class Model:
    """Signal strength from a profile-likelihood fit to cells in the scores of a parameterised classifier."""

    def fit(self, train: TrainingSet) -> None:
        """Train the classifier over the priors, then fill templates of its scores at each anchor."""
        self.confidence_level = train.confidence_level
        numbers = _numbers(train, N_NETWORK_EVENTS)
        ratios = Ratios.fit(further_events(train, numbers, purpose="classifier", prescale=PRESCALE))
        numbers = _numbers(train, N_MORPHING_EVENTS)
        morphing = further_events(train, numbers, purpose="morphing", prescale=PRESCALE)
        spacing = _spacing(ratios, morphing)
        samples = template_events(train), morphing
        self.ratios = ratios
        self.anchors = [
            Anchor.fit(ratios, nuisances, spacing, *samples)
            for nuisances in _anchored(train.nuisances, spacing)
        ]

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment.

        Raises:
            FitError: A fit did not converge, or it moves from anchor to anchor.
        """
        x = self.ratios.standardizer(test)
        i = self._likeliest(x)
        tried: list[int] = []
        while i not in tried:
            tried.append(i)
            answer = self.anchors[i].measure(self.ratios, x, self.confidence_level)
            i = int(np.argmin([a.distance(answer) for a in self.anchors]))
        if self.anchors[tried[-1]].distance(answer) > 1:
            raise FitError(f"the fit left all of {len(tried)} anchors: the nuisances are not determined")
        return answer.interval

    def _likeliest(self, x: NDArray[np.float32]) -> int:
        """Anchor at which the classifier finds a part of the events likeliest."""
        if len(self.anchors) == 1:
            return 0
        some = x[:: 1 + len(x) // N_ANCHOR_EVENTS]
        scale = len(x) / max(len(some), 1)
        return int(np.argmin([a.twice_nll(self.ratios, some, scale) for a in self.anchors]))

    def save(self, folder: str | Path) -> None:
        """Write the fitted model: the network in safetensors, numbers in NumPy's format."""
        folder = Path(folder)
        self.ratios.save(folder)
        words = {"confidence_level": self.confidence_level, "n_anchors": len(self.anchors)}
        (folder / "model.json").write_text(json.dumps(words), encoding="utf-8")
        for i, anchor in enumerate(self.anchors):
            anchor.save(folder, i)

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        folder = Path(folder)
        words = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.confidence_level = words["confidence_level"]
        self.ratios = Ratios.load(folder)
        self.anchors = [Anchor.load(folder, i) for i in range(words["n_anchors"])]


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
            train, N_COPIES, seed=1, spread=SPREAD, max_events=MAX_COPY_EVENTS, transform=standardizer
        )
        n_processes = len(train.processes)
        z = np.array([_coordinates(copies.nuisances, point) for point in copies.points])[copies.copy]
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
        config = {"n_in": standardizer.n_out + z.shape[1], "hidden": HIDDEN, "n_out": n_processes + 1}
        with deterministic(seed=1):
            network = mlp(**config)
            train_network(
                network,
                (np.hstack([x, z]), target),
                cross_entropy,
                seed=1,
                weights=weights,
                n_epochs=N_EPOCHS,
                batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
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


@dataclass(frozen=True, eq=False)
class View:
    """Events as the classifier sees them from one point of the nuisances.

    Attributes:
        z: Coordinates of the point, shape (n_axes,).
        spacing: Distance to the next points, shape (n_axes,); infinite where there are none.
        yields: Expected events of each process there.
        scales: Shape (n_scales, n_processes): relative effect of mu and of every normalisation nuisance.
    """

    z: NDArray[np.float64]
    spacing: NDArray[np.float64]
    yields: NDArray[np.float64]
    scales: NDArray[np.float64]

    def log_intensity(self, ratios: Ratios, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logarithm of the expected density over the reference density, shape (n_events,)."""
        return np.asarray(np.log(np.exp(ratios(x, self.z), dtype=np.float64) @ self.yields))

    def scores(self, ratios: Ratios, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Derivatives of the log intensity in scales and shape nuisances, shape (n_events, n_parameters)."""
        starts = range(0, max(len(x), 1), CHUNK)
        with deterministic(seed=0):
            return np.concatenate([self._scores(ratios, x[i : i + CHUNK]) for i in starts])

    def _scores(self, ratios: Ratios, x: NDArray[np.float32]) -> NDArray[np.float32]:
        logs, slopes = ratios.with_slopes(x, self.z)
        densities = self.yields.astype(np.float32) * np.exp(logs - logs.max(axis=1, keepdims=True))
        shares = densities / densities.sum(axis=1, keepdims=True)
        of_shapes = (shares[:, None] * slopes).sum(axis=2)
        return np.hstack([shares @ self.scales.T.astype(np.float32), of_shapes])


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
        here = {a.parameter.name: _seen_from(a.parameter) for a in axes}
        table = morphing.shift(here)
        process, weights = table["process"].cat.codes.to_numpy(), table["weights"].to_numpy()
        view = View(
            np.array([_coordinate(a.parameter, here[a.parameter.name]) for a in axes]),
            spacing,
            _yields(process, weights, len(morphing.processes)),
            process_scales(morphing),
        )
        rows = np.arange(0, len(table), 1 + len(table) // N_CELL_EVENTS)
        kept = weights[rows] * (weights.sum() / weights[rows].sum())
        cells = ScoreCells.fit(
            view.scores(ratios, ratios.standardizer(table.iloc[rows])), kept, n_cells=N_CELLS, constraints=1.0
        )
        del table  # shifted copies follow: keep one table in memory at a time
        nominal = {a.parameter.name: a.parameter.nominal for a in axes}
        sums, squares = _fill(ratios, view, cells, sample, nominal)
        is_background = np.array([not p.is_signal for p in morphing.processes])
        background, variance = sums[is_background].sum(axis=0), squares[is_background].sum(axis=0)
        cells = cells.without_poor(_effective(background, variance), MIN_BACKGROUND_COUNT)
        templates = Templates(morphing.processes, cells.merge(sums), cells.merge(squares))
        deformed = _morphing(ratios, view, cells, morphing, axes) if axes else None
        return cls(view, cells, AnchoredModel(templates, tuple(nuisances), deformed))

    def twice_nll(self, ratios: Ratios, x: NDArray[np.float32], n_each: float) -> float:
        """Twice the negative log-likelihood of events here, by the classifier; each stands for `n_each`."""
        pulls = self.model.start * self.model.constrained
        expected = self.view.yields.sum()
        return float(2 * expected - 2 * n_each * self.view.log_intensity(ratios, x).sum() + pulls @ pulls)

    def measure(self, ratios: Ratios, x: NDArray[np.float32], confidence_level: float) -> ProfileInterval:
        """Fit of the events in the cells of this anchor."""
        counts = np.bincount(_cells(ratios, self.view, self.cells, x), minlength=self.cells.n_cells)
        return profile_interval(self.model.likelihood(counts), confidence_level=confidence_level)

    def distance(self, answer: ProfileInterval) -> float:
        """Largest distance of a best fit from the point, over the distance to the next points."""
        z = [
            _coordinate(p, p.prior.from_alpha(answer.best[p.name]))
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


def _numbers(train: TrainingSet, n_events: int) -> dict[str, int]:
    """Events of each process to simulate: all of one process have at most so many, rare ones a tenth."""
    largest = max(p.expected_yield for p in train.processes)
    return {
        p.name: round(n_events * (1.0 if p.is_signal else max(p.expected_yield / largest, 0.1)))
        for p in train.processes
    }


def _coordinate(parameter: NuisanceParameter, theta: float) -> float:
    """What the network is told of a nuisance: its pull, or added noise over the median of its prior."""
    prior = parameter.prior
    return theta / prior.from_alpha(0.0) if parameter.is_noise else prior.to_alpha(theta)


def _coordinates(nuisances: Sequence[NuisanceParameter], point: NDArray[np.float64]) -> list[float]:
    return [_coordinate(p, float(theta)) for p, theta in zip(nuisances, point, strict=True)]


def _seen_from(parameter: NuisanceParameter) -> float:
    """Value of a nuisance at which an anchor takes scores: some noise, otherwise the nominal value."""
    return parameter.prior.from_alpha(0.0) if parameter.is_noise else parameter.nominal


def _spacing(ratios: Ratios, sample: TrainingSet) -> NDArray[np.float64]:
    """Distance of anchors: what changes log densities by `MAX_EFFECT`, or infinite; shape (n_axes,)."""
    table = sample.shift()
    table = table.iloc[:: 1 + len(table) // N_CELL_EVENTS]
    process, weights = table["process"].cat.codes.to_numpy(), table["weights"].to_numpy()
    shapes = [p for p in sample.nuisances if p.kind == "shape"]
    yields = _yields(process, weights, len(sample.processes))
    z = np.array([_coordinate(p, _seen_from(p)) for p in shapes])
    view = View(z, np.full(len(z), np.inf), yields, np.empty((0, len(yields))))
    scores = view.scores(ratios, ratios.standardizer(table))
    rms = np.sqrt(np.average(scores**2, axis=0, weights=weights))
    spacing = MAX_EFFECT / np.maximum(rms, 1e-9)
    is_noise = np.array([p.is_noise for p in shapes], dtype=bool)
    return np.where(is_noise | (spacing > PRIOR_REACH), np.inf, spacing)


def _anchored(
    nuisances: Sequence[NuisanceParameter], spacing: NDArray[np.float64]
) -> Iterator[tuple[NuisanceParameter, ...]]:
    """The nuisance parameters with each anchor in turn as nominal values, and bounds just beyond the next."""
    shapes = [p.name for p in nuisances if p.kind == "shape"]
    choices = []
    for p in nuisances:
        step = dict(zip(shapes, spacing.tolist(), strict=True)).get(p.name, np.inf)
        n = math.ceil(PRIOR_REACH / step)
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


def _cells(ratios: Ratios, view: View, cells: ScoreCells, x: NDArray[np.float32]) -> NDArray[np.intp]:
    """Cell of each event, shape (n_events,)."""
    return cells(view.scores(ratios, x))


def _fill(
    ratios: Ratios, view: View, cells: ScoreCells, sample: TrainingSet, point: Mapping[str, float]
) -> NDArray[np.float64]:
    """Sums of weights and of their squares, shape (2, n_processes, n_cells)."""
    table = sample.shift(point)
    bins = _cells(ratios, view, cells, ratios.standardizer(table))
    n_processes = len(sample.processes)
    flat = table["process"].cat.codes.to_numpy(np.intp) * cells.n_cells + bins
    weights = table["weights"].to_numpy()
    sums = [np.bincount(flat, weights**k, minlength=n_processes * cells.n_cells) for k in (1, 2)]
    return np.array(sums, dtype=np.float64).reshape(2, n_processes, cells.n_cells)


def _effective(sums: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Number of unweighted events with the same relative uncertainty."""
    return np.divide(sums**2, squares, out=np.zeros_like(sums), where=squares > 0)


def _morphing(
    ratios: Ratios, view: View, cells: ScoreCells, sample: TrainingSet, axes: Sequence[Axis]
) -> PolynomialMorphing:
    """How the shape nuisances deform the counts in the cells around the anchor."""
    nominal = {a.parameter.name: a.parameter.nominal for a in axes}
    base, squares = _fill(ratios, view, cells, sample, nominal)
    points = list(_points(axes, view.spacing))
    shifted = np.array([_fill(ratios, view, cells, sample, nominal | p)[0] for p in points])
    changes = np.divide(shifted, base, out=np.ones_like(shifted), where=base > 0)
    return PolynomialMorphing.fit(axes, points, changes, _effective(base, squares))


def _points(axes: Sequence[Axis], spacing: NDArray[np.float64]) -> Iterator[dict[str, float]]:
    """Nuisance values at which templates are simulated: each alone, and each two together."""
    singles, pairs = [], []
    for axis, step in zip(axes, spacing.tolist(), strict=True):
        p, reach = axis.parameter, min(step, PRIOR_REACH)
        centre = p.prior.to_alpha(_seen_from(p))
        alone = NOISE_PULLS if p.is_noise else [centre + reach * a for a in (-1.0, -0.5, 0.5, 1.0)]
        together = NOISE_PAIR_PULLS if p.is_noise else [centre + reach * a for a in (-0.7, 0.7)]
        values = [[float(np.clip(p.prior.from_alpha(a), *p.bounds)) for a in c] for c in (alone, together)]
        singles.append(values[0])
        pairs.append(values[1])
        yield from ({p.name: theta} for theta in values[0])
    names = [a.parameter.name for a in axes]
    for i, j in combinations(range(len(axes)), 2):
        yield from ({names[i]: a, names[j]: b} for a, b in product(pairs[i], pairs[j]))
