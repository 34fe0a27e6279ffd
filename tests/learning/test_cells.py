"""Cells in the space of scores."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.learning import ScoreCells, score_directions


def scores(n=20_000, seed=1):
    """Scores of mu and of two nuisances, heavy-tailed as those of a rare signal, and weights."""
    rng = np.random.default_rng(seed)
    t = rng.standard_normal((n, 3)) * [0.02, 0.05, 0.1]
    t[:, 0] += 0.1 * rng.standard_exponential(n) ** 2
    return t, rng.uniform(0.5, 1.5, n)


def binned_information(cells, t, w):
    """Fisher information that the counts in the cells keep."""
    cell = cells(t)
    n = np.bincount(cell, w, minlength=cells.n_cells)
    means = np.array([np.bincount(cell, w * c, minlength=cells.n_cells) for c in t.T]) / np.sqrt(n)
    return means @ means.T


def test_cells_keep_the_information():
    """From 200 cells the error of mu, two nuisances profiled, is nearly that of the scores themselves."""
    t, w = scores()
    full = (t * w[:, None]).T @ t
    lost = []
    for n_cells in (20, 200):
        cells = ScoreCells.fit(t, w, n_cells=n_cells)
        kept = binned_information(cells, t, w)
        lost.append(np.sqrt(np.linalg.inv(kept)[0, 0] / np.linalg.inv(full)[0, 0]) - 1)
    assert 0 < lost[1] < lost[0]
    assert lost[1] < 0.02
    # Equal cells in one direction alone say nothing of the other parameters.
    assert np.linalg.cond(kept / np.sqrt(np.outer(np.diag(full), np.diag(full)))) < 100


def test_cells_do_not_depend_on_the_units_of_a_nuisance():
    """A nuisance in other units has other scores, and the same cells."""
    t, w = scores(5000)
    cells = ScoreCells.fit(t, w, n_cells=50, constraints=[0, 1, 1])
    scaled = ScoreCells.fit(t * [1, 1, 100], w, n_cells=50, constraints=[0, 1, 10_000])
    assert np.array_equal(cells(t), scaled(t * [1, 1, 100]))


def test_cells_can_be_found_in_their_own_space():
    """Scores already brought there have the same cells, and single precision moves few events."""
    t, w = scores(5000)
    points = t @ score_directions(t, w)
    cells, same = (
        ScoreCells.fit(t, w, n_cells=50),
        ScoreCells.fit(points, w, n_cells=50, directions=np.eye(4)),
    )
    assert np.array_equal(cells(t), same(points))
    assert np.mean(same(points) != same(points.astype(np.float32))) < 1e-3


def test_poor_cells_join_their_neighbours():
    """After merging no cell is poor, sums are the same, and an event goes where its cell went."""
    t, w = scores(5000)
    fine = ScoreCells.fit(t, w, n_cells=100)
    counts = np.bincount(fine(t), minlength=fine.n_cells).astype(float)
    merged = fine.without_poor(counts, 40)
    assert merged.n_cells == (counts >= 40).sum() < fine.n_cells
    assert np.array_equal(merged.merge(counts), np.bincount(merged(t), minlength=merged.n_cells))
    assert merged.merge(counts).min() >= 40
    assert fine.without_poor(counts, np.inf).n_cells == 1


def test_equal_seeds_give_equal_cells():
    """The same seed gives the same centres to the last bit, another one others."""
    t, w = scores(3000)
    first, again, other = (ScoreCells.fit(t, w, n_cells=20, seed=s).centres for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_events_have_no_cells():
    """An empty table gives an empty answer."""
    t, w = scores(1000)
    assert ScoreCells.fit(t, w, n_cells=5)(np.empty((0, 3))).shape == (0,)


@pytest.mark.parametrize(
    ("column", "message"), [(0.0, "leave one out"), (np.nan, "finite numbers"), (np.inf, "finite numbers")]
)
def test_useless_scores_are_refused(column, message):
    """Scores that are no numbers, and a parameter without any effect or constraint, are named."""
    t, w = scores(1000)
    t[:, 1] = column
    with pytest.raises(InvalidDataError, match=message):
        ScoreCells.fit(t, w)
