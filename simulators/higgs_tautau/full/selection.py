"""Energy shifts, tau tags, thresholds: from measured events to the detector-level record of selected ones.

The scales act on raw energies, before every threshold: a jet or tau can enter as well as leave, another jet
can become the leading one or pass for the tau, and the missing momentum follows all jets. An event carries
the probability of exactly one tau tag of opposite charge as its weight; which jet has it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ..schema import N_RECORD_JETS, RECORD
from .arrays import Booleans, Floats, Integers, sums_by
from .calorimeter import region_of
from .cards import DetectorCard, TurnOn
from .detector import Measured
from .jets import Jets
from .tracks import Leptons

RECORD_THRESHOLD = 18.0
"""Raw pt (GeV) down to which jets are recorded: a tenth more brings none of those below above 20 GeV."""

SHAPES: Mapping[str, float] = {"tes": 1.0, "jes": 1.0, "soft_met": 0.0}
"""Nuisance parameters that act inside the detector, at their nominal values."""


@dataclass(frozen=True, eq=False)
class Selected:
    """Selected events.

    Attributes:
        row: Index of each among the measured events, shape (n,).
        record: Detector-level record, shape (32, n), GeV and rad, rounded to 3 decimals as the public data.
        weights: Weight of each.
        is_true_tau: Whether the tau is one.
        is_electron: Whether the lepton is an electron.
        n_tracks: Tracks of the tau.
    """

    row: Integers
    record: NDArray[np.float32]
    weights: Floats
    is_true_tau: Booleans
    is_electron: Booleans
    n_tracks: NDArray[np.uint8]


def calibrated(raw: Floats, eta: Floats) -> Floats:
    """Transverse momentum of a jet or tau after its energy calibration, GeV."""
    return np.sqrt(raw * ((3 - 0.2 * np.abs(eta)) ** 2 + raw))


def select(
    measured: Measured, card: DetectorCard, *, tes: float = 1.0, jes: float = 1.0, soft_met: float = 0.0
) -> Selected:
    """Events with one lepton and one tau of opposite charge, under values of the nuisance parameters.

    Args:
        measured: A batch of measured events; its random numbers are the same for all values.
        card: The detector.
        tes: Factor on the raw pt of the tau.
        jes: Factor on the raw pt of all other jets.
        soft_met: Width (GeV) of noise on both components of the missing momentum.
    """
    lepton = _single_lepton(measured, card)
    jets = measured.jets
    shares = _tag_shares(jets, measured, lepton, card, tes)
    total = sums_by(jets.event, shares, measured.n_events)
    weights = total * measured.weights * _trigger_efficiency(measured.leptons, lepton, card)
    kept = (weights > 0) & (measured.uniforms[1] * card.min_weight < weights)
    row = np.flatnonzero(kept)
    tau = _chosen(jets.event, shares, total, measured.uniforms[0], row)
    met = measured.met[:, row] + soft_met * measured.normals[:, row]
    others = _others(jets, tau, row, measured.n_events)
    met = met - _change(jets, tau, np.arange(len(row)), tes, 0.0, len(row))
    met = met - _change(jets, *others, jes, card.jets.min_raw_pt, len(row))
    leptons, i = measured.leptons, lepton[row]
    record = np.zeros((len(RECORD), len(row)))
    record[:3] = leptons.pt[i], leptons.eta[i], leptons.phi[i]
    record[3:6] = jets.raw[tau] * tes, jets.eta[tau], jets.phi[tau]
    record[6:8] = met
    _record_jets(record[8:], jets, *others, jes)
    return Selected(
        row,
        np.round(record, 3).astype(np.float32),
        np.maximum(weights[row], card.min_weight),
        jets.tau_charge[tau] != 0,
        leptons.is_electron[i],
        np.minimum(jets.n_tracks[tau], 255).astype(np.uint8),
    )


def _single_lepton(measured: Measured, card: DetectorCard) -> Integers:
    """Index of the lepton of each event that has exactly one, above threshold; -1 for the others."""
    leptons = measured.leptons
    count = np.bincount(leptons.event, minlength=measured.n_events)
    index = np.full(measured.n_events, -1)
    index[leptons.event] = np.arange(len(leptons.event))
    last = np.maximum(index, 0)
    if not len(leptons.event):
        return index
    good = (leptons.pt[last] > card.selection.lepton_pt) & (
        np.abs(leptons.eta[last]) < card.selection.lepton_eta
    )
    return np.where((count == 1) & good, index, -1)


def _trigger_efficiency(leptons: Leptons, lepton: Integers, card: DetectorCard) -> Floats:
    """Probability that the lepton of each event triggers; 1 where there is none, or no trigger."""
    efficiencies = np.ones(len(lepton))
    if card.trigger is None:
        return efficiencies
    found = np.flatnonzero(lepton >= 0)
    for turn_on, is_electron in ((card.trigger.electrons, True), (card.trigger.muons, False)):
        event = found[leptons.is_electron[lepton[found]] == is_electron]
        efficiencies[event] = _turned_on(turn_on, leptons.pt[lepton[event]], leptons.eta[lepton[event]])
    return efficiencies


def _turned_on(card: TurnOn, pt: Floats, eta: Floats) -> Floats:
    region = region_of(card, eta)
    inside = region < len(card.eta)
    region = np.where(inside, region, 0)
    threshold, width, plateau = (np.array(v)[region] for v in (card.pt, card.width, card.plateau))
    return np.where(inside, plateau * ndtr((pt - threshold) / width), 0.0)


def _tag_shares(jets: Jets, measured: Measured, lepton: Integers, card: DetectorCard, tes: float) -> Floats:
    """Probability that each jet is the only tagged one, with a charge opposite to the lepton's."""
    tag, is_true = card.tau_tag, jets.tau_charge != 0
    one_track = jets.n_tracks == 1
    true, fake = (np.where(one_track, p[0], p[1]) for p in (tag.efficiency, tag.mistag))
    p = np.where(is_true, true, fake) * (jets.n_tracks > 0) * (jets.raw * tes > card.jets.min_raw_pt)
    p = np.minimum(p, 1 - 1e-9)
    none = np.exp(sums_by(jets.event, np.log1p(-p), measured.n_events))
    i = lepton[jets.event]
    charge = measured.leptons.charge[np.maximum(i, 0)] if len(measured.leptons.charge) else 0 * i
    opposite = np.where(is_true, jets.tau_charge * charge < 0, 0.5)
    shares: Floats = np.where(i >= 0, p / (1 - p) * none[jets.event] * opposite, 0.0)
    return shares


