"""A sound method that saves itself, and cannot be loaded again."""

from fairuniverse import Interval


class Model:
    def fit(self, train):
        self.expected = float(train.data["weights"].sum())

    def save(self, folder):
        (folder / "expected.txt").write_text(str(self.expected))

    @classmethod
    def load(cls, folder):
        raise ValueError("numbers are no longer what they were")

    def predict(self, test):
        ratio = len(test) / self.expected
        return Interval(ratio, ratio - 0.1, ratio + 0.1)
