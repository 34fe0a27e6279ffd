"""Whether an answer depends on the toy alone: some toys are asked again, in a process that has seen no other.

A submission whose process lives on can carry what it learns from one toy to the next, on purpose or by an
accident such as a fit that starts where the last one ended. Its intervals are then no intervals of one
measurement, and its score is not that of the method. What is asked again is chosen by a secret stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fairuniverse.isolation.answers import KEYS, Answer
from fairuniverse.isolation.process import feature_columns
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.team import Lane

if TYPE_CHECKING:
    from fairuniverse.events import Events
    from fairuniverse.pseudo_experiments import Truth

N_AGAIN = 4
"""Toys that are asked again: the last one and some before it."""

TOLERANCE = 1e-3
"""Difference of mu_hat or a bound, in widths of the interval, that is put down to rounding."""

_FAILED = 1e9
"""Stands for the difference to no answer."""

STATUSES: Mapping[str, str] = {
    "ok": "the same answers in a fresh process",
    "order_dependent": "a process that has seen no other toys gives other answers",
    "not_repeatable": "the same toy has different answers in two new processes",
    "fresh": "every toy has had a process of its own",
    "not_checked": "there was no fresh process to ask, or no answer to compare with",
}
"""What became of the check, and what it means."""


@dataclass(frozen=True)
class Repeatability:
    """Outcome of the check.

    Attributes:
        status: One of `STATUSES`.
        message: What was found; empty if nothing.
        n_toys: Number of toys asked again.
        largest_difference: Largest difference found, in widths of the interval.
    """

    status: str
    message: str = ""
    n_toys: int = 0
    largest_difference: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Entry of the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Recorded:
    """A toy with the answer that it has."""

    truth: Truth
    answer: Answer


def choose(recorded: Sequence[Recorded], *, rng: np.random.Generator) -> list[Recorded]:
    """Toys to ask again, of those with a valid answer in the order of presentation: the last comes first.

    A method that learns from toy to toy has learnt most by then, and the fresh process has seen none.
    """
    last = len(recorded) - 1
    others = rng.permutation(max(last, 0))[: N_AGAIN - 1]
    return [recorded[i] for i in (last, *others)] if recorded else []


def ask_again(
    recorded: Sequence[Recorded],
    *,
    lane: Callable[[], Lane],
    draw: Callable[[Truth], Events],
    told: Callable[[Truth], Mapping[str, float] | None],
) -> Repeatability:
    """Compare recorded answers with those of a fresh process.

    Args:
        recorded: Toys with valid answers.
        lane: Makes a lane whose process has seen no toy.
        draw: Draws a toy's events.
        told: What a reference is told of a truth.
    """
    if not recorded:
        return Repeatability("not_checked", "no toy has a valid answer")
    toy = SharedTable()
    try:
        return _compare(recorded, lane, lambda truth, who: _answer(truth, who, toy, draw, told))
    finally:
        toy.close()


def _compare(
    recorded: Sequence[Recorded], lane: Callable[[], Lane], ask: Callable[[Truth, Lane], Answer]
) -> Repeatability:
    fresh, largest = lane(), 0.0
    try:
        for entry in recorded:
            found = difference(entry.answer, ask(entry.truth, fresh))
            largest = max(largest, found)
            if found > TOLERANCE:
                return _explain(entry.truth, found, len(recorded), lane, ask)
    finally:
        fresh.close()
    return Repeatability("ok", n_toys=len(recorded), largest_difference=largest)


def _explain(
    truth: Truth,
    found: float,
    n_toys: int,
    lane: Callable[[], Lane],
    ask: Callable[[Truth, Lane], Answer],
) -> Repeatability:
    """Tell a method that remembers from one that draws random numbers."""
    firsts = []
    for _ in range(2):
        fresh = lane()
        try:
            firsts.append(ask(truth, fresh))
        finally:
            fresh.close()
    status = "not_repeatable" if difference(*firsts) > TOLERANCE else "order_dependent"
    much = f"by {found:.2g} widths of the interval" if found < np.inf else "and none where there was one"
    return Repeatability(status, f"{STATUSES[status]}, {much}", n_toys, min(found, _FAILED))


def _answer(
    truth: Truth,
    lane: Lane,
    toy: SharedTable,
    draw: Callable[[Truth], Events],
    told: Callable[[Truth], Mapping[str, float] | None],
) -> Answer:
    toy.write(feature_columns(draw(truth)))
    return lane.ask(toy, nuisances=told(truth))[0]


def difference(first: Answer, second: Answer) -> float:
    """Largest difference of mu_hat and the bounds, in widths of the first; infinite if one failed."""
    if first.status != second.status:
        return float("inf")
    if first.status != "ok":
        return 0.0
    largest = max(abs(getattr(first, key) - getattr(second, key)) for key in KEYS)
    return float(largest / ((first.upper - first.lower) or 1.0))
