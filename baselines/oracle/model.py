"""The measurement with known nuisance values: how wide an interval must be from statistics alone.

A reference line, not a method: it is told the true nuisances of every toy, never mu. Its card is README.md.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse import Interval
from fairuniverse.learning import (
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
    BinnedScore,
    ConditionalLikelihood,
    DensityModel,
    Likelihood,
    profile_interval,
)

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from fairuniverse.training import TrainingSet

N_EVENTS = 3_000_000
PRESCALE = 4
SIGNAL_SHARE = 0.2
MIN_SHARE = 0.1
"""Simulated events of the most frequent process, before selection, that the network learns from, and how many
of them the signal and the rarest process get; other events fill the templates."""

HIDDEN = (128, 128, 128)
N_EPOCHS = 8
BATCH_SIZE = 4096
LEARNING_RATE = 4e-3
"""The network and its training, no smaller than any baseline's: a reference line must not be beaten."""

CHUNK = 1 << 16
"""Events at a time, to bound the memory of what the network gets."""

N_SIGNAL_BINS = 80
"""With known backgrounds no bin is needed to measure them, and finer ones lose nothing."""

MAX_PULL = 10.0
"""No added noise at all is infinitely many standard deviations of its logarithm."""


class Model:
    """Interval of mu alone, from the exact densities where the world tells them, else from a binned score."""

    def fit(self, train: TrainingSet) -> None:
        """Take the densities from the world, or train a network and fill templates."""
        self.confidence_level = train.confidence_level
        densities = getattr(train.simulator, "densities", None)
        if densities is None:
            self.measurement: Exact | Binned = Binned.fit(train)
        else:
            names = [p.name for p in train.nuisances]
            self.measurement = Exact(DensityModel(densities, names), train.features)

    def predict(self, test: pd.DataFrame, nuisances: Mapping[str, float]) -> Interval:
        """Interval of mu from one pseudo-experiment, given its true nuisance values."""
        likelihood = ConditionalLikelihood(*self.measurement(test, nuisances))
        return profile_interval(likelihood, confidence_level=self.confidence_level).interval

    def save(self, folder: str | Path) -> None:
        """Write the fitted model: a network and numbers in their own formats, or densities as a pickle."""
        words = {"confidence_level": self.confidence_level, "kind": type(self.measurement).__name__}
        (Path(folder) / "oracle.json").write_text(json.dumps(words), encoding="utf-8")
        self.measurement.save(Path(folder))

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        words = json.loads((Path(folder) / "oracle.json").read_text(encoding="utf-8"))
        self.confidence_level = words["confidence_level"]
        kinds: dict[str, type[Exact | Binned]] = {"Exact": Exact, "Binned": Binned}
        self.measurement = kinds[words["kind"]].load(Path(folder))


class Exact:
    """The unbinned likelihood of a world with densities.

    Args:
        model: Its densities, the benchmark's nuisances floating.
        features: Names of the columns, in the order of the densities.
    """

    def __init__(self, model: DensityModel, features: Sequence[str]) -> None:
        self.model = model
        self.features = list(features)

    def __call__(
        self, test: pd.DataFrame, nuisances: Mapping[str, float]
    ) -> tuple[Likelihood, dict[str, float]]:
        """Likelihood of a pseudo-experiment, and its known parameters."""
        events = test[self.features].to_numpy(dtype=float).T
        return self.model.likelihood(events), {p.name: nuisances[p.name] for p in self.model.nuisances}

    def save(self, folder: Path) -> None:
        """Write it."""
        with (folder / "densities.pickle").open("wb") as file:
            pickle.dump((self.model, self.features), file)

    @classmethod
    def load(cls, folder: Path) -> Exact:
        """Read what `save` wrote."""
        with (folder / "densities.pickle").open("rb") as file:
            return cls(*pickle.load(file))


