"""Bins that a network chooses so that the expected error of mu, nuisances profiled, is smallest.

After de Castro and Dorigo, "INFERNO: Inference-Aware Neural Optimisation" (arXiv:1806.04743, Comput. Phys.
Commun. 244 (2019) 170). Its card is README.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import FitError
from fairuniverse.learning import (
    HistogramMethod,
    Standardizer,
    binary_cross_entropy,
    deterministic,
    load_network,
    mlp,
    outputs,
    save_network,
    template_events,
    train_network,
)
from fairuniverse.nuisance import NuisanceParameter
from fairuniverse.protocols import Process
from fairuniverse.seeding import Streams, generator

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from fairuniverse.events import Events
    from fairuniverse.training import TrainingSet

N_BINS = 40
"""Outputs of the network; about half of them die in training, and stay empty."""

HIDDEN = (64, 64)
N_EPOCHS, BATCH_SIZE, LEARNING_RATE = 20, 4096, 5e-3
"""Batches must be large: the Fisher information of few events is too large."""

TEMPERATURES = (3.0, 0.2)
"""Of the softmax, at the beginning and at the end: with the paper's 0.1 from the start most bins die early; a
small one at the end makes soft bins like the hard ones of the fit."""

N_CLASSIFIER_EPOCHS = 3
"""Of the classifier that tells which events matter."""

N_SIGNAL, BACKGROUND_FACTOR, MAX_SIMULATED = 200_000, 3.0, 3_000_000
"""Events to simulate: of the signal, and of a background process over its yield, but not less or more."""

MAX_KEPT = 500_000
"""Simulated events in all; with more of them those that do not resemble the signal are prescaled."""

N_LEARNT = 400_000
"""Events to learn from, the same number of each process; of more, rather those where signal is likely."""

MAX_INTEREST = 50.0
"""Largest ratio of signal to background, by the classifier, that decides about that choice."""

STEP, FREE_STEP = 0.5, 0.1
"""Half-width of the finite differences in each shape nuisance, in prior standard deviations, and where the
prior is uniform, whose standard deviation may be wide."""

MIN_BACKGROUND_COUNT = 100.0
"""Simulated background events of a bin; bins that do not know their background to 10 % are joined."""

_MIN_SHARE = 1e-7
"""Added to the expected share of a bin, which may be empty in a batch."""


class Model(HistogramMethod):
    """Signal strength from a fit to the counts in bins that a network learnt for this purpose."""

    def fit(self, train: TrainingSet) -> None:
        """Learn the bins from newly simulated events, fill their templates with the training events."""
        templates = template_events(train)
        self.measure_in(NetworkBins.fit(train, templates), templates)

    def load_binning(self, folder: Path) -> NetworkBins:
        """Read the bins."""
        return NetworkBins.load(folder)


@dataclass(frozen=True, eq=False)
class NetworkBins:
    """Bin of each event: the largest output of a network, poorly known bins joined.

    Attributes:
        standardizer: From a table to the inputs of the network.
        network: One logit per bin.
        joined: Shape (N_BINS,), final bin of each output.
    """

    standardizer: Standardizer
    network: torch.nn.Module
    joined: NDArray[np.intp]

    @property
    def n_bins(self) -> int:
        """Number of final bins."""
        return int(self.joined.max()) + 1

    @classmethod
    def fit(cls, train: TrainingSet, templates: TrainingSet) -> NetworkBins:
        """Train the network on events simulated for it, and join bins where the templates are poor."""
        nominal = templates.shift()
        standardizer = Standardizer.fit(nominal, train.features, azimuths="relative")
        events, seed = _new_events(train), int(generator(train.seed, "inferno").integers(2**31))
        with deterministic(seed):
            interest = _interest(Sample.simulate(train, events, [{}], standardizer), seed)
            learnt = _choose(events, interest, generator(train.seed, "inferno: rows"))
            points, steps = _neighbours([p for p in train.nuisances if p.kind == "shape"])
            sample = Sample.simulate(train, learnt, points, standardizer)
            n_batches = N_EPOCHS * len(sample.process) // BATCH_SIZE
            loss = ExpectedError(train.processes, train.nuisances, sample, steps, n_batches)
            network = mlp(standardizer.n_out, HIDDEN, N_BINS)
            train_network(
                network,
                (sample.features, sample.weights, sample.process),
                loss,
                seed=seed,
                n_epochs=N_EPOCHS,
                batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                title="inferno",
            )
        bins = cls(standardizer, network, np.arange(N_BINS))
        return cls(standardizer, network, _join_poor_bins(bins(nominal), nominal))

    def __call__(self, table: pd.DataFrame) -> NDArray[np.intp]:
        """Bin of each event, shape (n_events,).

        Raises:
            FitError: Outputs that are not finite.
        """
        logits = outputs(self.network, self.standardizer(table))
        if not np.isfinite(logits).all():
            raise FitError("the network answers numbers that are not finite: check the events")
        return np.asarray(self.joined[logits.argmax(axis=1)])

    def save(self, folder: Path) -> None:
        """Write the network and the numbers around it."""
        config = {"n_in": self.standardizer.n_out, "hidden": list(HIDDEN), "n_out": len(self.joined)}
        save_network(self.network, folder / "network.safetensors", config)
        words = {"standardizer": self.standardizer.to_json(), "joined": self.joined.tolist()}
        (folder / "bins.json").write_text(json.dumps(words), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> NetworkBins:
        """Read what `save` wrote."""
        words = json.loads((folder / "bins.json").read_text(encoding="utf-8"))
        network = load_network(folder / "network.safetensors")
        return cls(Standardizer.from_json(words["standardizer"]), network, np.array(words["joined"]))


@dataclass(frozen=True, eq=False)
class Sample:
    """Simulated events under several values of the nuisances, row by row the same events.

    Attributes:
        features: Shape (n_events, n_points, n_inputs), standardised.
        weights: Shape (n_events, n_points), expected events that a row stands for; 0 where not selected.
        process: Shape (n_events,), index of the process.
        label: Shape (n_events,), 1 for signal.
    """

    features: NDArray[np.float32]
    weights: NDArray[np.float32]
    process: NDArray[np.int64]
    label: NDArray[np.int64]

    @classmethod
    def simulate(
        cls,
        train: TrainingSet,
        events: Events,
        points: Sequence[Mapping[str, float]],
        standardizer: Standardizer,
    ) -> Sample:
        """The same events at each point, with the same noise: differences are the nuisances' alone."""
        features = np.zeros((len(events), len(points), standardizer.n_out), dtype=np.float32)
        weights = np.zeros((len(events), len(points)), dtype=np.float32)
        streams = Streams(int(generator(train.seed, "inferno: noise").integers(2**63)))
        for i, point in enumerate(points):
            shifted, rows = train.simulator.shift_with_rows(events, point, streams=streams)
            assert shifted.weights is not None
            features[rows, i] = standardizer(shifted.to_pandas())
            weights[rows, i] = shifted.weights
        assert events.process is not None
        is_signal = np.array([p.is_signal for p in train.processes], dtype=np.int64)
        return cls(features, weights, events.process.astype(np.int64), is_signal[events.process])


