"""Classifiers that give one number per event, whatever they were trained for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse.learning.networks import load_network, mlp, outputs, save_network
from fairuniverse.learning.preprocessing import Standardizer

if TYPE_CHECKING:
    import pandas as pd
    import torch


@dataclass(frozen=True, eq=False)
class NetworkScore:
    """Score of every event of a table: the logit of a network, the logarithm of the odds that it is signal.

    What `fairuniverse.likelihood.BinnedScore` makes a histogram of.

    Attributes:
        standardizer: From a table to the inputs of the network.
        network: Perceptron with one output.
        hidden: Width of each of its hidden layers.
    """

    standardizer: Standardizer
    network: torch.nn.Module
    hidden: tuple[int, ...]

    @classmethod
    def untrained(cls, standardizer: Standardizer, hidden: Sequence[int] = (64, 64)) -> NetworkScore:
        """A network with random weights; train ``score.network`` in place, inside `deterministic`."""
        return cls(standardizer, mlp(standardizer.n_out, hidden), tuple(hidden))

    def __call__(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """Score of each event, shape (n_events,)."""
        return outputs(self.network, self.standardizer(table))[:, 0]

    def save(self, folder: str | Path) -> None:
        """Write ``score.safetensors`` and ``score.json`` to a folder."""
        config = {"n_in": self.standardizer.n_out, "hidden": self.hidden}
        save_network(self.network, Path(folder) / "score.safetensors", config)
        words = {"standardizer": self.standardizer.to_json(), "hidden": self.hidden}
        (Path(folder) / "score.json").write_text(json.dumps(words), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> NetworkScore:
        """Read what `save` wrote."""
        words = json.loads((Path(folder) / "score.json").read_text(encoding="utf-8"))
        network = load_network(Path(folder) / "score.safetensors")
        return cls(Standardizer.from_json(words["standardizer"]), network, tuple(words["hidden"]))


def balanced(weights: NDArray[np.floating], label: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weights of training events such that signal and background weigh the same, 1 on average.

    >>> balanced(np.array([1.0, 1.0, 2.0]), np.array([0, 0, 1])).tolist()
    [0.75, 0.75, 1.5]
    """
    shares = np.asarray(weights / np.bincount(label, weights)[label], dtype=np.float64)
    return np.asarray(shares / shares.mean())
