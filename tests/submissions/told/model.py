"""A reference line: it answers with the nuisance value that it was told."""

from fairuniverse import Interval


class Model:
    def fit(self, train):
        pass

    def predict(self, test, nuisances):
        return Interval(nuisances["scale"], float("mu" in nuisances), len(nuisances))
