"""The sound method, which dies on some toys and raises on others, as the data decide."""

import os

from fairuniverse import Interval


class Model:
    def fit(self, train):
        peak = train.data[train.data["x"].between(4, 6)]
        self.signal = peak.loc[peak["label"] == 1, "weights"].sum()
        self.background = peak.loc[peak["label"] == 0, "weights"].sum()

    def predict(self, test):
        if len(test) % 8 == 0:
            os._exit(3)
        if len(test) % 4 == 1:
            raise ValueError(f"do not like {len(test)} events")
        n = int(test["x"].between(4, 6).sum())
        mu_hat = (n - self.background) / self.signal
        sigma = n**0.5 / self.signal
        return Interval(mu_hat, mu_hat - sigma, mu_hat + sigma)
