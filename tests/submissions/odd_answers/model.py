"""Answers in a different odd way every time, sound ways among them."""

import numpy as np

from fairuniverse import Interval

ANSWERS = (
    {"mu_hat": np.float32(1), "lower": np.float32(0.5), "upper": np.float32(1.5)},
    Interval(1, 0, 2),
    {"mu_hat": np.array(1.0), "lower": np.int64(0), "upper": 2, "more": "ignored"},
    {"mu_hat": float("nan"), "lower": 0.0, "upper": 1.0},
    {"mu_hat": 1.0, "lower": 0.0, "upper": np.inf},
    {"mu_hat": 1.0, "lower": 2.0, "upper": 0.0},
    {"mu_hat": "1.0", "lower": 0.0, "upper": 2.0},
    {"mu_hat": None, "lower": 0.0, "upper": 2.0},
    {"mu_hat": np.array([1.0]), "lower": 0.0, "upper": 2.0},
    {"mu_hat": 1.0, "delta_mu_hat": 1.0, "p16": 0.5, "p84": 1.5},
    (1.0, 0.0, 2.0),
    None,
    ValueError("cannot \ud800 say"),
    SystemExit(3),
    MemoryError("too much"),
)


class Model:
    n_calls = 0

    def fit(self, train):
        pass

    def predict(self, test):
        answer = ANSWERS[self.n_calls % len(ANSWERS)]
        self.n_calls += 1
        if isinstance(answer, BaseException):
            raise answer
        return answer
