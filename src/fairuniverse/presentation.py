"""The order in which toys are shown to submissions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fairuniverse.seeding import generator

if TYPE_CHECKING:
    from fairuniverse.pseudo_experiments import PseudoExperiments, Truth


class Presentation:
    """All toys of a benchmark, in an order that says nothing about them.

    Args:
        pseudo_experiments: The toys.
        seed: Seed of the benchmark.

    Attributes:
        toys: All toys, in the order in which they are shown.
    """

    def __init__(self, pseudo_experiments: PseudoExperiments, seed: int) -> None:
        truths = pseudo_experiments.truths()
        order = generator(seed, "order of presentation").permutation(len(truths))
        self.toys: Sequence[Truth] = [truths[i] for i in order]
        self._places = {(t.i_mu, t.i_toy): place for place, t in enumerate(self.toys)}

    def missing(self, answered: Iterable[tuple[int, int]]) -> list[int]:
        """Places of the toys whose indices are not among these."""
        known = {self._places[key] for key in answered if key in self._places}
        return sorted(set(range(len(self.toys))) - known)
