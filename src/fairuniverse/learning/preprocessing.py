"""Preprocessing: from a table of features to numbers of order one that a network likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError

if TYPE_CHECKING:
    import pandas as pd

_TAIL_QUANTILES = (0.5, 0.9, 0.999)
_MAX_TAIL = 4.2
"""Distance of the 99.9 % quantile from the median over that of the 90 % quantile: 2.4 for a normal
distribution, 3.9 for an exponential one. Columns with a heavier tail are taken the logarithm of."""

_AZIMUTH = "phi"

_CHUNK = 1 << 13
"""Events prepared at once: their inputs fit into the cache of a core."""

_MIN_SIGMA = 1e-6


@dataclass(frozen=True)
class Column:
    """How one input of the network is made.

    Attributes:
        name: The feature.
        kind: ``"value"``, ``"cos"`` or ``"sin"`` of an azimuth relative to the reference, or ``"missing"``,
            whether the feature is missing.
        log_scale: If positive, the feature is first replaced by ln(1 + feature / log_scale).
        mean: Subtracted then.
        sigma: Divided by then.
    """

    name: str
    kind: Literal["value", "cos", "sin", "missing"]
    log_scale: float = 0.0
    mean: float = 0.0
    sigma: float = 1.0


@dataclass(frozen=True)
class Standardizer:
    """Standardised inputs of a network from a table of any world.

    Values that are missing become 0, the mean, and every set of features that is missing together has one
    indicator. Positive features with heavy tails are taken the logarithm of.

    Attributes:
        columns: The inputs in their order.
        missing: Sentinel of missing values; None where there are none.
        reference: Azimuth that others are measured from; empty if none is.
    """

    columns: tuple[Column, ...]
    missing: float | None = -25.0
    reference: str = ""

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        features: Sequence[str],
        *,
        azimuths: Literal["keep", "drop", "relative"] = "keep",
        missing: float | None = -25.0,
    ) -> Standardizer:
        """Learn means, scales and which features need a logarithm or an indicator.

        Args:
            table: Events, such as ``train.data``.
            features: Names of the features to use, such as ``train.features``.
            azimuths: What to do with features whose name ends in ``phi``: keep them as they are, drop them,
                or replace them by sine and cosine of their distance from the first one. A detector looks
                the same from all sides, so the first one itself says nothing.
            missing: Sentinel of missing values; None where there are none.

        Raises:
            InvalidDataError: No feature is left.
        """
        turning = [f for f in features if f.endswith(_AZIMUTH)] if azimuths != "keep" else []
        columns: list[Column] = []
        masks: list[NDArray[np.bool_]] = []
        for name in features:
            if name in turning and (azimuths == "drop" or name == turning[0]):
                continue
            values = table[name].to_numpy(np.float64)
            absent = _is_missing(values, missing)
            if absent.any() and not any(np.array_equal(absent, m) for m in masks):
                masks.append(absent)
                columns.append(Column(name, "missing"))
            if name in turning:
                columns += [Column(name, "cos", sigma=0.5**0.5), Column(name, "sin", sigma=0.5**0.5)]
            else:
                columns.append(_value_column(name, values[~absent]))
        if not columns:
            raise InvalidDataError(f"no feature is left of {list(features)}: keep the azimuths")
        return cls(tuple(columns), missing, turning[0] if azimuths == "relative" and turning else "")

    @property
    def n_out(self) -> int:
        """Number of inputs that the network gets."""
        return len(self.columns)

    def __call__(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Inputs of the network, shape (n_events, n_out), float32."""
        features = {c.name: table[c.name].to_numpy(np.float32) for c in self.columns}
        if self.reference:
            features[self.reference] = table[self.reference].to_numpy(np.float32)
        result = np.empty((len(table), self.n_out), dtype=np.float32)
        for start in range(0, len(table), _CHUNK):
            rows = slice(start, start + _CHUNK)
            self._fill(result[rows], {name: values[rows] for name, values in features.items()})
        return result

    def _fill(self, result: NDArray[np.float32], features: Mapping[str, NDArray[np.float32]]) -> None:
        """Write the inputs of a few events, shape (n_events, n_out)."""
        for i, column in enumerate(self.columns):
            values = features[column.name]
            absent = None if self.missing is None else values == np.float32(self.missing)
            if column.kind == "missing":
                result[:, i] = 0 if absent is None else absent
                continue
            if column.kind != "value":
                distance = values - features[self.reference]
                values = np.cos(distance) if column.kind == "cos" else np.sin(distance)
            elif column.log_scale:
                values = np.log1p(np.maximum(values, 0) / np.float32(column.log_scale))
            values = (values - np.float32(column.mean)) / np.float32(column.sigma)
            if absent is not None:
                values[absent] = 0
            result[:, i] = values

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Standardizer:
        """Standardizer from what `to_json` gave."""
        return cls(tuple(Column(**c) for c in words["columns"]), words["missing"], words["reference"])


def _is_missing(values: NDArray[Any], missing: float | None) -> NDArray[np.bool_]:
    if missing is None:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(values == missing)


def _value_column(name: str, values: NDArray[np.float64]) -> Column:
    if not len(values):
        return Column(name, "value")
    log_scale = 0.0
    if values.min() >= 0:
        median, high, tail = np.quantile(values, _TAIL_QUANTILES)
        if median > 0 and tail - median > _MAX_TAIL * (high - median):
            log_scale = float(median)
            values = np.log1p(values / log_scale)
    # A constant feature carries nothing: it becomes 0, not a division by zero.
    sigma = float(values.std())
    return Column(name, "value", log_scale, float(values.mean()), sigma if sigma > _MIN_SIGMA else 1.0)
