"""A network that regresses mu from the histogram of a whole pseudo-experiment, its interval calibrated.

No likelihood is maximised: the nuisances are averaged over, as they occur. Its card is README.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse import Interval
from fairuniverse.errors import FitError
from fairuniverse.learning import (
    NetworkScore,
    augmented_score,
    deterministic,
    load_network,
    mlp,
    outputs,
    save_network,
    template_events,
    train_network,
)
from fairuniverse.likelihood import BinnedModel, BinnedScore, calibrate_intervals
from fairuniverse.nuisance import complete
from fairuniverse.seeding import Streams, generator

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from fairuniverse.training import TrainingSet

N_EVENTS, N_COPIES, MAX_EVENTS = 400_000, 20, 15_000
CLASSIFIER, CLASSIFIER_EPOCHS = (64, 64), 8
"""The classifier whose scores fill the histogram: trained on shifted copies of simulated events."""

N_SIGNAL_BINS, N_BACKGROUND_BINS = 15, 15

N_TOYS = 60_000
REGRESSION, REGRESSION_EPOCHS = (128, 128), 30
"""Histograms that the regression learns from, drawn from the morphed templates; its network."""

N_CALIBRATED = 150_000_000
MIN_CALIBRATION, MAX_CALIBRATION = 100, 1000
"""Events in all the pseudo-experiments that calibrate the interval; their least and largest number."""

MIN_LOG_SIGMA = -6.0


class Model:
    """Signal strength and its error from a network, the error scaled until it covers."""

    def fit(self, train: TrainingSet) -> None:
        """Train classifier and regression, then calibrate on newly simulated pseudo-experiments."""
        self.score = augmented_score(
            train,
            purpose="calibrated_regression",
            n_events=N_EVENTS,
            n_copies=N_COPIES,
            max_events=MAX_EVENTS,
            hidden=CLASSIFIER,
            n_epochs=CLASSIFIER_EPOCHS,
        )
        self.binned = BinnedScore.fit(
            template_events(train),
            self.score,
            n_signal_bins=N_SIGNAL_BINS,
            n_background_bins=N_BACKGROUND_BINS,
        )
        self.regression = Regression.fit(self.binned.model, train)
        self.scale = self._calibrated(train)

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its calibrated interval, from one pseudo-experiment."""
        mu_hat, sigma = self.regression(self.binned.counts(self.score(test)))
        return Interval(mu_hat, mu_hat - self.scale * sigma, mu_hat + self.scale * sigma)

    def save(self, folder: str | Path) -> None:
        """Write the networks as safetensors, numbers in NumPy's format."""
        self.score.save(folder)
        self.binned.save(folder)
        self.regression.save(Path(folder))
        (Path(folder) / "scale.json").write_text(json.dumps(self.scale), encoding="utf-8")

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        self.score = NetworkScore.load(folder)
        self.binned = BinnedScore.load(folder)
        self.regression = Regression.load(Path(folder))
        self.scale = json.loads((Path(folder) / "scale.json").read_text(encoding="utf-8"))

    def _calibrated(self, train: TrainingSet) -> float:
        """Factor on the error with which pseudo-experiments that nothing was trained on are covered.

        Conformal: the next one is covered with at least the confidence level, on average over mu and priors.
        """
        answers = []
        for mu, test in pseudo_experiments(train):
            answers.append((mu, *self.regression(self.binned.counts(self.score(test)))))
        mu_true, mu_hat, sigma = np.array(answers).T
        level = train.confidence_level
        calibration = calibrate_intervals(
            mu_hat, mu_hat - sigma, mu_hat + sigma, mu_true, level, method="conformal"
        )
        return calibration.lower_scale


def pseudo_experiments(train: TrainingSet) -> Iterator[tuple[float, pd.DataFrame]]:
    """Newly simulated pseudo-experiments, mu from its range and nuisances from their priors: (mu, events)."""
    expected = sum(p.expected_yield for p in train.processes)
    n = int(np.clip(N_CALIBRATED / expected, MIN_CALIBRATION, MAX_CALIBRATION))
    seed = int(generator(train.seed, "calibration").integers(2**63))
    sampler = train.simulator.fresh_sampler()
    for i in range(n):
        streams = Streams(seed, i)
        mu = float(streams.rng("mu").uniform(*train.mu_range))
        drawn = {p.name: p.draw(rng=streams.rng(f"nuisance:{p.name}")) for p in train.nuisances}
        values = complete(train.simulator.nuisances, drawn)
        yield mu, sampler.sample(mu, values, streams=streams).to_pandas()


