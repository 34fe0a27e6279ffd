"""Templates: what the simulation expects in each bin, process by process, and how well it knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.protocols import Process


@dataclass(frozen=True, eq=False)
class Templates:
    """Expected events per process and bin, with their Monte Carlo uncertainty.

    Attributes:
        processes: The processes, one row each.
        yields: Shape (n_processes, n_bins), expected events at mu = 1 and nominal nuisances.
        variances: Shape (n_processes, n_bins), variance of `yields` from the finite simulated sample: the sum
            of squared weights.
    """

    processes: tuple[Process, ...]
    yields: NDArray[np.float64]
    variances: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.yields.ndim != 2 or self.yields.shape[0] != len(self.processes):
            raise InvalidDataError(
                f"yields have shape {self.yields.shape}: give (n_processes, n_bins), "
                f"n_processes = {len(self.processes)}"
            )
        if self.variances.shape != self.yields.shape:
            raise InvalidDataError(
                f"variances {self.variances.shape} and yields {self.yields.shape} differ in shape"
            )
        for name, values in (("yields", self.yields), ("variances", self.variances)):
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise InvalidDataError(
                    f"{name} must be finite and not negative: check the weights of the events"
                )
        empty = np.flatnonzero(self.yields[~self.is_signal].sum(axis=0) <= 0)
        if empty.size:
            raise InvalidDataError(
                f"bin {empty[0]} expects no background, so a single event there has no likelihood: merge bins"
            )

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(self.yields.shape[1])

    @property
    def is_signal(self) -> NDArray[np.bool_]:
        """Which rows are signal, shape (n_processes,)."""
        return np.array([p.is_signal for p in self.processes])

    @property
    def effective_counts(self) -> NDArray[np.float64]:
        """Number of unweighted events with the same relative uncertainty, shape (n_processes, n_bins)."""
        counts: NDArray[np.float64] = np.divide(
            self.yields**2, self.variances, out=np.zeros_like(self.yields), where=self.variances > 0
        )
        return counts

    @property
    def relative_error(self) -> NDArray[np.float64]:
        """Monte Carlo uncertainty of the total expectation over that expectation, shape (n_bins,)."""
        error: NDArray[np.float64] = np.sqrt(self.variances.sum(axis=0)) / self.yields.sum(axis=0)
        return error


def fill_templates(
    processes: tuple[Process, ...], bins: ArrayLike, process: ArrayLike, weights: ArrayLike, n_bins: int
) -> Templates:
    """Histogram weighted events of all processes.

    Args:
        processes: The processes; `process` counts in this order.
        bins: Shape (n_events,), bin of each event, 0 to n_bins - 1.
        process: Shape (n_events,), index of the process of each event.
        weights: Shape (n_events,), expected events that each row stands for.
        n_bins: Number of bins.

    Returns:
        Templates with the sums of weights and of squared weights.

    Raises:
        InvalidDataError: A bin without expected background, or weights that sum to less than nothing.
    """
    weights = np.asarray(weights, dtype=np.float64)
    cell = np.asarray(process, dtype=np.intp) * n_bins + np.asarray(bins, dtype=np.intp)
    shape = (len(processes), n_bins)
    sums, squares = (
        np.bincount(cell, w, minlength=shape[0] * n_bins).reshape(shape).astype(np.float64)
        for w in (weights, weights**2)
    )
    return Templates(processes, sums, squares)
