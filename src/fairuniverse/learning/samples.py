"""More events of the world than the training set has, so that none is used for two things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.seeding import generator
from fairuniverse.training import TrainingSet

MAX_TEMPLATE_EVENTS = 5_000_000
"""Most events that `template_events` simulates: more do not fit into the memory of a small worker."""

_MIN_SHARE = 0.05
"""Least share of a process among the simulated background: rare ones must be learnt, too."""


def further_events(
    train: TrainingSet, n_events: int | Mapping[str, int], *, purpose: str, prescale: int = 1
) -> TrainingSet:
    """An independent training set of the same world, newly simulated.

    A classifier that was trained on it has never seen the events of `train`, which then fill templates that
    nothing was tuned to.

    Args:
        train: The training set; its world, seed, nuisances and protocol are taken over.
        n_events: Number of events of each process before selection, or in all: then half of them are signal,
            and the background processes share the other half by their yields, none with less than a
            twentieth.
        purpose: Name of the random streams: sets of different purposes share no event.
        prescale: Of events that do not resemble the signal one in so many is kept, with so many times the
            weight.

    Notes:
        Where a benchmark's training events come from a file, these still come from the simulator: learn a
        classifier from them, but no yields. A model may keep `train`, not this.
    """
    numbers = _shared(train, n_events) if isinstance(n_events, int) else n_events
    seed = int(generator(train.seed, f"further events: {purpose}").integers(2**63))
    events = train.simulator.generate(numbers, seed=seed, purpose=purpose, prescale=prescale)
    names = [p.name for p in train.nuisances]
    return _FurtherEvents(
        train.simulator,
        events,
        seed=seed,
        nuisances=names,
        mu_range=train.mu_range,
        confidence_level=train.confidence_level,
    )


def template_events(train: TrainingSet, ratio: float = 20.0) -> TrainingSet:
    """Events to fill templates with: the training set, or more of them where they are few and cheap.

    Templates of as many events as the data double the variance of a measurement; at `ratio` times as many the
    finite simulation adds 1/ratio to it. The toys share that fluctuation, so it also spoils their coverage.

    Args:
        train: The training set.
        ratio: Background events to simulate over those expected.

    Returns:
        `train` if it holds so many, or if so many are more than `MAX_TEMPLATE_EVENTS`; else further events.
    """
    events = train.events
    assert events.weights is not None
    assert events.process is not None
    numbers = dict(
        zip(events.processes, np.bincount(events.process, minlength=len(events.processes)), strict=True)
    )
    wanted = {
        p.name: max(int(numbers[p.name]), 0 if p.is_signal else round(ratio * p.expected_yield))
        for p in train.processes
    }
    weights = events.weights[_background(train)[events.process]]
    has_enough = weights.sum() >= ratio * (weights**2).sum()
    if has_enough or sum(wanted.values()) > MAX_TEMPLATE_EVENTS:
        return train
    return further_events(train, wanted, purpose="templates")


def process_scales(train: TrainingSet) -> NDArray[np.float64]:
    """Relative effect on each process of mu and of one sigma of every normalisation nuisance.

    Returns:
        Shape (1 + n_normalisations, n_processes).
    """
    rows = [[float(p.is_signal) for p in train.processes]]
    for n in train.nuisances:
        if n.kind == "normalisation":
            slope = n.prior.slope(n.nominal)
            rows.append([slope * (p.name in n.processes) for p in train.processes])
    return np.array(rows)


def _background(train: TrainingSet) -> NDArray[np.bool_]:
    return np.array([not p.is_signal for p in train.processes])


class _FurtherEvents(TrainingSet):
    """A training set that only the process that simulated it has."""

    def __reduce__(self) -> NoReturn:
        raise InvalidDataError(
            "simulated events cannot be saved with a model: keep what was learnt from them, or `train`"
        )


def _shared(train: TrainingSet, n_events: int) -> dict[str, int]:
    yields = {p.name: p.expected_yield for p in train.processes if not p.is_signal}
    shares = {n: max(y / sum(yields.values()), _MIN_SHARE) for n, y in yields.items()}
    signals = [p.name for p in train.processes if p.is_signal]
    half = n_events / 2
    return {n: round(half / len(signals)) for n in signals} | {
        n: round(half * s / sum(shares.values())) for n, s in shares.items()
    }
