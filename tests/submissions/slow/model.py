"""The sound method, slowly."""

import time

from helpers import estimate, yields


class Model:
    def fit(self, train):
        print("fitting")
        self.yields = yields(train)

    def predict(self, test):
        time.sleep(0.03)
        return estimate(test, *self.yields)
