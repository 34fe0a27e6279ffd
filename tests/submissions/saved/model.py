"""A sound method that saves itself in a format of its own."""

import json

from fairuniverse import Interval


class Model:
    def fit(self, train):
        print("fitting")
        peak = train.data[train.data["x"].between(4, 6)]
        self.signal = float(peak.loc[peak["label"] == 1, "weights"].sum())
        self.background = float(peak.loc[peak["label"] == 0, "weights"].sum())

    def save(self, folder):
        (folder / "numbers.json").write_text(json.dumps([self.signal, self.background]))

    @classmethod
    def load(cls, folder):
        model = cls()
        model.signal, model.background = json.loads((folder / "numbers.json").read_text())
        return model

    def predict(self, test):
        n = int(test["x"].between(4, 6).sum())
        mu_hat = (n - self.background) / self.signal
        sigma = n**0.5 / self.signal
        return Interval(mu_hat, mu_hat - sigma, mu_hat + sigma)
