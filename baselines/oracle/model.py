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

from fairuniverse import Interval
from fairuniverse.learning import (
    NetworkScore,
    Standardizer,
    balanced,
    binary_cross_entropy,
    deterministic,
    further_events,
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

N_SIGNAL_BINS = 40
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
        score: Classifier of signal against all backgrounds.
        binned: Its bins and templates.
    """

    score: NetworkScore
    binned: BinnedScore

    @classmethod
    def fit(cls, train: TrainingSet) -> Binned:
        """Train on events of its own, so that the templates hold none that the network has seen."""
        score = _learn(train)
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
        return cls(NetworkScore.load(folder), BinnedScore.load(folder))


def _learn(train: TrainingSet) -> NetworkScore:
    """Classifier of signal against all backgrounds, the two weighing the same."""
    largest = max(p.expected_yield for p in train.processes)
    shares = {
        p.name: SIGNAL_SHARE if p.is_signal else max(p.expected_yield / largest, MIN_SHARE)
        for p in train.processes
    }
    numbers = {name: round(N_EVENTS * share) for name, share in shares.items()}
    table = further_events(train, numbers, purpose="oracle", prescale=PRESCALE).shift()
    label = table["label"].to_numpy()
    standardizer = Standardizer.fit(table, train.features, azimuths="relative")
    with deterministic(seed=1):
        score = NetworkScore.untrained(standardizer, HIDDEN)
        train_network(
            score.network,
            (standardizer(table), label.astype(np.float32)),
            binary_cross_entropy,
            seed=1,
            weights=balanced(table["weights"].to_numpy(), label),
            n_epochs=N_EPOCHS,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            title="classifier",
        )
    return score
