"""Simulated events for the networks and the templates, and the nuisance values at which they are shifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning import Standardizer
from fairuniverse.likelihood import Axis

from . import settings

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet


class Sample(NamedTuple):
    """Simulated events: inputs of the networks, (n_events, n_inputs), codes of their processes, weights."""

    x: NDArray[np.float32]
    process: NDArray[np.intp]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, table: pd.DataFrame, standardizer: Standardizer) -> Sample:
        """The events of a table."""
        return cls(standardizer(table), *labels(table))


def labels(table: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Process codes and weights."""
    process = np.asarray(table["process"].cat.codes, dtype=np.intp)
    return process, np.asarray(table["weights"], dtype=np.float64)


def n_to_simulate(train: TrainingSet, n_events: int) -> dict[str, int]:
    """Events of each process to simulate: so many of the most frequent one, of others a tenth or more."""
    largest = max(p.expected_yield for p in train.processes)
    return {
        p.name: round(n_events * (0.2 if p.is_signal else max(p.expected_yield / largest, 0.1)))
        for p in train.processes
    }


def is_signal(train: TrainingSet) -> NDArray[np.bool_]:
    """Which processes are signal, shape (n_processes,)."""
    return np.array([p.is_signal for p in train.processes])


def shift_points(axes: Sequence[Axis]) -> Iterator[dict[str, float]]:
    """Nuisance values at which events are shifted, the nominal ones left out."""
    names = [axis.parameter.name for axis in axes]
    if len(axes) in settings.DEGREES:
        n = 2 * settings.DEGREES[len(axes)] + 1
        nodes = [_thetas(axis, np.linspace(-settings.FEW_REACH, settings.FEW_REACH, n)) for axis in axes]
        yield from (dict(zip(names, point, strict=True)) for point in product(*nodes))
        return
    for axis in axes:
        pulls = settings.NOISE_PULLS if axis.power == 2 else settings.SINGLE_PULLS
        yield from ({axis.parameter.name: theta} for theta in _thetas(axis, pulls))
    pairs = [
        _thetas(axis, settings.NOISE_PAIR_PULLS if axis.power == 2 else settings.PAIR_PULLS) for axis in axes
    ]
    for i, j in combinations(range(len(axes)), 2):
        yield from ({names[i]: a, names[j]: b} for a, b in product(pairs[i], pairs[j]))


def _thetas(axis: Axis, pulls: Sequence[float] | NDArray[np.float64]) -> list[float]:
    p = axis.parameter
    return [float(np.clip(p.prior.from_alpha(float(a)), *p.bounds)) for a in pulls]
