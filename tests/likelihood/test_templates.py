"""Templates from weighted events."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import Templates, fill_templates
from fairuniverse.protocols import Process

PROCESSES = (Process("signal", 3.0, is_signal=True), Process("z", 10.0))


def test_templates_hold_sums_of_weights_and_of_squares():
    """Yields are sums of weights, variances sums of squared weights."""
    templates = fill_templates(PROCESSES, [0, 1, 1, 0], [0, 1, 1, 1], [1.0, 2.0, 3.0, 4.0], 2)
    assert templates.yields.tolist() == [[1.0, 0.0], [4.0, 5.0]]
    assert templates.variances.tolist() == [[1.0, 0.0], [16.0, 13.0]]
    assert templates.relative_error == pytest.approx([np.sqrt(17) / 5, np.sqrt(13) / 5])


def test_effective_counts_are_those_of_equal_weights():
    """N events of equal weight count N; an empty cell counts none."""
    templates = fill_templates(PROCESSES, [0] * 7, [1] * 7, [0.3] * 7, 1)
    assert templates.effective_counts[:, 0] == pytest.approx([0.0, 7.0])


def test_negative_and_infinite_yields_are_refused():
    """Weights that sum to less than nothing, or to NaN, raise."""
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(InvalidDataError, match="finite and not negative"):
            Templates(PROCESSES, np.array([[1.0], [bad]]), np.zeros((2, 1)))


def test_shapes_that_do_not_match_are_refused():
    """Yields need one row per process, variances the same shape."""
    with pytest.raises(InvalidDataError, match="n_processes"):
        Templates(PROCESSES, np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(InvalidDataError, match="differ in shape"):
        Templates(PROCESSES, np.ones((2, 2)), np.ones((2, 3)))
