"""Tests of fairuniverse.seeding."""

import numpy as np
import pytest
from hypothesis import given

from fairuniverse.errors import InvalidDataError
from fairuniverse.seeding import Streams, counter_key, generator
from strategies import indices, seeds

GOLDEN_INTEGERS = [1546547283, 1044573527, 65933757]
GOLDEN_KEY = (1812220424345341936, 16671653319171297363)


@given(seeds, indices, indices)
def test_streams_depend_on_their_key_alone(seed, i, j):
    """The same key gives the same stream, another purpose or index another one."""
    same = {generator(seed, "mu", i, j).random() for _ in range(2)}
    other = {
        generator(seed, "rows", i, j).random(),
        generator(seed, "mu", j + 1, i).random(),
        generator(seed, "mu", i).random(),
        generator(seed + 1, "mu", i, j).random(),
    }
    assert len(same) == 1
    assert not same & other


def test_neighbouring_seeds_do_not_repeat_streams():
    """Toy k of seed s is not toy k - 1 of seed s + 1, as it is where seeds are added."""
    draws = np.array([[generator(s, "toy", k).random() for k in range(40)] for s in range(40)])
    assert len(np.unique(draws)) == draws.size
    # |r| < 0.145 fails by chance for one of 2 x 1521 pairs' sample in 1e-8: sigma of r is 1/39
    assert abs(np.corrcoef(draws[1:, :-1].ravel(), draws[:-1, 1:].ravel())[0, 1]) < 0.145


def test_streams_of_one_unit_know_their_indices():
    """Streams only adds the indices of the unit to the purpose."""
    streams = Streams(5, 1, 2)
    assert streams.rng("rows").random() == generator(5, "rows", 1, 2).random()
    assert streams.key("rows") == counter_key(5, "rows", 1, 2)


def test_values_are_those_of_the_first_release():
    """Published seeds must mean the same toys for ever."""
    assert generator(1, "mu", 0).integers(0, 2**32, 3).tolist() == GOLDEN_INTEGERS
    assert counter_key(1, "rows", 0, 0) == GOLDEN_KEY


@pytest.mark.parametrize("key", [(-1, "mu"), (1, "mu", -2)])
def test_negative_keys_are_refused(key):
    """Negative seeds or indices are refused."""
    with pytest.raises(InvalidDataError, match="must not be negative"):
        generator(*key)
