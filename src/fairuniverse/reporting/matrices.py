"""Matrices of correlations as heat maps: of a sample beside the reference, and the pulls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairuniverse.comparison import Correlations
from fairuniverse.reporting import marks
from fairuniverse.reporting.marks import Spec
from fairuniverse.reporting.page import Figure, Panel, Table, plain_rows, with_error
from fairuniverse.reporting.theme import BLUE, VERMILLION

CELL = 14
"""Side of a cell in pixels."""

NAMES_WIDTH, LEGEND_HEIGHT = 190, 70
"""Room for what stands beside and below the cells, in pixels."""

MAX_PULL = 5.0
"""Where the colours of the pulls end."""

N_LISTED = 10
"""Pairs of features that the table lists."""


def correlation_figure(process: str, reference: str, sample: str, matrices: Correlations) -> Figure:
    """Matrices of one process in one sample and the reference, and the pulls between them.

    Args:
        process: Name of the process.
        reference: Name of the reference.
        sample: Name of the sample.
        matrices: Its matrices.
    """
    is_below = np.tri(len(matrices.features), k=-1, dtype=bool)
    both = np.where(is_below, matrices.rho_sim, np.where(is_below.T, matrices.rho_ref, np.nan))
    side_by_side = Panel(
        f"{sample} below the diagonal, {reference} above",
        _heat_map(matrices.features, both, 1.0),
    )
    pulls = Panel("pulls", _heat_map(matrices.features, np.where(is_below, matrices.pulls, np.nan), MAX_PULL))
    return Figure(f"{process}, {sample}", "", (side_by_side, pulls), table=_farthest(matrices), is_wide=True)


def _farthest(matrices: Correlations) -> Table:
    """The pairs whose correlations are farthest apart."""
    rows = (
        (
            pair.first,
            pair.second,
            f"{pair.rho_sim:.3f}",
            f"{pair.rho_ref:.3f}",
            with_error(pair.rho_sim - pair.rho_ref, pair.error),
        )
        for pair in islice(matrices.pairs(), N_LISTED)
    )
    header = ("feature", "and", "simulated", "reference", "difference")
    return Table(header, plain_rows(rows), kind="numbers")


def _heat_map(features: Sequence[str], matrix: NDArray[np.float64], limit: float) -> Spec:
    """A cell for each pair of features that has a value."""
    i, j = np.nonzero(np.isfinite(matrix))
    values = matrix[i, j]
    numbers = [str(k + 1) for k in range(len(features))]
    names = [f"{name}  {n}" for name, n in zip(features, numbers, strict=True)]
    frame = pd.DataFrame(
        {
            "row": [names[int(k)] for k in i],
            "column": [numbers[int(k)] for k in j],
            "value": np.clip(values, -limit, limit).round(3),
            "hint": [
                f"{features[int(a)]}, {features[int(b)]}: {v:.2f}"
                for a, b, v in zip(i, j, values, strict=True)
            ],
        }
    )
    return marks.panel(
        marks.layer(
            frame,
            {"type": "rect"},
            x=marks.bands("column", numbers, labelAngle=0, labelFontSize=9),
            y=marks.bands("row", names),
            color=marks.diverging("value", limit, BLUE, VERMILLION),
            description=marks.column("hint"),
        ),
        width=CELL * len(features) + NAMES_WIDTH,
        height=CELL * len(features) + LEGEND_HEIGHT,
    )
