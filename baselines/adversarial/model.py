"""A classifier whose output tells an adversary nothing about the nuisances, then a binned profile likelihood.

After Louppe, Kagan and Cranmer, "Learning to Pivot with Adversarial Networks" (arXiv:1611.01046). Its card is
README.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fairuniverse.errors import FitError
from fairuniverse.learning import (
    ClassifierMethod,
    NetworkScore,
    ShiftedCopies,
    balanced,
    binary_cross_entropy,
    classifier_copies,
    deterministic,
    mlp,
    train_classifier,
)
from fairuniverse.seeding import generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fairuniverse.training import TrainingSet

PENALTY = 10.0
"""The paper's lambda: nats of classification given up for one nat that the adversary does not learn."""

N_EVENTS = 400_000
"""Simulated events, before selection, that the networks learn from; others fill the templates."""

N_COPIES = 20
MAX_EVENTS = 15_000
"""Points in the nuisance parameters, and events of each process taken at each."""

HIDDEN = (64, 64)
N_EPOCHS = 5
"""Of the classifier alone, before there is an adversary."""

N_COMPONENTS = 5
ADVERSARY_HIDDEN = (32, 32)
"""The adversary's density: a mixture of Gaussians in all shape nuisances, given the score."""

N_ROUNDS = 1000
N_ADVERSARY_STEPS = 5
"""Steps of the classifier against the adversary, and steps in which it catches up before each."""

BATCH_SIZE = 2048
LEARNING_RATE, ADVERSARY_RATE = 1e-3, 3e-3
MIN_LOG_SIGMA, MIN_SPREAD = -4.0, 1e-6


class Model(ClassifierMethod):
    """Signal strength from a fit to the scores of a classifier that hides the nuisances."""

    def train_score(self, train: TrainingSet) -> NetworkScore:
        """Classifier trained on shifted copies, at first alone and then against the adversary."""
        seed = int(generator(train.seed, "adversarial").integers(2**31))
        standardizer, copies = classifier_copies(
            train,
            purpose="adversarial",
            seed=seed,
            n_events=N_EVENTS,
            n_copies=N_COPIES,
            max_events=MAX_EVENTS,
        )
        with deterministic(seed):
            score = NetworkScore.untrained(standardizer, HIDDEN)
            train_classifier(score, copies, seed=seed, n_epochs=N_EPOCHS)
            if copies.nuisances:
                Pivot(score.network, copies, seed).train()
        return score


class Pivot:
    """The game of a classifier and an adversary, which guesses the nuisances of background events.

    The classifier minimises its cross-entropy minus `PENALTY` times the adversary's loss, -ln r(alpha given
    the score), the adversary its own; in the paper's optimum the score is independent of the nuisances.

    Args:
        classifier: The classifier, changed in place.
        copies: Events at many nuisance values.
        seed: Decides the batches.
    """

    def __init__(self, classifier: torch.nn.Module, copies: ShiftedCopies, seed: int) -> None:
        import torch

        n = len(copies.nuisances)
        self.classifier = classifier
        self.adversary = mlp(1, ADVERSARY_HIDDEN, N_COMPONENTS * (1 + 2 * n))
        self.rng = torch.Generator().manual_seed(seed)
        self.features = torch.from_numpy(copies.features)
        self.label = torch.from_numpy(copies.label)
        self.targets = torch.from_numpy(copies.pulls)
        self.weights = torch.from_numpy(balanced(copies.weights, copies.label).astype(np.float32))
        self.background = torch.from_numpy(np.flatnonzero(copies.label == 0))

    def train(self) -> None:
        """Play all rounds, each side's steps getting smaller."""
        import torch

        self.classifier.train()
        ours = torch.optim.Adam(self.classifier.parameters(), LEARNING_RATE)
        theirs = torch.optim.Adam(self.adversary.parameters(), ADVERSARY_RATE)
        schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(o, N_ROUNDS) for o in (ours, theirs)]
        for _ in range(N_ROUNDS):
            for _ in range(N_ADVERSARY_STEPS):
                _step(theirs, self.leak())
            _step(ours, self.confusion() - PENALTY * self.leak())
            for schedule in schedules:
                schedule.step()
        self.classifier.eval()

    def confusion(self) -> Tensor:
        """Cross-entropy of the classification of a batch."""
        import torch

        rows = torch.randint(len(self.features), (BATCH_SIZE,), generator=self.rng)
        losses = binary_cross_entropy(self.classifier, self.features[rows], self.label[rows])
        return (losses * self.weights[rows]).mean()

    def leak(self) -> Tensor:
        """The adversary's loss on a batch of background: the smaller, the more the scores tell."""
        import torch

        rows = self.background[torch.randint(len(self.background), (BATCH_SIZE,), generator=self.rng)]
        scores = self.classifier(self.features[rows])
        # Without this the classifier escapes by shifting and stretching its scores, which hides nothing.
        scores = (scores - scores.mean()) / (scores.std() + MIN_SPREAD)
        guesses = self.adversary(scores)
        weights = self.weights[rows]
        return -(mixture_log_density(guesses, self.targets[rows]) * weights).sum() / weights.sum()


def mixture_log_density(outputs: Tensor, targets: Tensor) -> Tensor:
    """Log density of a mixture of Gaussians with diagonal covariance at targets, shape (n_events,).

    Args:
        outputs: Shape (n_events, n_components * (1 + 2 * n_targets)): log shares, means, log widths.
        targets: Shape (n_events, n_targets).
    """
    import torch

    n, d = targets.shape
    shares, means, widths = torch.split(outputs, [N_COMPONENTS, N_COMPONENTS * d, N_COMPONENTS * d], dim=1)
    # A density that may become infinitely narrow ends every game.
    log_sigma = widths.reshape(n, N_COMPONENTS, d).clamp(min=MIN_LOG_SIGMA)
    pulls = (targets[:, None] - means.reshape(n, N_COMPONENTS, d)) * torch.exp(-log_sigma)
    logs = -(pulls**2 / 2 + log_sigma + math.log(2 * math.pi) / 2).sum(dim=2)
    return torch.logsumexp(torch.log_softmax(shares, dim=1) + logs, dim=1)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step; only the optimizer's own parameters move, whatever else has gradients."""
    import torch

    if not torch.isfinite(loss):
        raise FitError("the loss of the adversarial training is not finite: lower its learning rates")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
