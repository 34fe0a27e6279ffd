"""The measurement with known nuisance values: how wide an interval must be from statistics alone.

A reference line, not a method: it is told the true nuisances of every toy, never mu. Its card is README.md.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse import Interval
from fairuniverse.learning import further_events
from fairuniverse.likelihood import (
    BinnedScore,
    ConditionalLikelihood,
    DensityModel,
    Likelihood,
    profile_interval,
)

if TYPE_CHECKING:
    import pandas as pd
    import xgboost as xgb

    from fairuniverse.training import TrainingSet

N_EVENTS = 1_000_000
"""Simulated events, before selection, that the trees learn from; others fill the templates."""

N_TREES = 200
TREES = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 6,
    "max_bin": 128,
    "eta": 0.1,
    "min_child_weight": 20,
    "base_score": 0.5,
    "nthread": 1,
    "seed": 1,
}

N_SIGNAL_BINS = 40
"""With known backgrounds no bin is needed to measure them, and finer ones lose nothing."""

MAX_PULL = 10.0
"""No added noise at all is infinitely many standard deviations of its logarithm."""


class Model:
    """Interval of mu alone, from the exact densities where the world tells them, else from a binned score."""

    def fit(self, train: TrainingSet) -> None:
        """Take the densities from the world, or train trees and fill templates."""
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
        """Write the fitted model: trees and numbers in their own formats, a world's densities as a pickle."""
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


class Binned:
    """Boosted trees in many bins, their templates morphed to the true nuisances.

    Args:
        trees: Classifier of signal against all backgrounds.
        features: What it sees.
        binned: Its bins and templates.
    """

    def __init__(self, trees: xgb.Booster, features: Sequence[str], binned: BinnedScore) -> None:
        self.trees = trees
        self.features = list(features)
        self.binned = binned

    @classmethod
    def fit(cls, train: TrainingSet) -> Binned:
        """Train on events of its own, so that the templates hold none that the trees have seen."""
        # A detector looks the same from all sides: absolute azimuths only add noise.
        features = [f for f in train.features if not f.endswith("phi")]
        trees = _grow(further_events(train, N_EVENTS, purpose="oracle").shift(), features)
        binned = BinnedScore.fit(
            train, lambda t: _scores(trees, t, features), n_signal_bins=N_SIGNAL_BINS, n_background_bins=1
        )
        return cls(trees, features, binned)

    def __call__(
        self, test: pd.DataFrame, nuisances: Mapping[str, float]
    ) -> tuple[Likelihood, dict[str, float]]:
        """Likelihood of a pseudo-experiment, and its known parameters."""
        pulls = {p.name: p.prior.to_alpha(nuisances[p.name]) for p in self.binned.model.nuisances}
        known = {name: min(max(pull, -MAX_PULL), MAX_PULL) for name, pull in pulls.items()}
        return self.binned.likelihood(_scores(self.trees, test, self.features)), known

    def save(self, folder: Path) -> None:
        """Write it."""
        self.trees.save_model(folder / "trees.ubj")
        (folder / "features.json").write_text(json.dumps(self.features), encoding="utf-8")
        self.binned.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Binned:
        """Read what `save` wrote."""
        import xgboost as xgb

        features = json.loads((folder / "features.json").read_text(encoding="utf-8"))
        trees = xgb.Booster(params=TREES, model_file=folder / "trees.ubj")
        return cls(trees, features, BinnedScore.load(folder))


def _grow(table: pd.DataFrame, features: Sequence[str]) -> xgb.Booster:
    """Classifier of signal against all backgrounds, the two weighted alike."""
    import xgboost as xgb

    label, weights = table["label"].to_numpy(), table["weights"].to_numpy()
    weights = weights / np.bincount(label, weights)[label]
    data = xgb.DMatrix(_matrix(table, features), label, weight=weights / weights.mean())
    return xgb.train(TREES, data, N_TREES)


def _scores(trees: xgb.Booster, table: pd.DataFrame, features: Sequence[str]) -> NDArray[np.float32]:
    # The logarithm of the odds: probabilities near 1 run together in single precision.
    return np.asarray(trees.inplace_predict(_matrix(table, features), predict_type="margin"))


def _matrix(table: pd.DataFrame, features: Sequence[str]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.array([table[f].to_numpy(np.float32) for f in features]).T)
