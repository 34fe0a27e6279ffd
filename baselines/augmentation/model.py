"""A classifier trained on copies of the events shifted over the priors, then a binned profile likelihood.

The simplest answer to an imperfect simulation: show the network all of it. Its card is README.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairuniverse.learning import ClassifierMethod, NetworkScore, augmented_score

if TYPE_CHECKING:
    from fairuniverse.training import TrainingSet

N_EVENTS = 400_000
"""Simulated events, before selection, that the classifier learns from; others fill the templates."""

N_COPIES = 20
MAX_EVENTS = 15_000
"""Points in the nuisance parameters, and events of each process taken at each."""

HIDDEN = (64, 64)
N_EPOCHS = 8


class Model(ClassifierMethod):
    """Signal strength from a fit to the scores of a classifier that has seen all nuisance values."""

    def train_score(self, train: TrainingSet) -> NetworkScore:
        """Classifier of signal against all backgrounds, each event at one of many nuisance values."""
        return augmented_score(
            train,
            purpose="augmentation",
            n_events=N_EVENTS,
            n_copies=N_COPIES,
            max_events=MAX_EVENTS,
            hidden=HIDDEN,
            n_epochs=N_EPOCHS,
        )
