"""Dies at every toy."""

import os


class Model:
    def fit(self, train):
        pass

    def predict(self, test):
        os._exit(3)
