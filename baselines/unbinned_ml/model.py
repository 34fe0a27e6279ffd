"""Learned density ratios, their dependence on the nuisances learned process by process, unbinned likelihood.

After the HEPHY submission to the public challenge, arXiv:2505.05544. Its card is README.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairuniverse import Interval
from fairuniverse.learning import (
    ScoreCells,
    Standardizer,
    cross_entropy,
    deterministic,
    further_events,
    load_network,
    mlp,
    outputs,
    process_scales,
    save_network,
    score_directions,
    template_events,
    train_network,
)
from fairuniverse.likelihood import (
    Axis,
    BinnedLikelihood,
    BinnedModel,
    EventTerms,
    Monomials,
    Parameter,
    PolynomialMorphing,
    Templates,
    UnbinnedLikelihood,
    UnbinnedModel,
    load_model,
    profile_interval,
    save_model,
    shape_axes,
)

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from fairuniverse.training import TrainingSet

PRESCALE = 4

N_RATIO_EVENTS = 3_000_000
RATIO_HIDDEN = (128, 128, 128)
N_RATIO_EPOCHS = 8
RATIO_RATE = 4e-3
"""Multi-class network of the density ratios: most simulated events of a process, and its training."""

N_SHIFT_EVENTS = 150_000
SHIFT_HIDDEN = (64, 64)
N_SHIFT_EPOCHS = 3
SHIFT_RATE = 3e-3
MIN_FOCUS = 0.05
"""Network of the logarithmic shifts. In its training an event counts by the chance that it is signal, and by
this at least: where the signal is, shifts must be known best."""

N_SKETCH_EVENTS = 1_500_000
SKETCH_HIDDEN = (64, 64)
N_SKETCH_EPOCHS = 8
SKETCH_RATE = 4e-3
EXACT_SHARE = 0.2
"""Network that sketches the scores, taught by the other two on so many events; and the share of events, the
most signal-like by its sketch, whose scores are computed in full."""

BATCH_SIZE = 4096

DEGREES = {1: 6, 2: 4}
MANY_DEGREE = 2
SINGLE_PULLS = (-2.5, -1.25, 1.25, 2.5)
PAIR_PULLS = (-1.8, 1.8)
NOISE_PULLS = (0.0, 0.7, 1.25, 1.6)
NOISE_PAIR_PULLS = (1.1,)
FEW_REACH = 3.0
"""Polynomials in the nuisances, and the pulls at which the networks and the templates see shifted events: a
product grid for one or two nuisances, single shifts and pairs for more."""

N_CELLS = 200
N_CELL_EVENTS = 60_000
MIN_BACKGROUND_COUNT = 60.0
N_MORPHING_EVENTS = 3_000_000
"""Cells of the scores, and the most events of a process that tell how their contents deform."""

MAX_UNBINNED = 30_000.0
"""Expected events in the cells in which the likelihood is unbinned: those that lose most by being counted."""

CHUNK = 1 << 16
"""Events at a time, to bound the memory of what is made of them."""


class Model:
    """Signal strength from learned densities: unbinned where they tell most, counted in cells elsewhere."""

    def fit(self, train: TrainingSet) -> None:
        """Train the networks on newly simulated events, then calibrate them on the training events."""
        self.confidence_level = train.confidence_level
        axes = shape_axes(train)
        monomials = Monomials.up_to(axes, DEGREES.get(len(axes), MANY_DEGREE)) if axes else None
        numbers = _numbers(train, N_RATIO_EVENTS)
        table = further_events(train, numbers, purpose="ratios", prescale=PRESCALE).shift()
        standardizer = Standardizer.fit(table, train.features, azimuths="relative")
        sample = Sample.of(table, standardizer)
        del table
        densities = Densities.fit(train, sample, standardizer, monomials)
        scores = _scores(train, sample, densities, monomials)
        filled = template_events(train)
        partition = Partition.fit(train, sample, standardizer, scores, len(filled.events))
        del sample
        self.measurement = Measurement.fit(filled, densities, partition, monomials)

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment."""
        likelihood = self.measurement.likelihood(test)
        return profile_interval(likelihood, confidence_level=self.confidence_level).interval

    def save(self, folder: str | Path) -> None:
        """Write the fitted model: networks in safetensors, numbers in NumPy's format."""
        level = json.dumps({"confidence_level": self.confidence_level})
        (Path(folder) / "interval.json").write_text(level, encoding="utf-8")
        self.measurement.save(Path(folder))

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        level = json.loads((Path(folder) / "interval.json").read_text(encoding="utf-8"))
        self.confidence_level = level["confidence_level"]
        self.measurement = Measurement.load(Path(folder))


