"""What the detector makes of generated events: leptons, jets, missing momentum, before any energy shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import calorimeter
from .arrays import Floats, sums_by
from .cards import DetectorCard
from .jets import Jets, find_jets
from .particles import Generated
from .tracks import Leptons, find_leptons, find_tracks


@dataclass(frozen=True, eq=False)
class Measured:
    """A batch of measured events, with the random numbers that decide about them later.

    Attributes:
        leptons: Isolated leptons.
        jets: Jets that are no leptons.
        met: Missing momentum along x and y, GeV, shape (2, n_events).
        weights: Weight of each event from its generation.
        uniforms: Which jet passes for the tau, and whether an event of small weight is kept: (2, n_events).
        normals: Unit soft noise of the missing momentum, shape (2, n_events).
    """

    leptons: Leptons
    jets: Jets
    met: Floats
    weights: Floats
    uniforms: Floats
    normals: Floats

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.weights)


def measure(generated: Generated, card: DetectorCard, *, rng: np.random.Generator) -> Measured:
    """Response of the detector to a batch of events.

    Args:
        generated: What reaches the detector.
        card: The detector.
        rng: Generator of every random decision; energy shifts come later and draw none.

    Raises:
        MissingDependencyError: fastjet is not installed.
    """
    particles, n = generated.particles, generated.particles.n_events
    tracks = find_tracks(particles, card, rng=rng)
    leptons, muons = find_leptons(particles, tracks, card, rng=rng)
    towers = calorimeter.joined([calorimeter.measure(particles, card, rng=rng), muons])
    jets = find_jets(towers, leptons, tracks, generated.taus, n, card)
    met = -np.stack([sums_by(towers.event, p, n) for p in towers.momenta[:2]])
    return Measured(leptons, jets, met, generated.weights, rng.random((2, n)), rng.standard_normal((2, n)))