def _new_events(train: TrainingSet) -> Events:
    """Newly simulated events of all processes, which no template holds."""
    numbers = {}
    for p in train.processes:
        wanted = N_SIGNAL if p.is_signal else round(BACKGROUND_FACTOR * p.expected_yield)
        numbers[p.name] = min(max(wanted, N_SIGNAL), MAX_SIMULATED)
    seed = int(generator(train.seed, "inferno: events").integers(2**63))
    prescale = -(-sum(numbers.values()) // MAX_KEPT)
    return train.simulator.generate(numbers, seed=seed, purpose="inferno", prescale=prescale)


def _interest(sample: Sample, seed: int) -> NDArray[np.float64]:
    """Ratio of signal to background of each event, by a classifier, shape (n_events,)."""
    x, weights = sample.features[:, 0], sample.weights[:, 0]
    classifier = mlp(x.shape[1], HIDDEN)
    train_network(
        classifier,
        (x, sample.label),
        binary_cross_entropy,
        seed=seed,
        weights=weights / np.bincount(sample.label, weights)[sample.label],
        n_epochs=N_CLASSIFIER_EPOCHS,
        batch_size=BATCH_SIZE // 2,
        title="classifier",
    )
    logits = outputs(classifier, x)[:, 0].astype(np.float64)
    return np.asarray(np.exp(np.minimum(logits, np.log(MAX_INTEREST))))


def _choose(events: Events, interest: NDArray[np.float64], rng: np.random.Generator) -> Events:
    """About `N_LEARNT` events, with more of the interesting ones, which weigh less."""
    assert events.process is not None
    n_each = N_LEARNT / len(events.processes)
    chance = np.ones(len(events))
    for code in range(len(events.processes)):
        rows = events.process == code
        if rows.sum() > n_each:
            chance[rows] = 1 + interest[rows]
            chance[rows] *= n_each / chance[rows].sum()
    chosen = np.flatnonzero(rng.random(len(events)) < chance)
    learnt = events.select(chosen)
    assert learnt.weights is not None
    return replace(learnt, weights=learnt.weights / np.minimum(chance[chosen], 1.0))


def _neighbours(shapes: Sequence[NuisanceParameter]) -> tuple[list[dict[str, float]], tuple[float, ...]]:
    """Where to shift events to, and how far apart in pulls the two shifts of each nuisance are.

    First the centres of all priors, then each shape nuisance above and below its own.
    """
    centre = {p.name: _value(p, 0.0) for p in shapes}
    points, steps = [centre], []
    for p in shapes:
        step = STEP if p.prior.is_constraint else FREE_STEP
        above, below = _value(p, step), _value(p, -step)
        points += [centre | {p.name: above}, centre | {p.name: below}]
        steps.append(p.prior.to_alpha(above) - p.prior.to_alpha(below))
    return points, tuple(steps)


def _value(parameter: NuisanceParameter, alpha: float) -> float:
    """Value at a pull, within the bounds."""
    return float(np.clip(parameter.prior.from_alpha(alpha), *parameter.bounds))


class ExpectedError:
    """Logarithm of the expected error of mu at mu = 1: the loss.

    With the expected events n_b of bin b, a sum of the soft shares of events, and their derivatives J in mu
    and in the pulls of the nuisances, the counts have the Fisher information I = J diag(1/n) J^T (Poisson
    likelihood of Asimov data, sections 3 and 4 of the paper); every constrained nuisance adds 1 on the
    diagonal. The expected variance of mu is its element of the inverse.

    Derivatives in mu and the normalisations are known; in the shape nuisances they are differences between
    the shifted copies of the same events.

    Args:
        processes: The processes.
        nuisances: The nuisance parameters that float.
        sample: The events to learn from, copied to the points of `_neighbours`; it tells the expected yields.
        steps: Distance in pulls between the copies above and below, for each shape nuisance.
        n_batches: Batches of the training, over which the softmax cools down.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        nuisances: Sequence[NuisanceParameter],
        sample: Sample,
        steps: Sequence[float],
        n_batches: int,
    ) -> None:
        import torch

        yields = np.bincount(sample.process, sample.weights[:, 0], minlength=len(processes))
        self._yields = torch.from_numpy(yields)
        self._is_signal = torch.tensor([float(p.is_signal) for p in processes], dtype=torch.float64)
        self._nuisances, self._steps = tuple(nuisances), tuple(steps)
        self._n_batches, self._i_batch = n_batches, 0
        self._scales = {
            p.name: torch.tensor([p.prior.slope(p.nominal) * (q.name in p.processes) for q in processes])
            for p in nuisances
            if p.kind == "normalisation"
        }
        constrained = [0.0, *(float(p.prior.is_constraint) for p in nuisances)]
        self._constraints = torch.diag(torch.tensor(constrained, dtype=torch.float64))

    def __call__(
        self, network: torch.nn.Module, features: Tensor, weights: Tensor, process: Tensor
    ) -> Tensor:
        """Loss of a batch of rows of a `Sample`."""
        import torch

        shares = torch.softmax(network(features) / self._temperature(), dim=-1)
        variance = torch.linalg.inv(self.information(self.expected(shares, weights, process)))[0, 0]
        return torch.log(variance) / 2

    def _temperature(self) -> float:
        """Falls geometrically with the steps of the training; validation takes the last one."""
        import torch

        self._i_batch += torch.is_grad_enabled()
        first, last = TEMPERATURES
        share = min(self._i_batch / self._n_batches, 1.0)
        return float(first * (last / first) ** share)

    def expected(self, shares: Tensor, weights: Tensor, process: Tensor) -> Tensor:
        """Expected events of each copy, process and bin, shape (n_copies, n_processes, n_bins).

        A batch tells which share of a process is in a bin; the yields are those of the whole sample.
        """
        import torch

        members = torch.nn.functional.one_hot(process, len(self._yields)).to(shares.dtype)
        sums = torch.einsum("np,nc,ncb->cpb", members, weights.to(shares.dtype), shares).double()
        total = (members * weights[:, :1]).sum(dim=0).double()
        # A process that the batch happens not to hold counts for nothing in it.
        return sums * (self._yields / torch.where(total > 0, total, torch.inf))[:, None]

    def information(self, expected: Tensor) -> Tensor:
        """Fisher information on (mu, pulls) of the counts, constraints included."""
        import torch

        reference, above, below = expected[0], expected[1::2], expected[2::2]
        rows, shapes = [self._is_signal @ reference], zip(above, below, self._steps, strict=True)
        for p in self._nuisances:
            if p.kind == "shape":
                up, down, step = next(shapes)
                rows.append((up - down).sum(dim=0) / step)
            else:
                rows.append(self._scales[p.name].double() @ reference)
        jacobian = torch.stack(rows)
        counts = reference.sum(dim=0)
        return (jacobian / (counts + _MIN_SHARE * counts.sum())) @ jacobian.T + self._constraints


def _join_poor_bins(bins: NDArray[np.intp], table: pd.DataFrame) -> NDArray[np.intp]:
    """Final number of each output: in the order of signal over background, poor ones with the next lower."""
    label, weights = table["label"].to_numpy(), table["weights"].to_numpy()
    signal = np.bincount(bins, weights * label, minlength=N_BINS)
    background = np.bincount(bins, weights * (1 - label), minlength=N_BINS)
    squares = np.bincount(bins, (weights * (1 - label)) ** 2, minlength=N_BINS)
    purity = np.divide(signal, background, out=np.full(N_BINS, np.inf), where=background > 0)
    purity[signal + background == 0] = -np.inf
    joined = np.empty(N_BINS, dtype=np.intp)
    number, total, square = 0, 0.0, 0.0
    for i in np.argsort(-purity, kind="stable"):
        joined[i] = number
        total, square = total + background[i], square + squares[i]
        if total**2 >= MIN_BACKGROUND_COUNT * square > 0:
            number, total, square = number + 1, 0.0, 0.0
    # What is left at the end of the list is too poor for a bin of its own.
    return np.minimum(joined, max(number - 1, 0))
