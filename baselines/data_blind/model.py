"""The whole range of mu with the probability of the confidence level, otherwise an empty interval.

A line to compare with: what a score gives for nothing. Its card is README.md.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fairuniverse import Interval

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet

N_TOSSED = 1000
"""Events that the coin is made of; their order is random, so the first are as good as any."""


class Model:
    """Randomised interval with the right coverage at every mu, whatever the data."""

    def fit(self, train: TrainingSet) -> None:
        """Learn what is asked for, and nothing about how to answer it."""
        self.confidence_level = train.confidence_level
        self.mu_range = train.mu_range

    def predict(self, test: pd.DataFrame) -> Interval:
        """The whole range of mu, or nothing but its centre."""
        lower, upper = self.mu_range
        centre = (lower + upper) / 2
        if _uniform(test) < self.confidence_level:
            return Interval(centre, lower, upper)
        return Interval(centre, centre, centre)


def _uniform(table: pd.DataFrame) -> float:
    """Number between 0 and 1 that depends on every bit of some events and tells nothing about them.

    A hash instead of a generator: the same data get the same answer in every process and order.
    """
    first = table.iloc[:N_TOSSED].to_numpy()
    digest = hashlib.sha256(first.tobytes() + str(len(table)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
