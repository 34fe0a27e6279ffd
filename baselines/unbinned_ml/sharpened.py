"""Counts in all cells, sharpened by where in some of them the events are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.likelihood import BinnedLikelihood, Parameter, UnbinnedLikelihood


@dataclass(frozen=True, eq=False)
class SharpenedLikelihood:
    """Likelihood of the counts in all cells, times the conditional one of where in some of them events are.

    The conditional likelihood is the unbinned one over the Poisson likelihood of the same counts, in which
    yields, constraints and everything else that the counts already tell cancel.

    Attributes:
        counted: Likelihood of the counts, with the uncertainty of the simulation.
        unbinned: Extended likelihood of the events in the unbinned cells.
        cancelled: Likelihood of their counts.
    """

    counted: BinnedLikelihood
    unbinned: UnbinnedLikelihood
    cancelled: BinnedLikelihood

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Fit parameters: mu, then the pulls."""
        return self.counted.parameters

    def twice_nll(self, x: NDArray[np.float64]) -> float:
        """Twice the negative log-likelihood."""
        return self.counted.twice_nll(x) + self.unbinned.twice_nll(x) - self.cancelled.twice_nll(x)

    def gradient(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of `twice_nll`."""
        return self.counted.gradient(x) + self.unbinned.gradient(x) - self.cancelled.gradient(x)

    def information(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimate of the Fisher information, that of the counts: most of it, and enough to start a fit."""
        return self.counted.information(x)
