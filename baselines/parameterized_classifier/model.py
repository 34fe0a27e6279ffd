"""Classifier with the nuisance parameters as inputs; mu and nuisances are fitted to templates of its scores.

After Ghosh, Nachman and Whiteson, arXiv:2105.08742. Its card is README.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairuniverse import Interval
from fairuniverse.errors import FitError
from fairuniverse.learning import further_events, template_events

from . import settings
from .anchors import Anchor, anchor_spacing, anchored
from .ratios import Ratios

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet


class Model:
    """Signal strength from a profile-likelihood fit to cells in the scores of a parameterised classifier."""

    def fit(self, train: TrainingSet) -> None:
        """Train the classifier over the priors, then fill templates of its scores at each anchor."""
        self.confidence_level = train.confidence_level
        numbers = _numbers(train, settings.N_NETWORK_EVENTS)
        ratios = Ratios.fit(further_events(train, numbers, purpose="classifier", prescale=settings.PRESCALE))
        numbers = _numbers(train, settings.N_MORPHING_EVENTS)
        morphing = further_events(train, numbers, purpose="morphing", prescale=settings.PRESCALE)
        spacing = anchor_spacing(ratios, morphing)
        samples = template_events(train), morphing
        self.ratios = ratios
        self.anchors = [
            Anchor.fit(ratios, nuisances, spacing, *samples)
            for nuisances in anchored(train.nuisances, spacing)
        ]

    def predict(self, test: pd.DataFrame) -> Interval:
        """Estimate of mu and its profile-likelihood interval, from one pseudo-experiment.

        Raises:
            FitError: A fit did not converge, or it moves from anchor to anchor.
        """
        x = self.ratios.standardizer(test)
        i = self._likeliest(x)
        tried: list[int] = []
        while i not in tried:
            tried.append(i)
            answer = self.anchors[i].measure(self.ratios, x, self.confidence_level)
            i = int(np.argmin([a.distance(answer) for a in self.anchors]))
        if self.anchors[tried[-1]].distance(answer) > 1:
            raise FitError(f"the fit left all of {len(tried)} anchors: the nuisances are not determined")
        return answer.interval

    def _likeliest(self, x: NDArray[np.float32]) -> int:
        """Anchor at which the classifier finds a part of the events likeliest."""
        if len(self.anchors) == 1:
            return 0
        some = x[:: 1 + len(x) // settings.N_ANCHOR_EVENTS]
        scale = len(x) / max(len(some), 1)
        return int(np.argmin([a.twice_nll(self.ratios, some, scale) for a in self.anchors]))

    def save(self, folder: str | Path) -> None:
        """Write the fitted model: the network in safetensors, numbers in NumPy's format."""
        folder = Path(folder)
        self.ratios.save(folder)
        words = {"confidence_level": self.confidence_level, "n_anchors": len(self.anchors)}
        (folder / "model.json").write_text(json.dumps(words), encoding="utf-8")
        for i, anchor in enumerate(self.anchors):
            anchor.save(folder, i)

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote."""
        folder = Path(folder)
        words = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.confidence_level = words["confidence_level"]
        self.ratios = Ratios.load(folder)
        self.anchors = [Anchor.load(folder, i) for i in range(words["n_anchors"])]


def _numbers(train: TrainingSet, n_events: int) -> dict[str, int]:
    """Events of each process to simulate: all of one process have at most so many, rare ones a tenth."""
    largest = max(p.expected_yield for p in train.processes)
    return {
        p.name: round(n_events * (1.0 if p.is_signal else max(p.expected_yield / largest, 0.1)))
        for p in train.processes
    }
