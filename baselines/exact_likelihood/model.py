"""Profile likelihood with the exact density of the world.

Nothing is learnt: the densities come from the world itself. Its card is README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairuniverse import Interval
from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import DensityModel, profile_interval

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet


class Model:
    """Interval of the exact extended likelihood, the nuisance parameters profiled."""

    def fit(self, train: TrainingSet) -> None:
        """Take the densities from the world.

        Raises:
            InvalidDataError: This world has none.
        """
        densities = getattr(train.simulator, "densities", None)
        if densities is None:
            raise InvalidDataError(
                f"the world {type(train.simulator).__name__} has no exact densities, so no exact likelihood: "
                "run this method on gaussian_2d, inferno_toy or counting"
            )
        self.model = DensityModel(densities, [p.name for p in train.nuisances])
        self.features = train.features
        self.confidence_level = train.confidence_level

    def predict(self, test: pd.DataFrame) -> Interval:
        """Maximum-likelihood estimate of mu and its profile-likelihood interval."""
        events = test[self.features].to_numpy(dtype=float).T
        likelihood = self.model.likelihood(events)
        return profile_interval(likelihood, confidence_level=self.confidence_level).interval
