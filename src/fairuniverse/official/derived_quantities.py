"""Derived features under the name that the public package gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairuniverse.official.systematics import apply_shift
from fairuniverse.training import attached_training_set

if TYPE_CHECKING:
    import pandas as pd


def DER_data(data: pd.DataFrame) -> pd.DataFrame:
    """Write the derived features of a table into it, computed from its primary ones; no event is dropped."""
    derived, _ = apply_shift(data, {}, select=False)
    for feature in attached_training_set().simulator.schema.features:
        if feature.is_derived:
            data[feature.name] = derived[feature.name].to_numpy()
    return data
