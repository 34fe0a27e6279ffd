"""The sound method, whose fit takes a second."""

import time

from helpers import estimate, yields


class Model:
    def fit(self, train):
        print("fitting", flush=True)
        time.sleep(1)
        self.yields = yields(train)

    def predict(self, test):
        return estimate(test, *self.yields)
