"""Two samples side by side: their processes, and one feature at a time with weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events


def pairs_by_process(simulated: Events, reference: Events) -> Iterator[tuple[str, Events, Events]]:
    """Events of each process that both samples have; all of them, called "", if one is unlabelled.

    Raises:
        InvalidDataError: Different features, no common process, or one without any positive weight.
    """
    for process in common_processes(simulated, reference):
        pair = [e if process == "" else e.of_process(process) for e in (simulated, reference)]
        for name, events in zip(("simulated sample", "reference"), pair, strict=True):
            _require_weight(events, process, name)
        yield process, pair[0], pair[1]


def common_processes(simulated: Events, reference: Events) -> list[str]:
    """Names of the processes that `pairs_by_process` gives.

    Raises:
        InvalidDataError: Different features, or no common process.
    """
    if simulated.schema.names != reference.schema.names:
        raise InvalidDataError("the samples have different features: compare tables of one simulator")
    if simulated.process is None or reference.process is None:
        common = [""] if len(simulated) and len(reference) else []
    else:
        common = [p for p in reference.processes if _has(simulated, p) and _has(reference, p)]
    if not common:
        raise InvalidDataError("no process has events in both samples: nothing to compare")
    return common


def _require_weight(events: Events, process: str, name: str) -> None:
    if events.weights is not None and not (events.weights > 0).any():
        where = f" of process {process!r}" if process else ""
        raise InvalidDataError(
            f"no event{where} in the {name} has a positive weight: "
            "give positive weights, or leave the column of weights out to count every event as one"
        )


def notes(simulated: Events, reference: Events) -> Iterator[str]:
    """What one sample has and the other has not."""
    names = ("simulated sample", "reference")
    for name, events, other in zip(names, (simulated, reference), (reference, simulated), strict=True):
        if events.weights is None and other.weights is not None:
            yield f"{name} has no weights: its events are compared unweighted"
        if events.process is None and other.process is not None:
            yield f"{name} has no process labels: all events are compared together"


def _has(events: Events, process: str) -> bool:
    return process in events.processes and len(events.of_process(process)) > 0


@dataclass(frozen=True)
class Column:
    """One feature of the events that have it.

    Attributes:
        values: Shape (n_events,), the feature.
        weights: Shape (n_events,), positive.
        missing: Weighted fraction of the sample that has not got it.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    missing: float

    @property
    def n_effective(self) -> float:
        """Number of unweighted events with the same relative uncertainty."""
        total: float = self.weights.sum() ** 2 / np.square(self.weights).sum()
        return total

    @property
    def mean(self) -> float:
        """Weighted mean."""
        return float(np.average(self.values, weights=self.weights))

    def fraction(self, lowest: float, highest: float) -> float:
        """Fraction of values from lowest to highest, both included."""
        inside = (self.values >= lowest) & (self.values <= highest)
        return float(self.weights[inside].sum() / self.weights.sum())


def feature_column(events: Events, i_feature: int) -> Column | None:
    """One feature; None if no event has it."""
    values = events.features[i_feature].astype(np.float64)
    weights = np.ones(len(values)) if events.weights is None else events.weights
    sentinel = events.schema.features[i_feature].missing
    exists = np.full(len(values), True) if sentinel is None else values != sentinel
    exists &= weights > 0
    if not exists.any():
        return None
    missing = 1 - weights[exists].sum() / weights.sum()
    return Column(values[exists], weights[exists], float(missing))
