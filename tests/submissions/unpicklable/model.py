"""The sound method, with an attribute that cannot be pickled."""

from fairuniverse import Interval


class Model:
    def fit(self, train):
        print("fitting")
        peak = train.data[train.data["x"].between(4, 6)]
        signal = peak.loc[peak["label"] == 1, "weights"].sum()
        background = peak.loc[peak["label"] == 0, "weights"].sum()
        self.mu = lambda n: (n - background) / signal
        self.sigma = lambda n: n**0.5 / signal

    def predict(self, test):
        n = int(test["x"].between(4, 6).sum())
        return Interval(self.mu(n), self.mu(n) - self.sigma(n), self.mu(n) + self.sigma(n))
