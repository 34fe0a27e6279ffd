"""The order in which toys are shown to submissions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fairuniverse.seeding import generator

if TYPE_CHECKING:
    from fairuniverse.pseudo_experiments import PseudoExperiments, Truth

_N_DOUBTED = 5
"""Neighbours from which the toys are chosen that are asked again."""


class Presentation:
    """All toys of a benchmark, in an order that says nothing about them.

    Args:
        pseudo_experiments: The toys.
        seed: Seed of the benchmark.

    Attributes:
        toys: All toys, in the order in which they are shown.
        doubted: Places from which toys are asked again, chosen by a secret stream from the third quarter:
            late enough for a submission to have learnt from earlier toys, early enough for others to have
            work meanwhile.
    """

    def __init__(self, pseudo_experiments: PseudoExperiments, seed: int) -> None:
        truths = pseudo_experiments.truths()
        n = len(truths)
        order = generator(seed, "order of presentation").permutation(n)
        self.toys: Sequence[Truth] = [truths[i] for i in order]
        self._places = {(t.i_mu, t.i_toy): place for place, t in enumerate(self.toys)}
        end = max(3 * n // 4 - _N_DOUBTED, n // 2) + 1
        start = int(generator(seed, "toys asked again").integers(n // 2, end))
        self.doubted = range(start, min(start + _N_DOUBTED, n))

    def missing(self, answered: Iterable[tuple[int, int]]) -> list[int]:
        """Places of the toys whose indices are not among these."""
        known = {self._places[key] for key in answered if key in self._places}
        return sorted(set(range(len(self.toys))) - known)
