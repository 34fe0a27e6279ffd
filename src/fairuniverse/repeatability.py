"""Whether an answer depends on the toy alone: some toys are asked again, in a process that has seen no other.

A submission whose process lives on can carry what it learns from one toy to the next, on purpose or by an
accident such as a fit that starts where the last one ended. Its intervals are then no intervals of one
measurement, and its score is not that of the method. What is asked again is chosen by a secret stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
"""Toys that are asked again."""

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


def doubted_places(n_toys: int, *, rng: np.random.Generator) -> list[int]:
    """Places of the toys to ask again, any of those that are shown; the one shown last comes first.

    A method that learns from toy to toy has learnt most by then, and the fresh process has seen none.
    """
    places = rng.choice(n_toys, min(N_AGAIN, n_toys), replace=False)
    return sorted(map(int, places), reverse=True)


def choose(recorded: Sequence[Recorded], *, rng: np.random.Generator) -> list[Recorded]:
    """Toys to ask again, of those with a valid answer in the order of presentation: the last comes first."""
    last = len(recorded) - 1
    others = rng.permutation(max(last, 0))[: N_AGAIN - 1]
    return [recorded[i] for i in (last, *others)] if recorded else []


@dataclass(frozen=True)
class Doubted:
    """A submission that is asked again.

    Attributes:
        recorded: Toys with valid answers, at least one, in the order in which they are shown.
        lane: Makes a lane whose process has seen no toy.
        done: What becomes of that lane in the end.
        told: What a reference is told of a truth.
    """

    recorded: Sequence[Recorded]
    lane: Callable[[], Lane]
    done: Callable[[Lane], object]
    told: Callable[[Truth], Mapping[str, float] | None]


def ask_again(submissions: Sequence[Doubted], *, draw: Callable[[Truth], Events]) -> list[Repeatability]:
    """Compare recorded answers of submissions with those of fresh processes, one of each.

    Args:
        submissions: Who is asked about what, each in its own order. A toy that several are asked about at the
            same point is drawn once.
        draw: Draws a toy's events.
    """
    toy = SharedTable()
    checks = [_Check(submission, toy) for submission in submissions]
    try:
        for number in range(max((len(s.recorded) for s in submissions), default=0)):
            asked: dict[tuple[int, int], list[_Check]] = {}
            for check in checks:
                if (entry := check.entry(number)) is not None:
                    asked.setdefault((entry.truth.i_mu, entry.truth.i_toy), []).append(check)
            for group in asked.values():
                _show(toy, number, group, draw)
        return [check.outcome() for check in checks]
    finally:
        for check in checks:
            check.close()
        toy.close()


def _show(toy: SharedTable, number: int, checks: Sequence[_Check], draw: Callable[[Truth], Events]) -> None:
    """Ask these about a toy that is the next of all of them."""
    entry = checks[0].entry(number)
    assert entry is not None
    toy.write(feature_columns(draw(entry.truth)))
    for check in checks:
        check.ask(number)


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
        self._lane, self._done = submission.lane, submission.done
        self._told, self._toy = submission.told, toy
        self._recorded = submission.recorded
        self._fresh: Lane | None = None
        self._largest = 0.0
        self._found: Repeatability | None = None

    def entry(self, number: int) -> Recorded | None:
        """What it is asked about at this point; None if there is nothing more to learn."""
        return self._recorded[number] if self._found is None and number < len(self._recorded) else None

    def ask(self, number: int) -> None:
        """Ask about the toy in memory."""
        entry = self._recorded[number]
        self._fresh = self._fresh or self._lane()
        found = difference(entry.answer, self._answer(entry.truth, self._fresh))
        self._largest = max(self._largest, found)
        if found > TOLERANCE:
            self._found = self._explain(entry.truth, found)

    def outcome(self) -> Repeatability:
        """What was found."""
        return self._found or Repeatability(
            "ok", n_toys=len(self._recorded), largest_difference=self._largest
        )

    def close(self) -> None:
        """Be done with the process."""
        if self._fresh:
            self._done(self._fresh)

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
        return Repeatability(status, message, len(self._recorded), min(found, _FAILED))

    def _answer(self, truth: Truth, lane: Lane) -> Answer:
        return lane.ask(self._toy, nuisances=self._told(truth))[0]


def difference(first: Answer, second: Answer) -> float:
    """Largest difference of mu_hat and the bounds, in widths of the first; infinite if one failed."""
    if first.status != second.status:
        return float("inf")
    if first.status != "ok":
        return 0.0
    largest = max(abs(getattr(first, key) - getattr(second, key)) for key in KEYS)
    return float(largest / ((first.upper - first.lower) or 1.0))
