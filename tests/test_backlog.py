"""Blocks of what is left, and what becomes of those that are lost or given up."""

from collections import Counter

import pytest

from fairuniverse.backlog import MAX_TRIES, Backlog, cut
from fairuniverse.errors import ExecutorError
from fairuniverse.tasks import Block, Report
from fairuniverse.team import MAX_DEATHS, Patience

N_TOYS = 60


def make(missing, watched=(), n_toys=N_TOYS):
    """A backlog, and the patience with each submission."""
    patience = {number: Patience() for number in missing}
    return Backlog(n_toys, missing, patience, watched), patience


def toys(blocks):
    """Places of some blocks."""
    return [place for block in blocks for place in block.toys]


def reported(blocks, toy_s=1.0, **others):
    """What a process tells that answered them."""
    n = len(toys(blocks))
    statuses = {number: Counter(ok=n) for number in blocks[0].places}
    return Report(wall_time_s=toy_s * n, statuses=statuses, **others)


@pytest.mark.parametrize(("n_toys", "largest"), [(1, 1), (60, 5), (1000, 5), (10_000, 10), (100_000, 20)])
def test_blocks_of_a_run(n_toys, largest):
    """Every place once; large ones in large runs, and single toys in the end."""
    blocks = list(cut(n_toys))
    assert [place for block in blocks for place in block] == list(range(n_toys))
    sizes = [len(block) for block in blocks]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (largest, 1)
    assert sizes.count(1) <= 8


def test_whoever_goes_on_hands_out_the_same_blocks():
    """What an earlier session left in the middle of one is that block without what is there."""
    first, _ = make({0: range(60)})
    done = [first.next() for _ in range(3)]
    second, _ = make({0: sorted({*range(60)} - {*toys(done[1]), 2})})
    assert second.next() == [Block({0: [0, 1, 3, 4]})]
    assert second.next() == done[2]


@pytest.mark.parametrize(("toy_s", "largest"), [(0.0, 1000), (5e-4, 1000), (0.1, 10), (1.0, 5), (30.0, 5)])
def test_tasks_take_long_enough(toy_s, largest):
    """Blocks of fast toys go together, more each time; of the first nothing is known yet."""
    backlog, _ = make({0: range(5000)}, n_toys=5000)
    sizes = []
    while backlog:
        blocks = backlog.next()
        sizes.append(len(toys(blocks)))
        backlog.note(blocks, reported(blocks, toy_s))
    assert sum(sizes) == 5000
    assert sizes[0] == 5
    assert largest <= max(sizes) < largest + 5


def test_every_submission_is_asked_what_it_has_not_answered():
    """In the order of presentation, and together where they lack toys of the same block."""
    backlog, _ = make({0: [1, 2, 3], 4: [0, 2, 7]})
    assert [backlog.next() for _ in range(2)] == [
        [Block({0: [1, 2, 3], 4: [0, 2]})],
        [Block({4: [7]})],
    ]
    assert not backlog


def test_a_fast_submission_says_nothing_of_the_time_of_another():
    """Blocks of one task are of the same submissions."""
    backlog, _ = make({0: range(100), 1: range(50, 300)}, n_toys=300)
    found = []
    while backlog:
        blocks = backlog.next()
        assert len({tuple(block.places) for block in blocks}) == 1
        found.append((tuple(blocks[0].places), len(toys(blocks))))
        backlog.note(blocks, reported(blocks, 10.0 if 1 in blocks[0].places else 1e-6))
    assert found[:3] == [((0,), 5), ((0,), 10), ((0,), 20)]
    assert {size for askers, size in found if askers == (0, 1)} == {5}
    assert sum(size for _, size in found) == 300


def test_lost_blocks_are_done_again_each_alone():
    """Before the rest, and not for ever: those are named on which workers are lost."""
    backlog, _ = make({0: range(60)})
    fast = backlog.next()
    backlog.note(fast, reported(fast, 1e-6))
    lost = backlog.next()
    assert [block.toys for block in lost] == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert backlog.put_back(lost, "killed") == "places 5 to 14: killed"
    assert [backlog.next() for _ in range(2)] == [lost[:1], lost[1:]]
    backlog, _ = make({0: range(60)})
    for _ in range(MAX_TRIES - 1):
        backlog.put_back(backlog.next(), "killed")
    with pytest.raises(ExecutorError, match=r"pseudo-experiments 0 to 4, .* lost 3 times, the last: killed"):
        backlog.put_back(backlog.next(), "killed")


def test_nobody_asks_for_what_is_given_up():
    """Deaths in a row may come from several blocks, in any order; others are asked on."""
    backlog, patience = make({0: range(60), 1: range(60)}, watched=[58])
    first, second = backlog.next(), backlog.next()
    backlog.note(second, reported(second, deaths={1: [5, 6]}))
    assert patience[1].lost_at is None
    backlog.note(first, reported(first, deaths={1: [2, 3, 4]}))
    assert patience[1].lost_at == MAX_DEATHS + 1 == 6
    while backlog:
        blocks = backlog.next()
        assert {number for block in blocks for number in block.places} == {0}
        backlog.note(blocks, reported(blocks))
    assert backlog.n_given_up == 50
    assert backlog.is_watched_answered


def test_toys_that_nobody_is_asked_about_are_not_waited_for():
    """If the only submission is given up, nothing comes of what is left."""
    backlog, patience = make({0: range(60)}, watched=[40])
    patience[0].lost_at = 3
    assert not backlog.is_watched_answered
    assert toys(backlog.next()) == [0, 1, 2, 3]
    assert backlog.next() == []
    assert not backlog
    assert backlog.is_watched_answered
    assert backlog.n_given_up == 56
