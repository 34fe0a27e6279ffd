"""Boosted-tree score, templates morphed in every nuisance parameter, profile-likelihood interval.

The reference method of a collider analysis; its card is README.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse import Interval
from fairuniverse.likelihood import binned_model, fill_templates, load_model, profile_interval, save_model

if TYPE_CHECKING:
    import pandas as pd
    import xgboost as xgb

    from fairuniverse.training import TrainingSet

MASS_EDGES = (60.0, 70.0, 80.0, 95.0, 120.0)
MT_EDGES = (30.0, 70.0)
N_CATEGORIES = 3
N_CONTROL = N_CATEGORIES * (len(MT_EDGES) + 1) * (len(MASS_EDGES) + 1)
"""Control regions: visible mass and transverse mass in GeV, and 0, 1 or more jets."""

CORE_MASS = (60.0, 130.0)
CORE_MAX_MT = 60.0
CORE_MIN_PT_H = 60.0
"""Core region, where the score is worth its time: a fifth of the events, nearly all of the information."""

N_SCORE_BINS = 15
N_FINE = N_CONTROL + N_CATEGORIES * N_SCORE_BINS
MIN_BACKGROUND_COUNT = 60.0
"""Fine bins in each half of the events; bins that know their background to less than 13 % are merged."""

N_TREES = 100
MAX_TRAINING_EVENTS = 400_000
TREES = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 5,
    "max_bin": 128,
    "eta": 0.15,
    "min_child_weight": 20,
    "base_score": 0.5,
    "nthread": 1,
    "seed": 1,
}


class Model:
    """Signal strength from a profile-likelihood fit to boosted-tree scores and control regions."""

    def fit(self, train: TrainingSet) -> None:
        """Train the trees, fill the templates and learn how the shape nuisances deform them."""
        self.confidence_level = train.confidence_level
        nominal = train.shift()
        self.observable, bins = Observable.fit(nominal, train.features, train.n_threads)
        n_bins, process = self.observable.n_bins, nominal["process"].cat.codes
        templates = fill_templates(train.processes, bins, process, nominal["weights"], n_bins)
        del nominal  # shifted copies follow
        self.binned = binned_model(train, self.observable, n_bins, templates)

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment."""
        counts = np.bincount(self.observable(test), minlength=self.observable.n_bins)
        likelihood = self.binned.likelihood(counts)
        return profile_interval(likelihood, confidence_level=self.confidence_level).interval

    def save(self, folder: str | Path) -> None:
        """Write the fitted model: trees in XGBoost's own format, numbers in NumPy's."""
        self.observable.save(Path(folder))
        level = json.dumps({"confidence_level": self.confidence_level})
        (Path(folder) / "interval.json").write_text(level, encoding="utf-8")
        save_model(self.binned, Path(folder) / "binned.npz")

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        self.observable = Observable.load(Path(folder))
        level = json.loads((Path(folder) / "interval.json").read_text(encoding="utf-8"))
        self.confidence_level = level["confidence_level"]
        self.binned = load_model(Path(folder) / "binned.npz")


