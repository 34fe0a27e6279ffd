"""Records of the library as bytes: what each one means, and how values become bytes.

A byte stands for a step of its quantity. The generator draws a value within the step, anew for every event:
what the rounding loses is so the jitter that keeps events of one record apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Values = NDArray[np.floating]


def _as_bytes(codes: Values) -> Bytes:
    inside: Bytes = np.clip(codes, 0, 255).astype(np.uint8)
    return inside


@dataclass(frozen=True)
class Logarithmic:
    """Steps of equal ratio.

    Attributes:
        low: Where they begin; smaller values have byte 0.
        step: Width in the logarithm.
    """

    low: float
    step: float

    def encode(self, values: Values) -> Bytes:
        """Bytes of values."""
        place = np.log(np.maximum(values, self.low) / self.low) / self.step
        codes = np.where(values < self.low, 0, np.floor(place) + 1)
        return _as_bytes(codes)


@dataclass(frozen=True)
class Sinh(Logarithmic):
    """Steps that are even below `low` and of equal ratio far above, for both signs."""

    def encode(self, values: Values) -> Bytes:
        """Bytes of values."""
        place = np.arcsinh(values / self.low) / self.step
        return _as_bytes(np.floor(place + 128))


@dataclass(frozen=True)
class Even:
    """Steps of equal width on both sides of zero.

    Attributes:
        reach: Largest size of a value.
    """

    reach: float

    def encode(self, values: Values) -> Bytes:
        """Bytes of values."""
        return _as_bytes(np.floor((values / self.reach + 1) * 128))


PT, ACTIVITY, EXTRA, RAW = (Logarithmic(*s) for s in ((5.0, 0.022), (0.1, 0.1), (0.1, 0.07), (16.0, 0.019)))
SOFT = Sinh(10.0, 0.05)
OBJECT_ETA, EXTRA_REACH, JET_ETA = Even(4.0), Even(2.4), Even(4.9)
PHI, COSINE = Even(np.pi), Even(1.0)

ELECTRON, MUON, TAU_OF_W, TAU_OF_Z, TAU_OF_H, POSITIVE = 1, 2, 3, 4, 5, 8
"""Kinds of objects, and what is added to those of positive charge."""

N_OBJECTS, N_JETS = 4, 8
OBJECT_BYTES = (
    *("kind", "pt", "eta", "phi", "axis_cosine", "axis_phi"),
    *("activity", "extra", "extra_deta", "extra_dphi", "n_tracks"),
)
JET_BYTES = ("raw", "eta", "phi")
BYTES = (
    "soft_x",
    "soft_y",
    *(f"object{i}_{name}" for i in range(N_OBJECTS) for name in OBJECT_BYTES),
    *(f"jet{i}_{name}" for i in range(N_JETS) for name in JET_BYTES),
    *(f"tags{i}" for i in range(N_JETS // 2)),
)
"""Bytes of a record, in the order in which the generator reads them."""
