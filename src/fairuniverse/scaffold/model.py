"""Counts events in one region: the smallest method that takes every uncertainty into account."""

import numpy as np

from fairuniverse import Interval


class Model:
    """Signal strength from the number of events with a boosted Higgs candidate."""

    def select(self, data):
        """Region where the signal is least rare: a high transverse momentum of the tau pair."""
        return data[(data["DER_pt_h"] > 100) & (data["DER_mass_transverse_met_lep"] < 70)]

    def fit(self, train):
        """Expected counts, and how much each nuisance parameter moves them."""
        centre = {p.name: p.prior.from_alpha(0) for p in train.nuisances}

        def counts(**shifted):
            chosen = self.select(train.shift(**centre | shifted))
            return chosen.groupby("label")["weights"].sum().to_numpy()

        self.background, self.signal = counts()
        up = [counts(**{p.name: p.prior.from_alpha(1)}).sum() for p in train.nuisances]
        self.systematic = np.linalg.norm(np.array(up) - self.background - self.signal)

    def predict(self, test):
        """Estimate of mu and its central 68.27 % interval, from one pseudo-experiment."""
        n = len(self.select(test))
        mu_hat = (n - self.background) / self.signal
        half_width = np.hypot(np.sqrt(n), self.systematic) / self.signal
        return Interval(mu_hat, mu_hat - half_width, mu_hat + half_width)
