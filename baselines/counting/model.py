"""Counting in eight regions, with an interval in closed form.

The smallest method that knows every uncertainty: no machine learning, no fit. Its card is README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fairuniverse import Interval
from fairuniverse.nuisance import NuisanceParameter

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet

N_REGIONS = 8
MAX_MT = 70.0
PT_H_EDGES = (100.0, 200.0)
VBF_LEADING_PT, VBF_SUBLEADING_PT = 50.0, 30.0
"""Regions by transverse mass, two energetic jets, and transverse momentum of the tau pair; GeV."""

QUADRATURE = ((-np.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (np.sqrt(3.0), 1 / 6))
"""Gauss-Hermite nodes (pulls) and weights: exact for a standard normal pull up to its fifth power."""


class Model:
    """Best linear unbiased estimate of mu from the counts of eight regions."""

    def fit(self, train: TrainingSet) -> None:
        """Expected counts averaged over the priors, and their covariance under the priors."""
        is_signal = np.array([p.is_signal for p in train.processes])
        shares, shifted = zip(*_shifted_yields(train), strict=True)
        yields = np.tensordot(shares, shifted, axes=1)
        totals = np.array(shifted).sum(axis=1)
        covariance = np.diag(totals.T @ np.array(shares) + _simulation_variance(train))
        deviations = totals - yields.sum(axis=0)
        covariance += np.einsum("k,ka,kb->ab", shares, deviations, deviations)
        for p in train.nuisances:
            if p.kind == "normalisation":
                change = _one_sigma_change(p, train, yields)
                covariance += np.outer(change, change)
        signal, self.background = yields[is_signal].sum(axis=0), yields[~is_signal].sum(axis=0)
        # Generalised least squares: weights V^-1 s / (s V^-1 s), standard error (s V^-1 s)^-1/2.
        projected = np.linalg.solve(covariance, signal)
        self.weights = projected / (projected @ signal)
        n_sigmas = float(ndtri((1 + train.confidence_level) / 2))
        self.half_width = n_sigmas * float(projected @ signal) ** -0.5

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its interval, from one pseudo-experiment."""
        counts = np.bincount(_region(test), minlength=N_REGIONS)
        mu_hat = float(self.weights @ (counts - self.background))
        return Interval(mu_hat, mu_hat - self.half_width, mu_hat + self.half_width)


def _region(table: pd.DataFrame) -> NDArray[np.intp]:
    """Region of each event, 0 to 7."""
    is_vbf = (table["PRI_jet_leading_pt"].to_numpy() > VBF_LEADING_PT) & (
        table["PRI_jet_subleading_pt"].to_numpy() > VBF_SUBLEADING_PT
    )
    boost = np.where(is_vbf, len(PT_H_EDGES) + 1, np.digitize(table["DER_pt_h"].to_numpy(), PT_H_EDGES))
    is_high_mt = table["DER_mass_transverse_met_lep"].to_numpy() >= MAX_MT
    return np.asarray(boost + (len(PT_H_EDGES) + 2) * is_high_mt, dtype=np.intp)


def _yields(table: pd.DataFrame) -> NDArray[np.float64]:
    """Sum of weights by process and region, shape (n_processes, N_REGIONS)."""
    process = table["process"].cat
    cell = process.codes.to_numpy(np.intp) * N_REGIONS + _region(table)
    n_cells = len(process.categories) * N_REGIONS
    sums = np.bincount(cell, table["weights"].to_numpy(), minlength=n_cells)
    return np.asarray(sums.reshape(-1, N_REGIONS), dtype=np.float64)


def _shifted_yields(train: TrainingSet) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Yields at the quadrature nodes of all shape nuisances, each with its share of the prior."""
    shapes = [p for p in train.nuisances if p.kind == "shape"]
    for node in product(QUADRATURE, repeat=len(shapes)):
        values = {
            p.name: float(np.clip(p.prior.from_alpha(pull), *p.bounds))
            for p, (pull, _) in zip(shapes, node, strict=True)
        }
        yield float(np.prod([share for _, share in node])), _yields(train.shift(values))


def _one_sigma_change(
    parameter: NuisanceParameter, train: TrainingSet, yields: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Change of each region's count when a normalisation rises by one standard deviation."""
    scaled = [p.name in parameter.processes for p in train.processes]
    relative = parameter.prior.from_alpha(1.0) - parameter.prior.from_alpha(0.0)
    return np.asarray(relative * yields[scaled].sum(axis=0))


def _simulation_variance(train: TrainingSet) -> NDArray[np.float64]:
    """Variance of the expected counts from the finite training sample: the sum of squared weights."""
    nominal = train.shift()
    squares = nominal["weights"].to_numpy() ** 2
    return np.asarray(np.bincount(_region(nominal), squares, minlength=N_REGIONS), dtype=np.float64)
