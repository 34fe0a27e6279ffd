"""Can a classifier tell two samples apart? Cross-fitted boosted trees, and events that both samples share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fairuniverse.comparison.results import ProcessSeparation
from fairuniverse.errors import MissingDependencyError
from fairuniverse.events import Events

MAX_CLASSIFIER_EVENTS = 20_000
"""Events of each sample that the classifier sees."""

N_FOLDS = 5
"""Parts for cross-fitting the classifier."""

N_BINS = 255
"""Quantiles of each feature that the classifier tells apart."""


def process_separation(
    process: str, simulated: Events, reference: Events, with_classifier: bool
) -> ProcessSeparation:
    """How well boosted trees tell two samples of a process apart, and the events that they share.

    Raises:
        MissingDependencyError: scikit-learn is not installed, and the classifier was asked for.
    """
    n_sim, n_ref = (min(len(e), MAX_CLASSIFIER_EVENTS) for e in (simulated, reference))
    n_sim = min(n_sim, max(2 * n_ref, 1000))  # far more simulated events teach nothing more
    rows = [_spread(len(e), n) for e, n in ((simulated, n_sim), (reference, n_ref))]
    weights = [_relative_weights(e, r) for e, r in zip((simulated, reference), rows, strict=True)]
    m_sim, m_ref = (w.sum() ** 2 / np.square(w).sum() for w in weights)
    # Variance of the rank sum of equal samples (Mann and Whitney 1947), of effective events.
    error = math.sqrt((m_sim + m_ref + 1) / (12 * m_sim * m_ref))
    auc = math.nan
    if with_classifier and min(n_sim, n_ref) >= 10:
        first, second = (
            np.ascontiguousarray(e.features[:, r].T)
            for e, r in zip((simulated, reference), rows, strict=True)
        )
        auc = _cross_fitted_auc(first, second, np.concatenate(weights))
    n_shared = _n_shared(_row_keys(simulated.features), _row_keys(reference.features))
    return ProcessSeparation(process, auc, error, len(simulated), len(reference), n_shared)


def _row_keys(features: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A number for each event, equal for events of equal features and otherwise different in practice."""
    factors = np.random.default_rng(0).integers(1, 2**63, len(features), dtype=np.uint64) * 2 + 1
    keys = np.zeros(features.shape[1], dtype=np.uint64)
    for factor, row in zip(factors, features, strict=True):
        keys += (row + np.float32(0)).view(np.uint32) * factor  # adding 0 makes -0.0 a 0.0; sums wrap around
    return keys


def _n_shared(simulated: NDArray[np.uint64], reference: NDArray[np.uint64]) -> int:
    """How many reference events are in the other sample; 0 if events repeat within a sample anyway."""
    # Where a tenth of a sample repeats, features are discrete: equal rows are then different events.
    if any(len(np.unique(keys)) < 0.9 * len(keys) for keys in (simulated, reference)):
        return 0
    return int(np.isin(reference, simulated).sum())


def _spread(n_events: int, n: int) -> NDArray[np.int64]:
    """Rows of n events, evenly spread over a sample."""
    return np.linspace(0, n_events - 1, n).astype(np.int64)


def _relative_weights(events: Events, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of mean one; those that are not positive count nothing."""
    if events.weights is None:
        return np.ones(len(rows))
    positive = np.maximum(events.weights[rows], 0)
    return positive / (positive.mean() or 1.0)


def _cross_fitted_auc(
    simulated: NDArray[np.float32], reference: NDArray[np.float32], weights: NDArray[np.float64]
) -> float:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
        from sklearn.model_selection import PredefinedSplit, cross_val_predict
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingDependencyError(
            "comparing with a classifier needs scikit-learn: pip install 'fairuniverse[baselines]'"
        ) from error
    features = _binned(np.concatenate([simulated, reference]))
    truth = np.repeat([0, 1], [len(simulated), len(reference)])
    trees = HistGradientBoostingClassifier(max_depth=3, max_iter=60, learning_rate=0.08, random_state=0)
    folds = PredefinedSplit(_folds(simulated, reference))
    with threadpool_limits(1):  # waiting threads cost more than they bring when other programs run, too
        scores = cross_val_predict(
            trees, features, truth, cv=folds, method="predict_proba", params={"sample_weight": weights}
        )[:, 1]
    return float(roc_auc_score(truth, scores, sample_weight=weights))


def _binned(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Number of the quantile of each value, features by column.

    The trees see no more than that anyway; their own search for weighted quantiles takes ten times as long as
    they do.
    """
    levels = np.linspace(0, 1, N_BINS + 1)[1:-1]
    columns = [np.searchsorted(np.unique(np.quantile(c, levels)), c, side="right") for c in features.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _folds(simulated: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.int64]:
    """Fold of each event, simulated ones first; both samples are spread evenly over the folds.

    An event that is in both samples is in one fold: trained on its copy, trees would tell the wrong sample.
    """
    keys = [_row_keys(sample.T) for sample in (simulated, reference)]
    rng = np.random.default_rng(0)
    folds = np.concatenate([rng.permutation(len(k)) % N_FOLDS for k in keys])
    if _n_shared(keys[0], keys[1]):
        order = np.argsort(keys[0])
        place = np.minimum(np.searchsorted(keys[0], keys[1], sorter=order), len(order) - 1)
        is_shared = keys[0][order[place]] == keys[1]
        folds[len(keys[0]) :][is_shared] = folds[order[place]][is_shared]
    return folds
