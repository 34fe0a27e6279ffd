"""A sound method that saves itself, and cannot be loaded again."""

from fairuniverse import Interval


class Model:
    def fit(self, train):
        print("fitting")
        peak = train.data[train.data["x"].between(4, 6)]
        self.signal = float(peak.loc[peak["label"] == 1, "weights"].sum())
        self.background = float(peak.loc[peak["label"] == 0, "weights"].sum())

    def save(self, folder):
        (folder / "numbers.txt").write_text(f"{self.signal} {self.background}")

    @classmethod
    def load(cls, folder):
        raise ValueError("numbers are no longer what they were")

    def predict(self, test):
        n = int(test["x"].between(4, 6).sum())
        mu_hat = (n - self.background) / self.signal
        sigma = n**0.5 / self.signal
        return Interval(mu_hat, mu_hat - sigma, mu_hat + sigma)
