"""Learned density ratios, their dependence on the nuisances learned process by process, unbinned likelihood.

After the HEPHY submission to the public challenge, arXiv:2505.05544. Its card is README.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fairuniverse import Interval
from fairuniverse.learning import Standardizer, further_events, template_events
from fairuniverse.likelihood import Monomials, profile_interval, shape_axes

from . import settings
from .densities import Densities
from .measurement import Measurement
from .partition import Partition, Scores
from .samples import Sample, n_to_simulate

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet


class Model:
    """Signal strength from learned densities: unbinned where they tell most, counted in cells elsewhere."""

    def fit(self, train: TrainingSet) -> None:
        """Train the networks on newly simulated events, then calibrate them on the training events."""
        self.confidence_level = train.confidence_level
        axes = shape_axes(train)
        degree = settings.DEGREES.get(len(axes), settings.MANY_DEGREE)
        monomials = Monomials.up_to(axes, degree) if axes else None
        numbers = n_to_simulate(train, settings.N_RATIO_EVENTS)
        table = further_events(train, numbers, purpose="ratios", prescale=settings.PRESCALE).shift()
        standardizer = Standardizer.fit(table, train.features, azimuths="relative")
        sample = Sample.of(table, standardizer)
        del table
        densities = Densities.fit(train, sample, standardizer, monomials)
        scores = Scores.of(train, sample, densities, monomials)
        filled = template_events(train)
        partition = Partition.fit(train, sample, standardizer, scores, len(filled.events))
        del sample
        self.measurement = Measurement.fit(filled, densities, partition, monomials)

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment."""
        likelihood = self.measurement.likelihood(test)
        return profile_interval(likelihood, confidence_level=self.confidence_level).interval

    def save(self, folder: str | Path) -> None:
        """Write the fitted model: networks in safetensors, numbers in NumPy's format."""
        level = json.dumps({"confidence_level": self.confidence_level})
        (Path(folder) / "interval.json").write_text(level, encoding="utf-8")
        self.measurement.save(Path(folder))

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        level = json.loads((Path(folder) / "interval.json").read_text(encoding="utf-8"))
        self.confidence_level = level["confidence_level"]
        self.measurement = Measurement.load(Path(folder))
