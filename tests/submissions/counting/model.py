"""A sound method: count events in the peak."""

from fairuniverse import Interval


class Model:
    def fit(self, train):
        peak = train.data[train.data["x"].between(4, 6)]
        self.signal = peak.loc[peak["label"] == 1, "weights"].sum()
        self.background = peak.loc[peak["label"] == 0, "weights"].sum()

    def predict(self, test):
        n = int(test["x"].between(4, 6).sum())
        mu_hat = (n - self.background) / self.signal
        sigma = n**0.5 / self.signal
        return Interval(mu_hat, mu_hat - sigma, mu_hat + sigma)