class Observable:
    """Bin of each event: control region, or signal category and score.

    Two classifiers, each trained on one half of the events, score the other half, in simulation and data
    alike. No event is scored by trees that were grown on it, and none is lost for the templates.

    Attributes:
        features: Names of the features that the trees see.
        trees: One classifier for each half.
        edges: Shape (2, N_CATEGORIES, N_SCORE_BINS - 1), edges between score bins.
        merged: Shape (2 * N_FINE,), final bin of each fine one.
        n_threads: Threads that score the two halves.
    """

    def __init__(
        self,
        features: Sequence[str],
        trees: Sequence[xgb.Booster],
        edges: NDArray[np.float64],
        merged: NDArray[np.intp] | None = None,
        n_threads: int = 1,
    ) -> None:
        self.features = list(features)
        self.trees = list(trees)
        self.edges = edges
        self.merged = np.arange(2 * N_FINE) if merged is None else merged
        self.n_threads = n_threads

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(self.merged.max()) + 1

    @classmethod
    def fit(
        cls, table: pd.DataFrame, features: Sequence[str], n_threads: int = 1
    ) -> tuple[Observable, NDArray[np.intp]]:
        """Train a classifier on each half of a labelled table, choose score edges there, merge poor bins.

        Returns:
            The observable, and the bin of each event of the table, shape (n_events,).
        """
        # A detector looks the same from all sides: absolute azimuths only add noise.
        seen = [f for f in features if not f.endswith("phi")]
        label, halves, core, category = table["label"], _halves(table), _is_core(table), _category(table)

        def learn(half: int) -> tuple[xgb.Booster, list[NDArray[np.float64]]]:
            rows = np.flatnonzero(core & (halves != half))
            booster = _grow(table, seen, rows[:: 1 + len(rows) // MAX_TRAINING_EVENTS])
            signal = rows[label.to_numpy()[rows] == 1]
            scores = _scores(booster, table, seen, signal)
            return booster, [_quantiles(scores[category[signal] == k]) for k in range(N_CATEGORIES)]

        with ThreadPoolExecutor(min(n_threads, 2)) as threads:  # each of XGBoost's has one: the same bits
            trees, quantiles = zip(*threads.map(learn, (0, 1)), strict=True)
        edges = np.array(quantiles)
        fine = cls(seen, trees, edges, n_threads=n_threads)(table)
        merged = _merge_poor_bins(fine, table)
        return cls(seen, trees, edges, merged), merged[fine]

    def __call__(self, table: pd.DataFrame) -> NDArray[np.intp]:
        """Bin of each event, shape (n_events,)."""
        category = _category(table)
        halves, core = _halves(table), _is_core(table)
        fine = np.asarray(_control_region(table, category), dtype=np.intp)

        def fill(half: int) -> None:
            rows = np.flatnonzero(core & (halves == half))
            scores, categories = _scores(self.trees[half], table, self.features, rows), category[rows]
            for k, edges in enumerate(self.edges[half]):
                chosen = categories == k
                fine[rows[chosen]] = N_CONTROL + N_SCORE_BINS * k + np.digitize(scores[chosen], edges)

        with ThreadPoolExecutor(min(self.n_threads, 2)) as threads:
            list(threads.map(fill, (0, 1)))
        return np.asarray(self.merged[fine + N_FINE * halves])

    def save(self, folder: Path) -> None:
        """Write classifiers, edges and bins."""
        for half, booster in enumerate(self.trees):
            booster.save_model(folder / f"trees{half}.ubj")
        words = {"features": self.features, "edges": self.edges.tolist(), "merged": self.merged.tolist()}
        (folder / "observable.json").write_text(json.dumps(words), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Observable:
        """Read what `save` wrote."""
        import xgboost as xgb

        words = json.loads((folder / "observable.json").read_text(encoding="utf-8"))
        trees = [xgb.Booster(params=TREES, model_file=folder / f"trees{half}.ubj") for half in (0, 1)]
        return cls(words["features"], trees, np.array(words["edges"]), np.array(words["merged"]))


def _grow(table: pd.DataFrame, features: Sequence[str], rows: NDArray[np.intp]) -> xgb.Booster:
    """Classifier of signal against all backgrounds, the two weighted alike."""
    import xgboost as xgb

    label = table["label"].to_numpy()[rows]
    weights = table["weights"].to_numpy()[rows]
    weights = weights / np.bincount(label, weights)[label]
    data = xgb.DMatrix(_matrix(table, features, rows), label, weight=weights / weights.mean())
    return xgb.train(TREES, data, N_TREES)


def _scores(
    booster: xgb.Booster, table: pd.DataFrame, features: Sequence[str], rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    if not len(rows):
        return np.empty(0, np.float32)
    return np.asarray(booster.inplace_predict(_matrix(table, features, rows)))


def _matrix(table: pd.DataFrame, features: Sequence[str], rows: NDArray[np.intp]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.array([table[f].to_numpy()[rows] for f in features]).T)


def _quantiles(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Edges of score bins of equal signal; none where there is no signal to bin."""
    inner = np.linspace(0, 1, N_SCORE_BINS + 1)[1:-1]
    return np.asarray(np.quantile(scores, inner)) if len(scores) else np.full(len(inner), np.inf)


def _merge_poor_bins(fine: NDArray[np.intp], table: pd.DataFrame) -> NDArray[np.intp]:
    """Final bin of each fine bin: those that do not know their background join the bin below."""
    background = table["label"].to_numpy() == 0
    weights = table["weights"].to_numpy()[background]
    sums, squares = (np.bincount(fine[background], weights**k, minlength=2 * N_FINE) for k in (1, 2))
    is_rich = (sums > 0) & (sums**2 >= MIN_BACKGROUND_COUNT * squares)
    return np.asarray(np.maximum(np.cumsum(is_rich) - 1, 0), dtype=np.intp)


def _halves(table: pd.DataFrame) -> NDArray[np.intp]:
    """Half that an event belongs to, 0 or 1: a coin toss, the same in every shifted copy of the event.

    The coin is a bit of a hash of the lepton's azimuth, which no nuisance parameter moves.
    """
    azimuth = table["PRI_lep_phi"].to_numpy(np.float32)
    hashed: NDArray[np.uint32] = azimuth.view(np.uint32) * np.uint32(0x9E3779B1)
    return np.asarray(hashed >> np.uint32(16) & np.uint32(1)).astype(np.intp)


def _category(table: pd.DataFrame) -> NDArray[np.intp]:
    return np.asarray(np.minimum(table["PRI_n_jets"].to_numpy(), N_CATEGORIES - 1), dtype=np.intp)


def _is_core(table: pd.DataFrame) -> NDArray[np.bool_]:
    mass, mt = table["DER_mass_vis"].to_numpy(), table["DER_mass_transverse_met_lep"].to_numpy()
    is_boosted = (table["DER_pt_h"].to_numpy() > CORE_MIN_PT_H) | (table["PRI_n_jets"].to_numpy() > 0)
    return np.asarray(is_boosted & (mass > CORE_MASS[0]) & (mass < CORE_MASS[1]) & (mt < CORE_MAX_MT))


def _control_region(table: pd.DataFrame, category: NDArray[np.intp]) -> NDArray[np.intp]:
    """Coarse region of an event in visible mass, transverse mass and number of jets."""
    mass = np.digitize(table["DER_mass_vis"].to_numpy(), MASS_EDGES)
    mt = np.digitize(table["DER_mass_transverse_met_lep"].to_numpy(), MT_EDGES)
    return np.asarray((category * (len(MT_EDGES) + 1) + mt) * (len(MASS_EDGES) + 1) + mass)