@dataclass(frozen=True, eq=False)
class Regression:
    """Mean and standard deviation of mu given the counts of a histogram.

    Attributes:
        network: Two outputs, mean and log sigma of mu in units of `mu_unit` around `mu_centre`.
        centre: Shape (n_bins,), mean logarithm of the counts.
        whitening: Shape (n_bins, n_inputs), makes the logarithms uncorrelated and of variance one: without it
            the statistical scatter that mu is seen against drowns in what the nuisances do.
        mu_centre: Middle of the range of mu.
        mu_unit: Standard deviation of mu over its range.
    """

    network: torch.nn.Module
    centre: NDArray[np.float64]
    whitening: NDArray[np.float64]
    mu_centre: float
    mu_unit: float

    @classmethod
    def fit(cls, model: BinnedModel, train: TrainingSet) -> Regression:
        """Train on histograms drawn from the templates, mu from its range and nuisances from their priors."""
        seed = int(generator(train.seed, "regression").integers(2**31))
        mu, counts = _toys(model, train, N_TOYS)
        logs = _logarithm(counts)
        centre = logs.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(logs, rowvar=False))
        low, high = train.mu_range
        with deterministic(seed):
            regression = cls(
                mlp(len(centre), REGRESSION, 2),
                centre,
                axes / np.sqrt(np.maximum(variances, 1e-12)),
                (low + high) / 2,
                (high - low) / np.sqrt(12),
            )
            target = ((mu - regression.mu_centre) / regression.mu_unit).astype(np.float32)
            train_network(
                regression.network,
                (regression.inputs(counts), target),
                gaussian_loss,
                seed=seed,
                n_epochs=REGRESSION_EPOCHS,
                learning_rate=1e-3,
                title="regression",
            )
        return regression

    def __call__(self, counts: NDArray[np.integer]) -> tuple[float, float]:
        """Mean and standard deviation of mu.

        Raises:
            FitError: The network gives no number.
        """
        mean, log_sigma = outputs(self.network, self.inputs(counts[None]))[0].astype(float)
        sigma = float(np.exp(max(log_sigma, MIN_LOG_SIGMA)))
        if not np.isfinite([mean, sigma]).all():
            raise FitError("the regression gives no number: these counts are far from all simulated ones")
        return self.mu_centre + self.mu_unit * float(mean), self.mu_unit * sigma

    def inputs(self, counts: NDArray[np.integer]) -> NDArray[np.float32]:
        """Inputs of the network from histograms, shape (n, n_bins)."""
        return np.asarray((_logarithm(counts) - self.centre) @ self.whitening, dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the network and the numbers around it."""
        config = {"n_in": self.whitening.shape[1], "hidden": REGRESSION, "n_out": 2}
        save_network(self.network, folder / "regression.safetensors", config)
        mu = np.array([self.mu_centre, self.mu_unit])
        np.savez(folder / "regression.npz", mu=mu, centre=self.centre, whitening=self.whitening)

    @classmethod
    def load(cls, folder: Path) -> Regression:
        """Read what `save` wrote."""
        with np.load(folder / "regression.npz", allow_pickle=False) as file:
            mu_centre, mu_unit = file["mu"].tolist()
            network = load_network(folder / "regression.safetensors")
            return cls(network, file["centre"], file["whitening"], mu_centre, mu_unit)


def gaussian_loss(network: torch.nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Negative log density of the target for the mean and log sigma that the network gives, shape (n,)."""
    import torch

    mean, log_sigma = network(x).unbind(dim=1)
    log_sigma = log_sigma.clamp(min=MIN_LOG_SIGMA)
    loss: Tensor = ((target - mean) * torch.exp(-log_sigma)) ** 2 / 2 + log_sigma
    return loss


def _toys(model: BinnedModel, train: TrainingSet, n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """True mu, shape (n,), and counts, (n, n_bins): templates fluctuate within their uncertainty, too."""
    rng = generator(train.seed, "regression toys")
    mu = rng.uniform(*train.mu_range, n)
    pulls = [[p.prior.to_alpha(p.draw(rng=rng)) for p in model.nuisances] for _ in range(n)]
    points = np.column_stack([mu, np.array(pulls).reshape(n, -1)])
    expected = np.array([model.expected(x) for x in points])
    expected *= np.maximum(1 + model.relative_error * rng.standard_normal(expected.shape), 0)
    return mu, rng.poisson(expected)


def _logarithm(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Smooth at zero, and of constant relative weight for large counts."""
    logarithm: NDArray[np.float64] = np.log(counts + 1.0)
    return logarithm
