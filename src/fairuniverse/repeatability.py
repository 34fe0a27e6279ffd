"""Whether an answer depends on the toy alone: some toys are asked again, in a process that has seen no other.

A submission whose process lives on can carry what it learns from one toy to the next, on purpose or by an
accident such as a fit that starts where the last one ended. Its intervals are then no intervals of one
measurement, and its score is not that of the method. What is asked again is chosen by a secret stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fairuniverse.isolation.answers import KEYS, Answer
from fairuniverse.isolation.process import feature_columns
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.team import Lane

if TYPE_CHECKING:
    from fairuniverse.events import Events
    from fairuniverse.pseudo_experiments import Truth

T = TypeVar("T")

Key = tuple[int, int]
"""Which toy: its set, and its number in the set."""

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

    @property
    def key(self) -> Key:
        """Which toy it is."""
        return _key(self.truth)


def choose(recorded: Sequence[Recorded], *, rng: np.random.Generator) -> list[Recorded]:
    """Toys to ask again, of those with a valid answer in the order of presentation: the last comes first.

    A method that learns from toy to toy has learnt most by then, and the fresh process has seen none.
    """
    last = len(recorded) - 1
    others = rng.permutation(max(last, 0))[: N_AGAIN - 1]
    return [recorded[i] for i in (last, *others)] if recorded else []


@dataclass(frozen=True)
class Doubted:
    """A submission that is asked again.

    Attributes:
        recorded: Toys with valid answers, at least one, in the order in which they are shown.
        lane: Makes a lane whose process has seen no toy.
        told: What a reference is told of a truth.
    """

    recorded: Sequence[Recorded]
    lane: Callable[[], Lane]
    told: Callable[[Truth], Mapping[str, float] | None]


def ask_again(submissions: Sequence[Doubted], *, draw: Callable[[Truth], Events]) -> list[Repeatability]:
    """Compare recorded answers of submissions with those of fresh processes, one of each.

    Args:
        submissions: Who is asked about what; a toy is drawn once for all of them.
        draw: Draws a toy's events.
    """
    toy, truths = SharedTable(), {r.key: r.truth for s in submissions for r in s.recorded}
    checks = [_Check(submission, toy) for submission in submissions]
    try:
        for key in in_turn([[r.key for r in s.recorded] for s in submissions]):
            asked = [check for check in checks if check.is_about(truths[key])]
            if asked:
                toy.write(feature_columns(draw(truths[key])))
            for check in asked:
                check.ask(truths[key])
        return [check.outcome() for check in checks]
    finally:
        for check in checks:
            check.close()
        toy.close()


def in_turn(lists: Sequence[Sequence[T]]) -> list[T]:
    """The first of each list, then the second of each, and so on; what comes again is left out."""
    return list(dict.fromkeys(x for column in zip_longest(*lists) for x in column if x is not None))


def together(parts: Sequence[Repeatability]) -> Repeatability:
    """Outcome of a check that was done in parts, each with a fresh process of its own."""
    first = next((part for part in parts if part.status != "ok"), parts[0])
    largest = max(part.largest_difference for part in parts)
    return replace(first, n_toys=sum(part.n_toys for part in parts), largest_difference=largest)


class _Check:
    """The check of one submission.

    Args:
        submission: Who is asked.
        toy: Memory that holds the toy.
    """

    def __init__(self, submission: Doubted, toy: SharedTable) -> None:
        self._lane, self._told, self._toy = submission.lane, submission.told, toy
        self._answers = {entry.key: entry.answer for entry in submission.recorded}
        self._fresh: Lane | None = None
        self._largest = 0.0
        self._found: Repeatability | None = None

    def is_about(self, truth: Truth) -> bool:
        """Whether it has something to learn from this toy."""
        return self._found is None and _key(truth) in self._answers

    def ask(self, truth: Truth) -> None:
        """Ask about the toy in memory."""
        self._fresh = self._fresh or self._lane()
        found = difference(self._answers[_key(truth)], self._answer(truth, self._fresh))
        self._largest = max(self._largest, found)
        if found > TOLERANCE:
            self._found = self._explain(truth, found)

    def outcome(self) -> Repeatability:
        """What was found."""
        return self._found or Repeatability("ok", n_toys=len(self._answers), largest_difference=self._largest)

    def close(self) -> None:
        """End the process."""
        if self._fresh:
            self._fresh.close()

    def _explain(self, truth: Truth, found: float) -> Repeatability:
        """Tell a method that remembers from one that draws random numbers."""
        firsts = []
        for _ in range(2):
            fresh = self._lane()
            try:
                firsts.append(self._answer(truth, fresh))
            finally:
                fresh.close()
        status = "not_repeatable" if difference(*firsts) > TOLERANCE else "order_dependent"
        much = f"by {found:.2g} widths of the interval" if found < np.inf else "and none where there was one"
        message = f"{STATUSES[status]}, {much}"
        return Repeatability(status, message, len(self._answers), min(found, _FAILED))

    def _answer(self, truth: Truth, lane: Lane) -> Answer:
        return lane.ask(self._toy, nuisances=self._told(truth))[0]


def _key(truth: Truth) -> Key:
    return truth.i_mu, truth.i_toy


def difference(first: Answer, second: Answer) -> float:
    """Largest difference of mu_hat and the bounds, in widths of the first; infinite if one failed."""
    if first.status != second.status:
        return float("inf")
    if first.status != "ok":
        return 0.0
    largest = max(abs(getattr(first, key) - getattr(second, key)) for key in KEYS)
    return float(largest / ((first.upper - first.lower) or 1.0))