class Sample(NamedTuple):
    """Simulated events: inputs of the networks, (n_events, n_inputs), codes of their processes, weights."""

    x: NDArray[np.float32]
    process: NDArray[np.intp]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, table: pd.DataFrame, standardizer: Standardizer) -> Sample:
        """The events of a table."""
        return cls(standardizer(table), *_labels(table))


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
            ratios = mlp(standardizer.n_out, RATIO_HIDDEN, len(shares))
            train_network(
                ratios,
                (sample.x, sample.process),
                cross_entropy,
                seed=1,
                weights=sample.weights * relative[sample.process],
                n_epochs=N_RATIO_EPOCHS,
                batch_size=BATCH_SIZE,
                learning_rate=RATIO_RATE,
                title="density ratios",
            )
            _divide_by(ratios, shares)
        if monomials is None:
            return cls(ratios, None, np.empty(0))
        points = list(_points(monomials.axes))
        terms = np.array([monomials.at(p) for p in points])
        reach = np.abs(terms).max(axis=0)
        further = further_events(train, _numbers(train, N_SHIFT_EVENTS), purpose="shifts", prescale=PRESCALE)
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
        _save_network(self.ratios, RATIO_HIDDEN, folder / "ratios.safetensors")
        if self.shifts is not None:
            _save_network(self.shifts, SHIFT_HIDDEN, folder / "shifts.safetensors")
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
        focus = MIN_FOCUS + (chance / chance.sum(axis=1, keepdims=True))[:, _signals(train)].sum(axis=1)
        n_processes, n_terms = len(train.processes), terms.shape[1]
        network = mlp(x.shape[1], SHIFT_HIDDEN, n_processes * n_terms, is_zero_at_start=True)
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
            n_epochs=N_SHIFT_EPOCHS,
            batch_size=BATCH_SIZE,
            learning_rate=SHIFT_RATE,
            title="shifts",
        )
    return network


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

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores, shape (n_events, n_parameters), from the inputs of the networks."""
        return np.concatenate([self._of_some(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)])

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
        rows = np.arange(0, len(sample.x), 1 + len(sample.x) // N_SKETCH_EVENTS)
        x, process, weights = sample.x[rows], sample.process[rows], sample.weights[rows]
        weights = weights * (sample.weights.sum() / weights.sum())
        exact = scores(x)
        # Scaled to about one: no number that a network gives or gets should be small.
        directions = score_directions(exact, weights, constraints=1.0) * np.sqrt(weights.sum())
        directions = directions.astype(np.float32)
        targets = exact.astype(np.float32) @ directions
        with deterministic(seed=3):
            sketch = mlp(standardizer.n_out, SKETCH_HIDDEN, targets.shape[1])
            train_network(
                sketch,
                (x, targets),
                _squared_error,
                seed=3,
                weights=weights,
                n_epochs=N_SKETCH_EPOCHS,
                batch_size=BATCH_SIZE,
                learning_rate=SKETCH_RATE,
                title="scores",
            )
            points = outputs(sketch, x)
        threshold = _upper(points[:, -1], weights, EXACT_SHARE)
        is_likely = points[:, -1] > threshold
        points[is_likely] = targets[is_likely]
        some = slice(None, None, 1 + len(x) // N_CELL_EVENTS)
        same = np.eye(targets.shape[1])
        cells = ScoreCells.fit(points[some], weights[some], n_cells=N_CELLS, directions=same)
        cells = _known(cells, cells(points), weights, ~_signals(train)[process], n_templates / len(x))
        regions = _regions(cells(points), points[:, -1], weights, cells.n_cells)
        return cls(standardizer, sketch, scores, directions, threshold, cells, regions)

    def __call__(self, table: pd.DataFrame) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.intp]]]:
        """Inputs of the networks and cells of the events of a table, some rows at a time."""
        for i in range(0, max(len(table), 1), CHUNK):
            rows = slice(i, i + CHUNK)
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
        _save_network(self.sketch, SKETCH_HIDDEN, folder / "sketch.safetensors")
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
    return cells.without_poor(counts, MIN_BACKGROUND_COUNT)


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
        points = [] if monomials is None else list(_points(monomials.axes))
        terms = np.array([monomials.at(p) for p in points]) if monomials is not None else np.empty((0, 0))
        table = train.shift()
        sums, squares = _tally(train, partition, table)
        norms, shift_norms = _norms(train, densities, partition, table, terms)
        del table  # shifted copies follow: keep one table in memory at a time
        morphing = None
        if monomials is not None:
            numbers = _numbers(train, N_MORPHING_EVENTS)
            further = further_events(train, numbers, purpose="morphing", prescale=PRESCALE)
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


@dataclass(frozen=True, eq=False)
class SharpenedLikelihood:
    """Likelihood of the counts in all cells, times the conditional one of where in some of them events are.

    The conditional likelihood is the unbinned one over the Poisson likelihood of the same counts, in which
    yields, constraints and everything else that the counts already tell cancel.

    Attributes:
        counted: Likelihood of the counts, with the uncertainty of the simulation.
        unbinned: Extended likelihood of the events in the unbinned cells.
        cancelled: Likelihood of their counts.
    """

    counted: BinnedLikelihood
    unbinned: UnbinnedLikelihood
    cancelled: BinnedLikelihood

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters: mu, then the pulls."""
        return self.counted.parameters

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood."""
        return self.counted.twice_nll(x) + self.unbinned.twice_nll(x) - self.cancelled.twice_nll(x)

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll`."""
        return self.counted.gradient(x) + self.unbinned.gradient(x) - self.cancelled.gradient(x)

    def information(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimate of the Fisher information, that of the counts: most of it, and enough to start a fit."""
        return self.counted.information(x)


def _tally(
    train: TrainingSet, partition: Partition, table: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of weights, and of their squares, of each process in each cell, shape (n_processes, n_cells)."""
    process, weights = _labels(table)
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
    process, weights = _labels(table)
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


def _regions(
    cell: NDArray[np.intp], to_mu: NDArray[np.floating], expected: NDArray[np.float64], n_cells: int
) -> NDArray[np.intp]:
    """Cells that lose most by being counted: with the largest variance of what moves mu, per event."""
    n, first, second = (np.bincount(cell, expected * to_mu**k, minlength=n_cells) for k in range(3))
    variance = second - np.divide(first**2, n, out=np.zeros_like(n), where=n > 0)
    order = np.argsort(-np.divide(variance, n, out=np.zeros_like(n), where=n > 0), kind="stable")
    return np.sort(order[np.cumsum(n[order]) <= MAX_UNBINNED])


def _points(axes: Sequence[Axis]) -> Iterator[dict[str, float]]:
    """Nuisance values at which events are shifted, the nominal ones left out."""
    names = [axis.parameter.name for axis in axes]
    if len(axes) in DEGREES:
        n = 2 * DEGREES[len(axes)] + 1
        nodes = [_thetas(axis, np.linspace(-FEW_REACH, FEW_REACH, n)) for axis in axes]
        yield from (dict(zip(names, point, strict=True)) for point in product(*nodes))
        return
    for axis in axes:
        pulls = NOISE_PULLS if axis.power == 2 else SINGLE_PULLS
        yield from ({axis.parameter.name: theta} for theta in _thetas(axis, pulls))
    pairs = [_thetas(axis, NOISE_PAIR_PULLS if axis.power == 2 else PAIR_PULLS) for axis in axes]
    for i, j in combinations(range(len(axes)), 2):
        yield from ({names[i]: a, names[j]: b} for a, b in product(pairs[i], pairs[j]))


def _thetas(axis: Axis, pulls: Sequence[float] | NDArray[np.float64]) -> list[float]:
    p = axis.parameter
    return [float(np.clip(p.prior.from_alpha(float(a)), *p.bounds)) for a in pulls]


def _numbers(train: TrainingSet, n_events: int) -> dict[str, int]:
    """Events of each process to simulate: so many of the most frequent one, of others a tenth or more."""
    largest = max(p.expected_yield for p in train.processes)
    return {
        p.name: round(n_events * (0.2 if p.is_signal else max(p.expected_yield / largest, 0.1)))
        for p in train.processes
    }


def _signals(train: TrainingSet) -> NDArray[np.bool_]:
    return np.array([p.is_signal for p in train.processes])


def _scores(train: TrainingSet, sample: Sample, densities: Densities, monomials: Monomials | None) -> Scores:
    """Scores from learned densities, with the yields of a sample."""
    powers = np.empty((0, 0)) if monomials is None else monomials.powers
    yields = np.bincount(sample.process, sample.weights).astype(np.float64)
    return Scores(densities, yields, process_scales(train), np.flatnonzero(powers.sum(axis=1) == 1))


def _labels(table: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Process codes and weights."""
    process = np.asarray(table["process"].cat.codes, dtype=np.intp)
    return process, np.asarray(table["weights"], dtype=np.float64)


def _save_network(network: torch.nn.Module, hidden: Sequence[int], path: Path) -> None:
    weights = list(network.parameters())
    config = {"n_in": weights[0].shape[1], "hidden": hidden, "n_out": len(weights[-1])}
    save_network(network, path, config)


def _shares(train: TrainingSet) -> NDArray[np.float64]:
    """Weight of each process in the training of the ratios: in between equal ones and the yields.

    Equal weights would spend the network on rare backgrounds, the yields on the most frequent one.
    """
    yields = np.array([p.expected_yield for p in train.processes])
    relative = (yields / yields[~_signals(train)].max()) ** 0.25
    return np.where(_signals(train), 1.0, relative)


def _divide_by(network: torch.nn.Module, shares: NDArray[np.float64]) -> None:
    """Make the probabilities of a classifier those of a mixture in which all classes have the same share."""
    import torch

    *_, bias = network.parameters()
    with torch.no_grad():
        bias.sub_(torch.from_numpy(np.log(shares).astype(np.float32)))
