"""Blocks that are cut from what is left, and what becomes of those that are lost or given up."""

from collections import Counter

import pytest

from fairuniverse.backlog import MAX_TRIES, Backlog
from fairuniverse.errors import ExecutorError
from fairuniverse.tasks import Report
from fairuniverse.team import MAX_DEATHS, Patience


def make(missing, watched=()):
    """A backlog, and the patience with each submission."""
    patience = {number: Patience() for number in missing}
    return Backlog(missing, patience, watched), patience


def sizes(backlog, n_workers, toy_s):
    """Toys of each block, where a toy takes so long."""
    found = []
    while backlog:
        block = backlog.next(n_workers)
        found.append(len(block.toys))
        backlog.note(block, Report(wall_time_s=toy_s * found[-1], statuses={0: Counter(ok=found[-1])}))
    return found


def test_blocks_shrink_towards_the_end():
    """Down to those that are just worth a task, so that workers end together; none is large."""
    found = sizes(make({0: range(1000)})[0], n_workers=4, toy_s=1.0)
    assert sum(found) == 1000
    assert found[0] == max(found) == 20
    assert found[-3:] == [1, 1, 1]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("toy_s", "largest"), [(0.0, 20), (5e-4, 1000), (1.0, 20), (30.0, 2), (100.0, 1)])
def test_blocks_take_neither_too_little_nor_too_much_time(toy_s, largest):
    """Toys that take no time go together, slow ones alone; of the first block nothing is known yet."""
    _, *found = sizes(make({0: range(3000)})[0], n_workers=1, toy_s=toy_s)
    assert max(found) == largest


def test_every_submission_is_asked_what_it_has_not_answered():
    """In the order of presentation, and together where they lack the same toys."""
    backlog, _ = make({0: [1, 2, 3], 4: [0, 2, 5]})
    blocks = []
    while backlog:
        blocks.append(backlog.next(1).places)
    assert blocks == [{4: [0]}, {0: [1]}, {0: [2], 4: [2]}, {0: [3]}, {4: [5]}]


def test_a_lost_block_is_done_again_toy_by_toy():
    """Before the rest, and not for ever: the toy is named on which workers are lost."""
    backlog, _ = make({0: range(60)})
    lost = backlog.next(1)
    assert lost.toys == list(range(15))
    assert backlog.put_back(lost, "killed") == "places 0 to 14: killed"
    again = [backlog.next(1).toys for _ in range(16)]
    assert again[:15] == [[i] for i in range(15)]
    assert again[15][0] == 15
    backlog, _ = make({0: range(3, 10)})
    for _ in range(MAX_TRIES - 1):
        backlog.put_back(backlog.next(1), "killed")
    with pytest.raises(ExecutorError, match="place 3 was lost 3 times, the last: killed"):
        backlog.put_back(backlog.next(1), "killed")


def test_answers_that_were_written_before_a_loss_are_not_asked_for_again():
    """Of a block, those of one submission, or all of them."""
    backlog, _ = make({0: range(8), 1: range(8)}, watched=[1])
    backlog.put_back(backlog.next(1), "killed", answered=[1])
    assert [backlog.next(1).places for _ in range(2)] == [{0: [0]}, {0: [1]}]
    backlog, _ = make({0: range(8)}, watched=[1])
    lost = backlog.next(1)
    assert lost.toys == [0, 1]
    assert "of which all answers are there: killed" in backlog.put_back(lost, "killed", answered=[0])
    assert backlog.is_watched_answered
    assert backlog.next(1).toys[0] == 2


def test_blocks_grow_slowly_and_are_of_one_kind():
    """A fast submission says nothing of the time that another takes."""
    backlog, _ = make({0: range(100), 1: range(50, 300)})
    found = []
    while backlog:
        block = backlog.next(1)
        toy_s = 10.0 if 1 in block.places else 1e-6
        found.append((tuple(block.places), len(block.toys)))
        statuses = {number: Counter(ok=1) for number in block.places}
        backlog.note(block, Report(wall_time_s=toy_s * len(block.toys), statuses=statuses))
    assert found[:2] == [((0,), 20), ((0,), 30)]
    assert [size for askers, size in found if askers == (0, 1)][1:] == [6] * 5
    assert sum(size for _, size in found) == 300


def test_nobody_asks_for_what_is_given_up():
    """Deaths in a row may come from several blocks, in any order; others are asked on."""
    backlog, patience = make({0: range(100), 1: range(100)}, watched=[98])
    first, second = backlog.next(8), backlog.next(8)
    assert (first.toys, second.toys) == ([0, 1, 2], [3, 4, 5])
    backlog.note(second, Report(deaths={1: [3, 4]}))
    assert patience[1].lost_at is None
    backlog.note(first, Report(deaths={1: [0, 1, 2]}))
    assert patience[1].lost_at == MAX_DEATHS - 1 == 4
    while backlog:
        block = backlog.next(10)
        assert set(block.places) == {0}
        backlog.note(block, Report())
    assert backlog.n_given_up == 94
    assert backlog.is_watched_answered


def test_toys_that_nobody_is_asked_about_are_not_waited_for():
    """If the only submission is given up, no block comes of them."""
    backlog, patience = make({0: range(50)}, watched=[40])
    patience[0].lost_at = 3
    block = backlog.next(1)
    assert block.toys == [0, 1, 2, 3]
    backlog.note(block, Report())
    assert not backlog.is_watched_answered
    while backlog:
        assert backlog.next(1) is None
    assert backlog.is_watched_answered
    assert backlog.n_given_up == 46
