"""Methods that differ in how they train a classifier, and in nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairuniverse.learning.copies import ShiftedCopies, shifted_copies
from fairuniverse.learning.optimisation import binary_cross_entropy, train_network
from fairuniverse.learning.preprocessing import Standardizer
from fairuniverse.learning.reproducible import deterministic
from fairuniverse.learning.samples import further_events, template_events
from fairuniverse.learning.score import NetworkScore, balanced
from fairuniverse.likelihood import BinnedScore
from fairuniverse.protocols import Interval
from fairuniverse.seeding import generator

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet


class ClassifierMethod(ABC):
    """A submission whose `Model` says how a classifier is trained; the measurement is done here.

    The scores of the classifier are filled into bins of equal signal and of equal background, templates
    morphed in all nuisance parameters, and mu and the nuisances fitted: see
    `fairuniverse.likelihood.BinnedScore`.

        class Model(ClassifierMethod):
            def train_score(self, train):
                ...

    Attributes:
        score: The classifier, once there is one.
        binned: Its bins and templates.
    """

    score: NetworkScore
    binned: BinnedScore

    @abstractmethod
    def train_score(self, train: TrainingSet) -> NetworkScore:
        """Train the classifier, on `further_events`: those of `train` fill the templates.

        Where the fit has several threads, two ask it for scores at once.
        """

    def fit(self, train: TrainingSet) -> None:
        """Train the classifier, fill the templates and learn how the nuisances deform them."""
        self.score = self.train_score(train)
        self.binned = BinnedScore.fit(template_events(train), self.score)

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment."""
        return self.binned.interval(self.score(test))

    def save(self, folder: str | Path) -> None:
        """Write the network as safetensors, numbers in NumPy's format."""
        self.score.save(folder)
        self.binned.save(folder)

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        self.score = NetworkScore.load(folder)
        self.binned = BinnedScore.load(folder)


def classifier_copies(
    train: TrainingSet, *, purpose: str, seed: int, n_events: int, n_copies: int, max_events: int
) -> tuple[Standardizer, ShiftedCopies]:
    """Events of their own to train a classifier on, spread over the priors, as inputs of a network.

    Args:
        train: The training set of the benchmark.
        purpose: Name of the streams, see `further_events`.
        seed: Decides the points in the nuisances and which events are taken there.
        n_events: Events to simulate, before selection.
        n_copies: Points in the nuisance parameters.
        max_events: Events of each process taken at each point.

    Returns:
        What standardised the inputs, and the copies: shapes in `ShiftedCopies`.
    """
    sample = further_events(train, n_events, purpose=purpose)
    standardizer = Standardizer.fit(sample.data, train.features, azimuths="relative")
    copies = shifted_copies(sample, n_copies, seed=seed, max_events=max_events, transform=standardizer)
    return standardizer, copies


def augmented_score(
    train: TrainingSet,
    *,
    purpose: str,
    n_events: int,
    n_copies: int,
    max_events: int,
    hidden: Sequence[int],
    n_epochs: int,
) -> NetworkScore:
    """Classifier of signal against all backgrounds, each event at one of many nuisance values.

    Args:
        train: The training set of the benchmark.
        purpose: Name of the streams, see `further_events`.
        n_events: Events to simulate, before selection.
        n_copies: Points in the nuisance parameters.
        max_events: Events of each process taken at each point.
        hidden: Widths of the hidden layers.
        n_epochs: Passes over the events.
    """
    seed = int(generator(train.seed, purpose).integers(2**31))
    standardizer, copies = classifier_copies(
        train, purpose=purpose, seed=seed, n_events=n_events, n_copies=n_copies, max_events=max_events
    )
    with deterministic(seed):
        score = NetworkScore.untrained(standardizer, hidden)
        train_classifier(score, copies, seed=seed, n_epochs=n_epochs)
    return score


def train_classifier(score: NetworkScore, copies: ShiftedCopies, *, seed: int, n_epochs: int) -> None:
    """Train the network of a score in place: signal against all backgrounds, the two weighing the same."""
    train_network(
        score.network,
        (copies.features, copies.label),
        binary_cross_entropy,
        seed=seed,
        weights=balanced(copies.weights, copies.label),
        n_epochs=n_epochs,
        title="classifier",
    )
