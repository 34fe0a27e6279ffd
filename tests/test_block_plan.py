"""Which blocks of a sample are begun, and which of them make it up."""

import pytest

from fairuniverse.block_plan import BlockPlan


def produce(plan, n_workers, sizes):
    """Numbers of the blocks that are made, the one that was begun last always first done."""
    running, made = [], []
    while not plan.is_complete:
        running += plan.next_blocks(running, n_workers)
        assert len(running) <= n_workers
        process, number = running.pop()
        plan.add(process, number, sizes[number])
        made.append(number)
    return made


@pytest.mark.parametrize("n_workers", [1, 2, 7])
def test_a_sample_is_made_of_the_first_blocks(n_workers):
    """Whoever finishes first, and however many work: the same blocks, none twice, few too many."""
    sizes = [300, 0, 500, 100, 900, 200, *[400] * 40]
    plan = BlockPlan({"ztautau": 1700}, {"ztautau": {}})
    made = produce(plan, n_workers, sizes)
    assert plan.blocks == {"ztautau": [0, 1, 2, 3, 4]}
    assert len(made) == len(set(made)) <= 5 + n_workers


def test_gaps_are_filled_first():
    """A block that is missing among those that are there is needed, however many events the others have."""
    plan = BlockPlan({"ztautau": 1000}, {"ztautau": {0: 400, 2: 900, 3: 900}})
    assert not plan.is_complete
    assert list(plan.next_blocks([], 4)) == [("ztautau", 1)]
    assert list(plan.next_blocks([("ztautau", 1)], 4)) == []
    plan.add("ztautau", 1, 10)
    assert plan.is_complete
    assert plan.blocks == {"ztautau": [0, 1, 2]}


def test_workers_are_shared_out_as_far_as_events_are_likely_needed():
    """The next process has what the first leaves; nothing is begun for one that has its events."""
    n_events = {"ttbar": 300, "ztautau": 900, "diboson": 5000}
    plan = BlockPlan(n_events, {"ttbar": {0: 300}, "ztautau": {0: 200, 1: 200}, "diboson": {}})
    begun = list(plan.next_blocks([("ztautau", 2)], 8))
    assert begun[:2] == [("ztautau", 3), ("ztautau", 4)]
    assert begun[2:] == [("diboson", number) for number in range(5)]
    assert list(plan.next_blocks([("ztautau", 2), *begun], 8)) == []
    assert list(plan.next_blocks([("ztautau", 2), *begun], 2)) == []


def test_nothing_wanted():
    """No events need no blocks."""
    plan = BlockPlan({"ztautau": 0}, {"ztautau": {}})
    assert plan.is_complete
    assert plan.blocks == {"ztautau": []}
