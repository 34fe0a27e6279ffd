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
from typing import TYPE_CHECKING, Any

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
    save_network,
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
N_CELL_EVENTS = 40_000
MIN_BACKGROUND_COUNT = 60.0
N_MORPHING_EVENTS = 2_000_000
"""Cells of the scores, and the most events of a process that tell how their contents deform."""

MAX_UNBINNED = 60_000.0
"""Expected events in the cells in which the likelihood is unbinned: those that lose most by being counted."""

CHUNK = 1 << 17


class Model:
    """Signal strength from learned densities: unbinned where they tell most, counted in cells elsewhere."""

    def fit(self, train: TrainingSet) -> None:
        """Train the networks on newly simulated events, then calibrate them on the training events."""
        self.confidence_level = train.confidence_level
        axes = shape_axes(train)
        monomials = Monomials.up_to(axes, DEGREES.get(len(axes), MANY_DEGREE)) if axes else None
        densities = Densities.fit(train, monomials)
        self.measurement = Measurement.fit(densities, train, monomials)

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


@dataclass(frozen=True, eq=False)
class Densities:
    """Learned densities of the processes at every value of the nuisances.

    Attributes:
        standardizer: From a table to the inputs of the networks.
        ratios: Network of the probability of each process in a balanced mixture, its density over the sum of
            all.
        shifts: Network of the coefficients of the monomials of the nuisances, over `reach`, in the logarithm
            of the density of each process; None if there is no shape nuisance.
        reach: Shape (n_terms,), the largest values of the monomials that were learnt.
    """

    standardizer: Standardizer
    ratios: torch.nn.Module
    shifts: torch.nn.Module | None
    reach: NDArray[np.float64]

    @classmethod
    def fit(cls, train: TrainingSet, monomials: Monomials | None) -> Densities:
        """Train the networks on newly simulated events."""
        numbers = _numbers(train, N_RATIO_EVENTS)
        table = further_events(train, numbers, purpose="ratios", prescale=PRESCALE).shift()
        standardizer = Standardizer.fit(table, train.features, azimuths="relative")
        x, process, weights = _arrays(table, standardizer)
        del table
        shares = _shares(train)
        with deterministic(seed=1):
            ratios = mlp(standardizer.n_out, RATIO_HIDDEN, len(shares))
            train_network(
                ratios,
                (x, process),
                cross_entropy,
                seed=1,
                weights=weights * (shares / np.bincount(process, weights))[process],
                n_epochs=N_RATIO_EPOCHS,
                batch_size=BATCH_SIZE,
                learning_rate=RATIO_RATE,
                title="density ratios",
            )
            _divide_by(ratios, shares)
        if monomials is None:
            return cls(standardizer, ratios, None, np.empty(0))
        points = list(_points(monomials.axes))
        terms = np.array([monomials.at(p) for p in points])
        reach = np.abs(terms).max(axis=0)
        sample = further_events(train, _numbers(train, N_SHIFT_EVENTS), purpose="shifts", prescale=PRESCALE)
        shifts = _train_shifts(sample, standardizer, ratios, points, terms / reach)
        return cls(standardizer, ratios, shifts, reach)

    def __call__(self, table: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities and coefficients of the shifts of events.

        Returns:
            Shapes (n_processes, n_events) and (n_processes, n_terms, n_events).
        """
        x = self.standardizer(table)
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
        """Write the networks and their preprocessing."""
        networks = {"ratios": (self.ratios, RATIO_HIDDEN), "shifts": (self.shifts, SHIFT_HIDDEN)}
        for name, (network, hidden) in networks.items():
            if network is not None:
                n_out = len(list(network.parameters())[-1])
                config = {"n_in": self.standardizer.n_out, "hidden": hidden, "n_out": n_out}
                save_network(network, folder / f"{name}.safetensors", config)
        words = {"standardizer": self.standardizer.to_json(), "reach": self.reach.tolist()}
        (folder / "densities.json").write_text(json.dumps(words), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Densities:
        """Read what `save` wrote."""
        words = json.loads((folder / "densities.json").read_text(encoding="utf-8"))
        shifts = folder / "shifts.safetensors"
        return cls(
            Standardizer.from_json(words["standardizer"]),
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

    parts = [_arrays(train.shift(p), standardizer) for p in ({}, *points)]
    x = torch.from_numpy(np.concatenate([p[0] for p in parts]))
    process = np.concatenate([p[1] for p in parts])
    weights = np.concatenate([p[2] for p in parts]) / np.bincount(parts[0][1], parts[0][2])[process]
    starts = np.cumsum([0, *(len(p[1]) for p in parts)])
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

    def __call__(
        self, table: pd.DataFrame
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """Scores, (n_events, n_parameters), and what `Densities` gives."""
        probabilities, shifts = self.densities(table)
        shares = self.yields[:, None] * probabilities.astype(np.float64)
        shares /= shares.sum(axis=0)
        slopes = np.einsum("pn,ptn->tn", shares, shifts[:, self.linear])
        return np.vstack([self.scales @ shares, slopes]).T, probabilities, shifts


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is expected in the cells of the scores, and within some of them event by event.

    Attributes:
        scores: Scores of events.
        cells: Their cells.
        model: Expected events in the cells, from simulation alone.
        regions: Shape (n_regions,), the cells in which the likelihood is unbinned.
        norms: Shape (n_regions, n_processes), mean probability of each process in each of them.
        shift_norms: Shape (n_regions, n_processes, n_terms), polynomials that normalise the shifts there.
    """

    scores: Scores
    cells: ScoreCells
    model: BinnedModel
    regions: NDArray[np.intp]
    norms: NDArray[np.float64]
    shift_norms: NDArray[np.float64]

    @classmethod
    def fit(cls, densities: Densities, train: TrainingSet, monomials: Monomials | None) -> Measurement:
        """Find the cells, fill them with simulated events, and calibrate the densities within them."""
        sample = template_events(train)
        table = sample.shift()
        process, weights = table["process"].cat.codes.to_numpy(np.intp), table["weights"].to_numpy()
        yields = np.array([weights[process == code].sum() for code in range(len(train.processes))])
        powers = np.empty((0, 0)) if monomials is None else monomials.powers
        scores = Scores(densities, yields, _scales(train), np.flatnonzero(powers.sum(axis=1) == 1))
        rows = np.arange(0, len(table), 1 + len(table) // N_CELL_EVENTS)
        some, expected = scores(table.iloc[rows])[0], weights[rows] * (weights.sum() / weights[rows].sum())
        cells = ScoreCells.fit(some, expected, n_cells=N_CELLS, constraints=1.0)
        points = [] if monomials is None else list(_points(monomials.axes))
        terms = np.array([monomials.at(p) for p in points]) if monomials is not None else np.empty((0, 0))
        tally = Tally.of(scores, cells, table, terms)
        del table  # shifted copies follow: keep one table in memory at a time

        is_background = ~_signals(train)
        background, variance = (v[is_background].sum(axis=0) for v in (tally.sums, tally.squares))
        counts = np.divide(background**2, variance, out=np.zeros_like(background), where=variance > 0)
        cells = cells.without_poor(counts, MIN_BACKGROUND_COUNT)
        templates = Templates(train.processes, cells.merge(tally.sums), cells.merge(tally.squares))
        morphing = None
        if monomials is not None:
            numbers = _numbers(train, N_MORPHING_EVENTS)
            further = further_events(train, numbers, purpose="morphing", prescale=PRESCALE)
            morphing = _morphing(scores, cells, further, monomials, points)
        regions = _regions(cells, some, expected)
        norms, shift_norms = tally.normalise(cells, regions, terms)
        return cls(
            scores, cells, BinnedModel(templates, train.nuisances, morphing), regions, norms, shift_norms
        )

    def likelihood(self, table: pd.DataFrame) -> SharpenedLikelihood:
        """Likelihood of the events of a table."""
        counts = np.zeros(self.cells.n_cells)
        parts: list[list[tuple[NDArray[Any], NDArray[Any]]]] = [[] for _ in self.regions]
        for i in range(0, max(len(table), 1), CHUNK):
            scores, probabilities, shifts = self.scores(table.iloc[i : i + CHUNK])
            cell = self.cells(scores)
            counts += np.bincount(cell, minlength=len(counts))
            order = np.argsort(cell, kind="stable")
            ends = np.searchsorted(cell[order], [self.regions, self.regions + 1])
            for part, first, last in zip(parts, *ends, strict=True):
                part.append((probabilities[:, order[first:last]], shifts[:, :, order[first:last]]))
        events = [
            EventTerms(
                np.concatenate([p for p, _ in part], axis=1) / norm[:, None],
                np.concatenate([s for _, s in part], axis=2) - shift_norm[:, :, None],
            )
            for part, norm, shift_norm in zip(parts, self.norms, self.shift_norms, strict=True)
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
        self.scores.densities.save(folder)
        save_model(self.model, folder / "cells.npz")
        own = {name: getattr(self, name) for name in ("regions", "norms", "shift_norms")}
        scores = {name: getattr(self.scores, name) for name in ("yields", "scales", "linear")}
        np.savez(folder / "measurement.npz", **own, **scores, **vars(self.cells))

    @classmethod
    def load(cls, folder: Path) -> Measurement:
        """Read what `save` wrote."""
        with np.load(folder / "measurement.npz", allow_pickle=False) as file:
            scores = Scores(Densities.load(folder), file["yields"], file["scales"], file["linear"])
            cells = ScoreCells(*(file[f.name] for f in fields(ScoreCells)))
            own = [file[name] for name in ("regions", "norms", "shift_norms")]
        return cls(scores, cells, load_model(folder / "cells.npz"), *own)


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


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over simulated events in each cell.

    Attributes:
        sums: Shape (n_processes, n_cells), expected events.
        squares: The same with squared weights.
        total: Shape (n_cells,), events of a mixture in which all processes weigh the same.
        share: Shape (n_processes, n_cells), those with the probability of each process as a weight.
        shifted: Shape (n_points, n_processes, n_cells), those with its learned shift, too.
    """

    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    total: NDArray[np.float64]
    share: NDArray[np.float64]
    shifted: NDArray[np.float64]

    @classmethod
    def of(cls, scores: Scores, cells: ScoreCells, table: pd.DataFrame, terms: NDArray[np.float64]) -> Tally:
        """Add up a table, the shifts at points of the nuisances with these monomials."""
        n_processes, n = len(scores.yields), cells.n_cells
        sums, squares = np.zeros((2, n_processes, n))
        total, share = np.zeros(n), np.zeros((n_processes, n))
        shifted = np.zeros((len(terms), n_processes, n))
        for i in range(0, len(table), CHUNK):
            chunk = table.iloc[i : i + CHUNK]
            values, probabilities, shifts = scores(chunk)
            cell, process = cells(values), chunk["process"].cat.codes.to_numpy(np.intp)
            weights = chunk["weights"].to_numpy()
            np.add.at(sums, (process, cell), weights)
            np.add.at(squares, (process, cell), weights**2)
            balanced = weights / scores.yields[process]
            total += np.bincount(cell, balanced, minlength=n)
            for p, probability in enumerate(probabilities):
                share[p] += np.bincount(cell, balanced * probability, minlength=n)
                for k, factors in enumerate(np.exp(terms @ shifts[p]) if len(terms) else ()):
                    shifted[k, p] += np.bincount(cell, balanced * probability * factors, minlength=n)
        return cls(sums, squares, total, share, shifted)

    def normalise(
        self, cells: ScoreCells, regions: NDArray[np.intp], terms: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Norms and shift norms of `Measurement`: with them, learned densities integrate to one in a cell."""
        total, share, shifted = (cells.merge(v)[..., regions] for v in (self.total, self.share, self.shifted))
        logs = np.log(shifted / share).reshape(len(terms), share.size)
        solved = np.asarray(np.linalg.lstsq(terms, logs)[0] if len(terms) else logs, dtype=np.float64)
        return np.asarray((share / total).T), solved.reshape(-1, *share.shape).transpose(2, 1, 0)


def _morphing(
    scores: Scores,
    cells: ScoreCells,
    sample: TrainingSet,
    monomials: Monomials,
    points: Sequence[Mapping[str, float]],
) -> PolynomialMorphing:
    """How the shape nuisances deform the counts in the cells."""
    none = np.empty((0, 0))
    base = Tally.of(scores, cells, sample.shift(), none)
    shifted = np.array([Tally.of(scores, cells, sample.shift(p), none).sums for p in points])
    ratios = np.divide(shifted, base.sums, out=np.ones_like(shifted), where=base.sums > 0)
    counts = np.divide(base.sums**2, base.squares, out=np.zeros_like(base.sums), where=base.squares > 0)
    degree = int(monomials.powers.sum(axis=1).max())
    return PolynomialMorphing.fit(monomials.axes, points, ratios, counts, degree=degree)


def _regions(
    cells: ScoreCells, scores: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Cells that lose most by being counted: with the largest variance of what moves mu, per event."""
    cell, to_mu = cells(scores), scores @ cells.directions[:, -1]
    n, first, second = (np.bincount(cell, expected * to_mu**k, minlength=cells.n_cells) for k in range(3))
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


def _scales(train: TrainingSet) -> NDArray[np.float64]:
    """Relative effect on each process of mu and of one sigma of every normalisation nuisance."""
    rows = [[float(p.is_signal) for p in train.processes]]
    for n in train.nuisances:
        if n.kind == "normalisation":
            slope = n.prior.slope(n.nominal)
            rows.append([slope * (p.name in n.processes) for p in train.processes])
    return np.array(rows)


def _arrays(
    table: pd.DataFrame, standardizer: Standardizer
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]:
    """Inputs of the networks, process codes and weights."""
    process = np.asarray(table["process"].cat.codes, dtype=np.intp)
    return standardizer(table), process, np.asarray(table["weights"], dtype=np.float64)


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
