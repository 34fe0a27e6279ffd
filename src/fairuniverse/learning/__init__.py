"""Toolkit for methods that learn with networks: preprocessing, training, shifted copies, files.

Everything gives the same bits on every run on a CPU. PyTorch is the extra ``torch`` and is imported when a
function needs it.

>>> from fairuniverse.learning import cross_entropy, deterministic, mlp, train_network
>>> import numpy as np
>>> rng = np.random.default_rng(1)
>>> labels = rng.integers(2, size=2000)
>>> x = (labels[:, None] + rng.standard_normal((2000, 1))).astype(np.float32)
>>> with deterministic(seed=1):
...     network = mlp(1, (8,), 2)
...     history = train_network(network, (x, labels), cross_entropy, seed=1, n_epochs=5)
>>> history.validation[-1] < history.validation[0]
True
"""

from fairuniverse.learning.cells import ScoreCells, score_directions
from fairuniverse.learning.copies import ShiftedCopies, nuisance_design, shifted_copies
from fairuniverse.learning.histogram import Binning, HistogramMethod
from fairuniverse.learning.method import (
    ClassifierMethod,
    augmented_score,
    classifier_copies,
    train_classifier,
)
from fairuniverse.learning.networks import load_network, mlp, outputs, save_network
from fairuniverse.learning.optimisation import (
    History,
    binary_cross_entropy,
    cross_entropy,
    train_network,
)
from fairuniverse.learning.preprocessing import Standardizer
from fairuniverse.learning.reproducible import deterministic
from fairuniverse.learning.samples import further_events, process_scales, template_events
from fairuniverse.learning.score import NetworkScore, balanced

__all__ = [
    "Binning",
    "ClassifierMethod",
    "HistogramMethod",
    "History",
    "NetworkScore",
    "ScoreCells",
    "ShiftedCopies",
    "Standardizer",
    "augmented_score",
    "balanced",
    "binary_cross_entropy",
    "classifier_copies",
    "cross_entropy",
    "deterministic",
    "further_events",
    "load_network",
    "mlp",
    "nuisance_design",
    "outputs",
    "process_scales",
    "save_network",
    "score_directions",
    "shifted_copies",
    "template_events",
    "train_classifier",
    "train_network",
]
