"""Methods that differ in which bin they put an event, and in nothing else."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from fairuniverse.likelihood import best_start, binned_model, load_model, profile_interval, save_model
from fairuniverse.protocols import Interval

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.likelihood import BinnedModel
    from fairuniverse.training import TrainingSet


class Binning(Protocol):
    """Puts events into bins."""

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        ...

    def __call__(self, table: pd.DataFrame) -> NDArray[np.intp]:
        """Bin of each event, shape (n_events,)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything."""
        ...


class HistogramMethod(ABC):
    """A submission whose `Model` learns bins; the measurement is done here.

    Templates are morphed in all nuisance parameters, and mu and the nuisances fitted to the counts.

        class Model(HistogramMethod):
            def fit(self, train):
                self.measure_in(MyBinning.fit(train), train)

            def load_binning(self, folder):
                return MyBinning.load(folder)

    Attributes:
        binning: The bins, once they are there.
        binned: Their templates.
        confidence_level: Of the intervals.
    """

    binning: Binning
    binned: BinnedModel
    confidence_level: float

    @abstractmethod
    def load_binning(self, folder: Path) -> Binning:
        """Read what `Binning.save` wrote."""

    def measure_in(self, binning: Binning, templates: TrainingSet) -> None:
        """Fill the templates of the bins and learn how the nuisances deform them.

        Args:
            binning: The bins; where the fit has several threads, two ask at once.
            templates: Events that they were not tuned to.
        """
        self.binning = binning
        self.binned = binned_model(templates, binning, binning.n_bins)
        self.confidence_level = templates.confidence_level

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment."""
        counts = np.bincount(self.binning(test), minlength=self.binning.n_bins)
        likelihood = self.binned.likelihood(counts)
        start = best_start(likelihood)
        return profile_interval(likelihood, confidence_level=self.confidence_level, start=start).interval

    def save(self, folder: str | Path) -> None:
        """Write the bins, and numbers as JSON and in NumPy's format."""
        self.binning.save(Path(folder))
        save_model(self.binned, Path(folder) / "binned.npz")
        words = json.dumps({"confidence_level": self.confidence_level})
        (Path(folder) / "interval.json").write_text(words, encoding="utf-8")

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        self.binning = self.load_binning(Path(folder))
        self.binned = load_model(Path(folder) / "binned.npz")
        words = json.loads((Path(folder) / "interval.json").read_text(encoding="utf-8"))
        self.confidence_level = words["confidence_level"]
