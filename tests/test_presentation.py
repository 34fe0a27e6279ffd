"""The order in which toys are shown."""

from fairuniverse.presentation import Presentation
from fairuniverse.pseudo_experiments import Truth


class Toys:
    """So many toys of one set."""

    def __init__(self, n):
        self.n = n

    def truths(self):
        """One for each, in order."""
        return [Truth(0, i, 1.0, {}) for i in range(self.n)]


def test_the_order_says_nothing():
    """Every toy once, in an order that follows from the seed; what is missing has places in it."""
    first, again, other = (Presentation(Toys(60), seed) for seed in (1, 1, 2))
    assert [t.i_toy for t in first.toys] == [t.i_toy for t in again.toys]
    assert [t.i_toy for t in first.toys] != [t.i_toy for t in other.toys]
    assert sorted(t.i_toy for t in first.toys) == list(range(60))
    answered = [(0, t.i_toy) for t in first.toys[3:]]
    assert first.missing(answered) == [0, 1, 2]
