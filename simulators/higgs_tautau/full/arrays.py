"""Types of arrays, and sums over groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def sums_by(group: Integers, values: Floats, n_groups: int) -> Floats:
    """Sum of values in each group, shape (n_groups,)."""
    sums: Floats = np.bincount(group, values, n_groups).astype(np.float64)
    return sums
