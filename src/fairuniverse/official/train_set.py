"""The training events in the form that the public challenge gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.seeding import generator
from fairuniverse.training import attached_training_set

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.events import Events


class OfficialTrainSet:
    """The function ``get_train_set`` of the public challenge, over the training set of this process.

    Events are nominal, mixed and not yet selected: `systematics` without arguments selects. Called without
    arguments it returns what the 2024 challenge did, a dict with ``data`` (features), ``weights``,
    ``labels``, ``detailed_labels`` and ``settings``; with arguments, or if `is_table`, one table of features,
    weights and labels, as the PyPI package HiggsML 0.1.5 does.

    Weights of a subset are scaled up again process by process, so that each keeps its expected yield; the
    public package scales by the total, which biases mu.

    Args:
        is_table: Whether to return a table in any case.
    """

    def __init__(self, *, is_table: bool = False) -> None:
        self.is_table = is_table

    def __call__(
        self,
        train_size: float | None = None,
        selected_indices: Sequence[int] | NDArray[np.integer] | None = None,
    ) -> dict[str, Any] | pd.DataFrame:
        """Training events, all or a subset.

        Args:
            train_size: How many events (int) or which share of them (float), chosen at random, the same ones
                at every call.
            selected_indices: Which events.

        Raises:
            InvalidDataError: More events are asked for than there are.
        """
        training = attached_training_set()
        events = replace(training.events, record=None)
        # Tables of the challenge are mixed, and methods take parts of them by index.
        order = generator(training.seed, "official order").permutation(len(events))
        rows = _rows(len(events), train_size, selected_indices)
        table = _table(_subset(events, order[rows]))
        is_part = train_size is not None or selected_indices is not None
        return table if self.is_table or is_part else _as_dict(table)


def _rows(
    n_events: int, train_size: float | None, selected: Sequence[int] | NDArray[np.integer] | None
) -> NDArray[np.integer] | slice:
    if train_size is not None:
        # As there: a float is a share, an int a number of events that may be too large.
        n = int(train_size * n_events) if isinstance(train_size, float) else min(train_size, n_events)
        if not 0 <= n <= n_events:
            raise InvalidDataError(f"train_size = {train_size} is not a share between 0 and 1")
        return slice(n)
    if selected is None:
        return slice(None)
    rows = np.sort(np.asarray(selected, dtype=np.int64))
    if len(rows) and not (rows[0] >= 0 and rows[-1] < n_events):
        raise InvalidDataError(
            f"selected_indices go from {rows[0]} to {rows[-1]}, but there are {n_events} training events"
        )
    return rows


def _subset(events: Events, rows: NDArray[np.integer]) -> Events:
    """Some or all of the events, the weights of each process as large as before."""
    subset = events.select(rows)
    assert subset.weights is not None
    assert subset.process is not None
    before, after = events.sum_weights(), subset.sum_weights()
    scale = np.array([before[p] / after[p] if after[p] > 0 else 1.0 for p in subset.processes])
    subset.weights[:] *= scale[subset.process]
    return subset


def _table(events: Events) -> pd.DataFrame:
    import pandas as pd

    training = attached_training_set()
    assert events.process is not None
    table = pd.DataFrame(events.features.T.copy(), columns=list(events.schema.names))
    table["weights"] = events.weights
    table["detailed_labels"] = np.array(events.processes, dtype=object)[events.process]
    table["labels"] = np.array([float(p.is_signal) for p in training.processes])[events.process]
    return table


def _as_dict(table: pd.DataFrame) -> dict[str, Any]:
    columns = {name: table.pop(name).to_numpy() for name in ("labels", "weights", "detailed_labels")}
    nominal = {p.name: p.nominal for p in attached_training_set().simulator.nuisances}
    return {"data": table, **columns, "settings": {"ground_truth_mu": 1.0, **nominal}}
