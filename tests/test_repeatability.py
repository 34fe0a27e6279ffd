"""Which toys are asked again, in whose turn, and how parts of the check become one answer."""

import numpy as np
import pytest

from fairuniverse.distribution import share_out
from fairuniverse.isolation.answers import Answer
from fairuniverse.pseudo_experiments import Truth
from fairuniverse.repeatability import Recorded, Repeatability, choose, in_turn, together


def recorded(n):
    """Toys with answers, in the order of presentation."""
    return [Recorded(Truth(0, i, 1.0, {}), Answer("ok", "", 1.0, 0.5, 1.5)) for i in range(n)]


def test_the_last_toy_comes_first():
    """Four toys are chosen, each once, the last before the others; of fewer, all."""
    chosen = choose(recorded(20), rng=np.random.default_rng(0))
    keys = [r.key for r in chosen]
    assert keys[0] == (0, 19)
    assert len(set(keys)) == len(keys) == 4
    assert [r.key for r in choose(recorded(1), rng=np.random.default_rng(0))] == [(0, 0)]
    assert choose([], rng=np.random.default_rng(0)) == []


def test_toys_in_turn():
    """What several submissions are asked is drawn once, and each is asked its own first toy first."""
    assert in_turn([[9, 3, 8], [7, 3, 1, 8]]) == [9, 7, 3, 8, 1]
    assert in_turn([[], [2]]) == [2]
    assert in_turn([]) == []


def test_parts_together():
    """Numbers of toys add up, the largest difference counts, and what is wrong in any part is wrong."""
    parts = [
        Repeatability("ok", n_toys=2, largest_difference=1e-5),
        Repeatability("order_dependent", "why", 2, 0.4),
    ]
    assert together(parts) == Repeatability("order_dependent", "why", 4, 0.4)
    assert together(parts[:1] * 2) == Repeatability("ok", "", 4, 1e-5)


@pytest.mark.parametrize(
    ("n_submissions", "n_workers", "n_parts"), [(1, 1, 1), (2, 1, 1), (2, 2, 2), (1, 64, 4), (12, 64, 48)]
)
def test_shares(n_submissions, n_workers, n_parts):
    """One worker has all in one part, many have a toy of a submission each; nothing is asked twice."""
    toys = {n: recorded(4) for n in range(n_submissions)}
    shares = share_out(toys, n_workers)
    assert len(shares) == n_parts
    asked = sorted((n, r.key) for share in shares for n, part in share.items() for r in part)
    assert asked == sorted((n, r.key) for n, part in toys.items() for r in part)


def test_few_submissions_are_shared_out_by_toys_and_many_by_submission():
    """With two workers, two submissions are asked about two toys in each part, twelve about all four."""
    few, many = (share_out({n: recorded(4) for n in range(k)}, 2) for k in (2, 12))
    assert [sorted((n, len(toys)) for n, toys in share.items()) for share in few] == [[(0, 2), (1, 2)]] * 2
    assert [len(share) for share in many] == [6, 6]
    assert all(len(toys) == 4 for share in many for toys in share.values())


def test_submissions_with_fewer_toys():
    """One that has answered one toy only is in one part; none that has answered nothing makes a part."""
    shares = share_out({0: recorded(4), 5: recorded(1)}, 4)
    assert sum(5 in share for share in shares) == 1
    assert share_out({}, 4) == []