@dataclass(frozen=True, eq=False)
class Binned:
    """A network's score in many bins, their templates morphed to the true nuisances.

    Attributes:
        score: Score of events.
        binned: Its bins and templates.
    """

    score: Score
    binned: BinnedScore

    @classmethod
    def fit(cls, train: TrainingSet) -> Binned:
        """Train on events of its own, so that the templates hold none that the network has seen."""
        score = Score.fit(train)
        filled = template_events(train)
        return cls(score, BinnedScore.fit(filled, score, n_signal_bins=N_SIGNAL_BINS, n_background_bins=1))

    def __call__(
        self, test: pd.DataFrame, nuisances: Mapping[str, float]
    ) -> tuple[Likelihood, dict[str, float]]:
        """Likelihood of a pseudo-experiment, and its known parameters."""
        pulls = {p.name: p.prior.to_alpha(nuisances[p.name]) for p in self.binned.model.nuisances}
        known = {name: min(max(pull, -MAX_PULL), MAX_PULL) for name, pull in pulls.items()}
        return self.binned.likelihood(self.score(test)), known

    def save(self, folder: Path) -> None:
        """Write it."""
        self.score.save(folder)
        self.binned.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Binned:
        """Read what `save` wrote."""
        return cls(Score.load(folder), BinnedScore.load(folder))


@dataclass(frozen=True, eq=False)
class Score:
    """Logarithm of the expected signal over the expected background at an event.

    Attributes:
        standardizer: From a table to the inputs of the network.
        network: Classifier of the processes.
        log_factors: Shape (n_processes,), from its logits to the logarithms of expected densities.
        is_signal: Shape (n_processes,).
    """

    standardizer: Standardizer
    network: torch.nn.Module
    log_factors: NDArray[np.float32]
    is_signal: NDArray[np.bool_]

    @classmethod
    def fit(cls, train: TrainingSet) -> Score:
        """Learn from newly simulated events."""
        yields = np.array([p.expected_yield for p in train.processes])
        is_signal = np.array([p.is_signal for p in train.processes])
        relative = yields / yields.max()
        numbers = np.where(is_signal, SIGNAL_SHARE, np.maximum(relative, MIN_SHARE)) * N_EVENTS
        named = {p.name: round(n) for p, n in zip(train.processes, numbers.tolist(), strict=True)}
        table = further_events(train, named, purpose="oracle", prescale=PRESCALE).shift()
        process = table["process"].cat.codes.to_numpy(np.intp)
        weights = table["weights"].to_numpy()
        expected = np.bincount(process, weights, minlength=len(yields))
        # In between equal shares, which would be spent on rare backgrounds, and the yields.
        shares = np.where(is_signal, 1.0, relative**0.25)
        standardizer = Standardizer.fit(table, train.features, azimuths="relative")
        with deterministic(seed=1):
            network = mlp(standardizer.n_out, HIDDEN, len(yields))
            train_network(
                network,
                (standardizer(table), process),
                cross_entropy,
                seed=1,
                weights=weights * (shares / expected)[process],
                n_epochs=N_EPOCHS,
                batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                title="classifier",
            )
        return cls(standardizer, network, np.log(expected / shares).astype(np.float32), is_signal)

    def __call__(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Score of each event, shape (n_events,)."""
        starts = range(0, max(len(table), 1), CHUNK)
        return np.concatenate([self._of_some(table.iloc[i : i + CHUNK]) for i in starts])

    def _of_some(self, table: pd.DataFrame) -> NDArray[np.float32]:
        with deterministic(seed=0):
            logs = outputs(self.network, self.standardizer(table)) + self.log_factors
        signal, background = logs[:, self.is_signal], logs[:, ~self.is_signal]
        return np.asarray(np.logaddexp.reduce(signal, axis=1) - np.logaddexp.reduce(background, axis=1))

    def save(self, folder: Path) -> None:
        """Write it."""
        config = {"n_in": self.standardizer.n_out, "hidden": HIDDEN, "n_out": len(self.is_signal)}
        save_network(self.network, folder / "processes.safetensors", config)
        (folder / "standardizer.json").write_text(json.dumps(self.standardizer.to_json()), encoding="utf-8")
        np.savez(folder / "score.npz", log_factors=self.log_factors, is_signal=self.is_signal)

    @classmethod
    def load(cls, folder: Path) -> Score:
        """Read what `save` wrote."""
        words = json.loads((folder / "standardizer.json").read_text(encoding="utf-8"))
        network = load_network(folder / "processes.safetensors")
        with np.load(folder / "score.npz", allow_pickle=False) as file:
            return cls(Standardizer.from_json(words), network, file["log_factors"], file["is_signal"])