def _chosen(event: Integers, shares: Floats, total: Floats, uniforms: Floats, row: Integers) -> Integers:
    """Index of the jet drawn in each event of `row`, in proportion to the shares."""
    cumulative = np.concatenate([[0.0], np.cumsum(shares)])
    first = np.searchsorted(event, row)
    last = np.searchsorted(event, row, side="right") - 1
    target = cumulative[first] + uniforms[row] * total[row]
    jet = np.clip(np.searchsorted(cumulative, target, side="right") - 1, first, last)
    # Rounding of the cumulative sum may point at a jet without a share: the next one with a share has it.
    with_share = np.flatnonzero(shares > 0)
    return with_share[np.minimum(np.searchsorted(with_share, jet), len(with_share) - 1)]


def _others(jets: Jets, tau: Integers, row: Integers, n_events: int) -> tuple[Integers, Integers]:
    """Jets of selected events that are not the tau, and the place of each one's event in `row`."""
    place = np.full(n_events, -1)
    place[row] = np.arange(len(row))
    is_other = place[jets.event] >= 0
    is_other[tau] = False
    index = np.flatnonzero(is_other)
    return index, place[jets.event[index]]


def _change(jets: Jets, index: Integers, place: Integers, scale: float, threshold: float, n: int) -> Floats:
    """Momentum that a scale adds to the jets above a raw threshold, by event: shape (2, n)."""
    raw, eta, phi = jets.raw[index], jets.eta[index], jets.phi[index]
    change = np.where(raw * scale > threshold, (scale - 1) * calibrated(raw, eta), 0.0)
    return np.stack([sums_by(place, change * f(phi), n) for f in (np.cos, np.sin)])


def _record_jets(rows: Floats, jets: Jets, index: Integers, place: Integers, jes: float) -> None:
    """Write the leading jets after calibration, those above the threshold of the record."""
    raw = jets.raw[index] * jes
    seen = np.flatnonzero(raw > RECORD_THRESHOLD)
    pt = calibrated(raw[seen], jets.eta[index[seen]])
    order = seen[np.lexsort((-pt, place[seen]))]
    at = place[order]
    rank = np.arange(len(at)) - np.searchsorted(at, at)
    fits = rank < N_RECORD_JETS
    order, at, rank = order[fits], at[fits], rank[fits]
    for k, values in enumerate((raw[order], jets.eta[index[order]], jets.phi[index[order]])):
        rows[3 * rank + k, at] = values
