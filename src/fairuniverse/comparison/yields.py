"""How many events a sample has and stands for, and which part of them is selected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fairuniverse.events import Events


@dataclass(frozen=True)
class ProcessYield:
    """Events of one process in one sample.

    Attributes:
        sample: Name of the sample.
        process: Name of the process; empty where events are unlabelled.
        n_events: Events in the sample.
        n_effective: Number of unweighted events with the same relative uncertainty, (sum w)^2 / sum w^2.
        expected: Sum of the weights, the expected number of events; NaN without weights.
        expected_error: Its standard error, the root of the sum of squared weights.
        selected: Fraction of these that the world's selection keeps at nominal nuisances.
        selected_error: Its standard error; binomial where weights are equal.
        acceptance: Fraction of generated events of the process that the sample holds, by the file's metadata;
            NaN where these do not tell.
        leading_order: Expected number of events by cross section, luminosity and acceptance, from the same
            place.
    """

    sample: str
    process: str
    n_events: int
    n_effective: float
    expected: float
    expected_error: float
    selected: float
    selected_error: float
    acceptance: float = math.nan
    leading_order: float = math.nan


def process_yields(
    sample: str, events: Events, selected: Events, production: Mapping[str, Mapping[str, float]]
) -> Iterator[ProcessYield]:
    """Yields of the processes of a sample that have events; of all together if it is unlabelled.

    Args:
        sample: Name of the sample.
        events: The events.
        selected: Those that the world's selection keeps, with their weights.
        production: Numbers of each process, as the metadata of a table hold them; ``acceptance`` and
            ``expected_yield`` are looked at.
    """
    for process in events.processes or ("",):
        both = [e.of_process(process) if process else e for e in (events, selected)]
        weights, kept = (np.ones(len(e)) if e.weights is None else e.weights for e in both)
        total, fraction = float(weights.sum()), float(kept.sum() / (weights.sum() or np.nan))
        squares, squares_kept = (float(np.square(w).sum()) for w in (weights, kept))
        if total <= 0:
            continue
        variance = (1 - fraction) ** 2 * squares_kept + fraction**2 * (squares - squares_kept)
        numbers = production.get(process, {})
        yield ProcessYield(
            sample=sample,
            process=process,
            n_events=len(weights),
            n_effective=total**2 / squares,
            expected=math.nan if events.weights is None else total,
            expected_error=math.nan if events.weights is None else math.sqrt(squares),
            selected=fraction,
            selected_error=math.sqrt(max(variance, 0.0)) / total,
            acceptance=float(numbers.get("acceptance", math.nan)),
            leading_order=float(numbers.get("expected_yield", math.nan)),
        )
