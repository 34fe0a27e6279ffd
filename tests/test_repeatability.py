"""Which toys are asked again, in whose turn, and how parts of the check become one answer."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from fairuniverse.doubts import share_out
from fairuniverse.events import Events, Feature, Schema
from fairuniverse.isolation.answers import Answer
from fairuniverse.pseudo_experiments import Truth
from fairuniverse.repeatability import (
    Doubted,
    Recorded,
    Repeatability,
    ask_again,
    choose,
    doubted_places,
    together,
)


def recorded(n):
    """Toys with answers, in the order of presentation."""
    return [Recorded(Truth(0, i, 1.0, {}), Answer("ok", "", 1.0, 0.5, 1.5)) for i in range(n)]


def key(entry):
    """Which toy it is."""
    return entry.truth.i_mu, entry.truth.i_toy


def test_the_last_toy_comes_first():
    """Four toys are chosen, each once, the last before the others; of fewer, all."""
    chosen = choose(recorded(20), rng=np.random.default_rng(0))
    keys = [key(r) for r in chosen]
    assert keys[0] == (0, 19)
    assert len(set(keys)) == len(keys) == 4
    assert [key(r) for r in choose(recorded(1), rng=np.random.default_rng(0))] == [(0, 0)]
    assert choose([], rng=np.random.default_rng(0)) == []


def test_any_toy_may_be_asked_again():
    """A method that is honest at first, or in the end, or now and then, has four chances to be found.

    False alarm 60 (1 - 4 / 60)^300 = 6e-8.
    """
    found = [doubted_places(60, rng=np.random.default_rng(seed)) for seed in range(300)]
    assert all(places == sorted(set(places), reverse=True) and len(places) == 4 for places in found)
    assert {place for places in found for place in places} == set(range(60))
    assert doubted_places(2, rng=np.random.default_rng(0)) == [1, 0]


class Answering:
    """A lane whose answers depend on the toys before if it remembers; it notes what it is shown."""

    def __init__(self, shown, remembers):
        self.remembers = remembers
        self.seen = []
        shown.append(self.seen)

    def ask(self, toy, nuisances):
        """The answer of `recorded`, or another after the first toy."""
        shift = 0.1 * len(self.seen) if self.remembers else 0.0
        self.seen.append(int(nuisances["toy"]))
        return Answer("ok", "", 1.0 + shift, 0.5 + shift, 1.5 + shift), None

    def close(self):
        """Nothing to end."""


def doubted(toys, remembers=False):
    """A submission that is asked about these toys, and what its processes are shown."""
    shown, entries = [], recorded(100)
    lane = functools.partial(Answering, shown, remembers)
    return Doubted(
        [entries[i] for i in toys], lane, Answering.close, lambda truth: {"toy": truth.i_toy}
    ), shown


def asked(*submissions):
    """Outcome for each, what its processes were shown, and the toys drawn."""
    drawn = []

    def draw(truth):
        drawn.append(truth.i_toy)
        return Events(Schema((Feature("x", "", "A number."),)), np.zeros((1, 1), np.float32))

    found = ask_again([submission for submission, _ in submissions], draw=draw)
    return found, [shown for _, shown in submissions], drawn


def test_each_submission_is_asked_in_its_own_order():
    """A toy that several have next is drawn once; nobody is asked another's before its own first."""
    lists = [[9, 3, 8], [9, 3, 8], [3], [7, 9]]
    found, shown, drawn = asked(*map(doubted, lists))
    assert shown == [[toys] for toys in lists]
    assert drawn == [9, 3, 7, 3, 9, 8]
    assert [(f.status, f.n_toys) for f in found] == [("ok", len(toys)) for toys in lists]


def test_one_that_remembers_is_found_beside_honest_ones():
    """It is asked no more, and two fresh processes agree with each other; the other is asked to the end."""
    (honest, hostile), shown, _ = asked(doubted([9, 3, 8]), doubted([9, 3, 8], remembers=True))
    assert (honest.status, hostile.status) == ("ok", "order_dependent")
    assert hostile.largest_difference == pytest.approx(0.1)
    assert shown == [[[9, 3, 8]], [[9, 3], [3], [3]]]


def test_a_fresh_process_may_be_kept():
    """Whoever lends it says what becomes of it, once."""
    kept, (honest, _) = [], doubted([9, 3])
    found, _, _ = asked((replace(honest, done=kept.append), []))
    assert [f.status for f in found] == ["ok"]
    assert [lane.seen for lane in kept] == [[9, 3]]


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
    asked = sorted((n, key(r)) for share in shares for n, part in share.items() for r in part)
    assert asked == sorted((n, key(r)) for n, part in toys.items() for r in part)


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
