"""Counts events in bins, and weighs the bins by how well each is known: generalised least squares."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fairuniverse import Interval

if TYPE_CHECKING:
    from fairuniverse.training import TrainingSet

BINS = {
    "DER_mass_vis": [0, 50, 60, 70, 80, 90, 100, 120, np.inf],
    "DER_pt_h": [0, 30, 60, 100, 200, np.inf],
    "DER_mass_transverse_met_lep": [0, 30, 70, np.inf],
    "PRI_n_jets": [0, 1, 2, np.inf],
}


def histogram(events: pd.DataFrame, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Number of events in each bin, as one long array."""
    return np.histogramdd(events[list(BINS)].to_numpy(), list(BINS.values()), weights=weights)[0].ravel()


class Model:
    """Signal strength from counts, with every nuisance parameter as a correlated uncertainty."""

    def fit(self, train: TrainingSet) -> None:
        """Expected counts, and their covariance from data, simulation and nuisance parameters."""
        centre = {p.name: p.prior.from_alpha(0) for p in train.nuisances}
        events = train.shift(centre)
        is_signal = events["label"] == 1
        self.signal = histogram(events[is_signal], events["weights"][is_signal])
        self.background = histogram(events[~is_signal], events["weights"][~is_signal])
        total = self.signal + self.background
        covariance = np.diag(total + histogram(events, events["weights"] ** 2) + 1)
        for p in train.nuisances:  # one standard deviation of each, as if its effect were linear
            shifted = train.shift(centre | {p.name: p.prior.from_alpha(1)})
            effect = histogram(shifted, shifted["weights"]) - total
            covariance += np.outer(effect, effect)
        solved = np.linalg.solve(covariance, self.signal)
        self.weights = solved / (self.signal @ solved)
        n_sigmas = NormalDist().inv_cdf((1 + train.confidence_level) / 2)
        self.half_width = float(n_sigmas / np.sqrt(self.signal @ solved))

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its confidence interval, from one pseudo-experiment."""
        mu_hat = float(self.weights @ (histogram(test) - self.background))
        return Interval(mu_hat, mu_hat - self.half_width, mu_hat + self.half_width)
