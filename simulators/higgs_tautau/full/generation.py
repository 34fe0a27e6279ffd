"""Events of Pythia 8: shower, multiple interactions, hadronisation, and polarised tau decays of our own.

Two modes:

* ``production`` leaves taus undecayed in Pythia, draws their decays (see `taus`) as soon as the hard process
  is there, and stops the parton shower early where no lepton, or no tau and no luck, is in reach. Nearly all
  of the time goes to multiple interactions at low transverse momentum, which come after that.
* ``reference`` is plain Pythia with its own helicity tau decays and no filter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import FairUniverseError, InvalidConfigError, MissingDependencyError

from . import taus
from .arrays import Booleans, Floats, Integers, sums_by
from .cards import Cards, Filter, ProcessCard
from .particles import NEUTRINOS, Generated, Particles, TrueTaus, starts_of
from .taus import Orientations, Templates, Vector

Mode = Literal["production", "reference"]

BATCH = 100
"""Events at a time: Pythia's full record takes some 150 kB each."""

N_TEMPLATES = 8000
MAX_ETA = 5.0
Z_POLARISATION = -0.147
"""Mean helicity of a tau- from a Z decay (LEP, Phys. Rept. 427 (2006) 257)."""

_HIGGS, _Z, _W = 25, 23, 24
_NO_DRAW = 9.0
"""Polarisation that Pythia gives to particles of which it knows none."""


class GenerationError(FairUniverseError, RuntimeError):
    """Pythia could not generate events."""


class Generator:
    """Source of generated events of one process.

    Args:
        cards: What to generate.
        process: Process of the cards.
        seed: Seed of Pythia's generator, 1 to 900,000,000.
        rng: Generator of everything else.
        mode: See the module.

    Raises:
        MissingDependencyError: Pythia is not installed.
        InvalidConfigError: Pythia does not know a setting of the cards, or cannot start with them.
    """

    def __init__(
        self, cards: Cards, process: str, *, seed: int, rng: np.random.Generator, mode: Mode = "production"
    ) -> None:
        card = cards.process(process)
        self._rng = rng
        self._pythia = _new_pythia(seed)
        own = [] if mode == "reference" else ["15:mayDecay = off"]
        for line in (*cards.generation.settings, *card.settings, *own):
            if not self._pythia.readString(line, False):
                raise InvalidConfigError(
                    f"Pythia does not understand the setting {line!r} of process {process}: correct the card"
                )
        self._draws = None if mode == "reference" else _Draws(card, rng)
        self._hooks = None
        if self._draws is not None:
            self._hooks = _filter_class()(cards.generation.filter, card, self._draws, rng)
            self._pythia.setUserHooksPtr(self._hooks)
        if not self._pythia.init():
            raise InvalidConfigError(
                f"Pythia cannot start with the settings of process {process}: see its message above"
            )
        self._n_plain = 0

    @property
    def branching(self) -> float:
        """Branching fraction of the decays that are made."""
        return taus.B_LEPTON_HADRON if self._draws is not None and self._draws.is_forced else 1.0

    @property
    def n_tried(self) -> int:
        """Events begun so far, those that the filter dropped included."""
        return self._n_plain if self._hooks is None else int(self._hooks.n_tried)

    def batches(self, n_events: int) -> Iterator[Generated]:
        """Events that pass the filter, in batches of `BATCH`.

        Raises:
            GenerationError: Pythia gives up.
        """
        for first in range(0, n_events, BATCH):
            n = min(BATCH, n_events - first)
            raw = _flat(self._pythia.nextBatch(n))
            if raw.n_events < n:
                raise GenerationError(f"Pythia made {raw.n_events} of {n} events and gave up: check the card")
            self._n_plain += n
            yield self._reference(raw) if self._hooks is None else self._production(raw)

    def _production(self, raw: _Raw) -> Generated:
        assert self._hooks is not None
        assert self._draws is not None
        weights = self._hooks.weights_of(raw.tags)
        decayed = _decay(raw, self._draws, self._rng)
        self._draws.forget()
        return Generated(*decayed, weights)

    def _reference(self, raw: _Raw) -> Generated:
        return Generated(*_decayed_by_pythia(raw), np.ones(raw.n_events))


@cache
def _library() -> Any:
    try:
        import awkward  # noqa: F401 - Pythia hands batches over in its arrays
        import pythia8mc
    except ImportError as error:
        raise MissingDependencyError(
            "the full simulation needs Pythia 8 and fastjet: pip install 'fairuniverse[full]'"
        ) from error
    return pythia8mc


def _new_pythia(seed: int) -> Any:
    pythia = _library().Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}"):
        pythia.readString(line)
    return pythia


class _Draws:
    """Tau decays drawn so far in this batch, numbered from 1, with the templates they are made of."""

    def __init__(self, card: ProcessCard, rng: np.random.Generator) -> None:
        self._rng = rng
        self._uniforms: list[float] = []
        self.is_forced = card.force_lepton_hadron
        self.leptonic = taus.leptonic_templates(N_TEMPLATES, rng=rng)
        self.hadronic = taus.hadronic_templates(N_TEMPLATES, rng=rng)
        self._visible = [[tuple(p) for p in t.visible.tolist()] for t in (self.leptonic, self.hadronic)]
        self._polarimeters = [t.polarimeter.tolist() for t in (self.leptonic, self.hadronic)]
        self.list: list[tuple[bool, Orientations]] = []

    def forget(self) -> None:
        """Drop the decays of a finished batch."""
        self.list.clear()

    def uniform(self) -> float:
        """A uniform random number; one at a time would cost a microsecond each."""
        if not self._uniforms:
            self._uniforms = self._rng.random(4096).tolist()
        return self._uniforms.pop()

    def draw(self, is_leptonic: bool, polarisation: float) -> tuple[int, Vector]:
        """Number of a new decay, and its visible momentum in the helicity frame."""
        kind = 0 if is_leptonic else 1
        i = int(self.uniform() * N_TEMPLATES)
        uniforms = (self.uniform(), self.uniform(), self.uniform())
        o = taus.orient(i, self._polarimeters[kind][i], polarisation, uniforms)
        self.list.append((is_leptonic, o))
        return len(self.list), taus.rotate(taus.rotation(o), self._visible[kind][i])

    def is_leptonic(self) -> bool:
        """How a tau decays."""
        return self.uniform() < taus.B_LEPTONIC


@dataclass
class _Object:
    """A lepton or a tau of the hard process, as long as its momentum changes.

    Attributes:
        resonance: Index of the outgoing particle of the hard process that it comes from.
        momentum: Its momentum in the hard process.
        parent: Momentum of its parent there.
        visible: For a tau, its visible decay products in the helicity frame.
        is_lepton: Whether an electron or a muon is seen.
    """

    resonance: int
    momentum: Vector
    parent: Vector
    visible: Vector | None
    is_lepton: bool

    def in_lab(self, before: Vector, after: Vector) -> Vector:
        """Visible momentum when the resonance has changed its own."""
        m = taus.mass_of(before)
        p, parent = (taus.boost(taus.boost(v, before, m, -1), after, m) for v in (self.momentum, self.parent))
        return p if self.visible is None else taus.to_lab(self.visible, p, parent)


def _filter_class() -> Any:
    """The filter: a class derived from Pythia's hooks, so it exists only where Pythia is installed."""
    return _make_filter_class(_library().UserHooks)


@cache
def _make_filter_class(base: Any) -> Any:
    class EventFilter(base):  # type: ignore[misc]
        """Stops events that cannot be selected; the names of its methods are Pythia's."""

        def __init__(
            self, card: Filter, process: ProcessCard, draws: _Draws, rng: np.random.Generator
        ) -> None:
            base.__init__(self)
            self._card, self._draws = card, draws
            self._prescale = process.fakes_prescale
            self._weights: dict[int, float] = {}
            self._objects: list[_Object] = []
            self._resonances: dict[int, Vector] = {}
            self._weight = 1.0
            self._is_pending = False
            self.n_tried = 0

        def weights_of(self, tags: Integers) -> Floats:
            """Weights of finished events; those of dropped ones are forgotten."""
            weights = np.array([self._weights[tag] for tag in tags.tolist()])
            self._weights.clear()
            return weights

        def canVetoProcessLevel(self) -> bool:
            return True

        def doVetoProcessLevel(self, process: Any) -> bool:
            self.n_tried += 1
            self._is_pending = True
            self._weight = 1.0
            self._objects, self._resonances = _hard_objects(process, self._draws)
            if not any(o.is_lepton for o in self._objects):
                return True
            has_tau = any(o.visible is not None and not o.is_lepton for o in self._objects)
            if not has_tau and self._is_unlucky():
                return True
            process[3].pol(float(self.n_tried))
            return False

        def canVetoPT(self) -> bool:
            return True

        def scaleVetoPT(self) -> float:
            return float(self._card.scale)

        def doVetoPT(self, i_position: int, event: Any) -> bool:
            if not self._is_pending:  # asked again later in the same event
                return False
            self._is_pending = False
            card = self._card
            after = {i: _vector(event[event[i].iBotCopyId()]) for i in self._resonances}
            seen = [
                (o.is_lepton, o.in_lab(self._resonances[o.resonance], after[o.resonance]))
                for o in self._objects
            ]
            if not any(is_lepton and _is_within(p, card.lepton_pt, card.lepton_eta) for is_lepton, p in seen):
                return True
            has_tau = any(not is_lepton and _is_within(p, card.tau_pt, card.tau_eta) for is_lepton, p in seen)
            is_prescaled = self._weight != 1
            if not has_tau and not is_prescaled and self._is_unlucky():
                return True
            self._weights[self.n_tried] = self._weight
            return False

        def _is_unlucky(self) -> bool:
            """Whether the prescale drops an event without a tau."""
            if self._draws.uniform() * self._prescale >= 1:
                return True
            self._weight *= self._prescale
            return False

    return EventFilter


def _is_within(p: Vector, min_pt: float, max_eta: float) -> bool:
    pt2 = p[0] * p[0] + p[1] * p[1]
    return bool(pt2 > min_pt * min_pt and p[2] * p[2] < np.sinh(max_eta) ** 2 * pt2)


def _vector(particle: Any) -> Vector:
    return particle.px(), particle.py(), particle.pz(), particle.e()


def _hard_objects(process: Any, draws: _Draws) -> tuple[list[_Object], dict[int, Vector]]:
    """Leptons and taus of the hard process, with the outgoing particles that they come from.

    Decays of the taus are drawn, and their numbers left in the polarisations of the event record.
    """
    objects: list[_Object] = []
    resonances: dict[int, Vector] = {}
    partners: dict[int, tuple[float, bool]] = {}
    for i in range(5, process.size()):
        particle = process[i]
        size = particle.idAbs()
        if size not in (11, 13, 15) or not particle.isFinal():
            continue
        i_parent = particle.mother1()
        top = i
        while process[top].mother1() > 4:
            top = process[top].mother1()
        if size == 15:
            visible, is_lepton, number = _draw_tau(particle, process[i_parent], i_parent, partners, draws)
            particle.pol(float(number))
        else:
            visible, is_lepton = None, True
        resonances[top] = _vector(process[top])
        objects.append(_Object(top, _vector(particle), _vector(process[i_parent]), visible, is_lepton))
    return objects, resonances


def _draw_tau(
    tau: Any, parent: Any, i_parent: int, partners: dict[int, tuple[float, bool]], draws: _Draws
) -> tuple[Vector, bool, int]:
    """Decay of a tau; its helicity, and where forced its decay, go with those of its partner."""
    if i_parent in partners:
        polarisation, is_leptonic = partners[i_parent]
        if parent.idAbs() == _HIGGS:
            polarisation = -polarisation
        is_leptonic = not is_leptonic if draws.is_forced else draws.is_leptonic()
    else:
        polarisation = _polarisation(parent.idAbs(), draws.uniform())
        is_leptonic = draws.uniform() < 0.5 if draws.is_forced else draws.is_leptonic()
        partners[i_parent] = polarisation, is_leptonic
    number, visible = draws.draw(is_leptonic, polarisation)
    return visible, is_leptonic, number


def _polarisation(parent: int, u: float) -> float:
    """Helicity of a tau-, minus that of a tau+, of the first tau of a parent."""
    if parent == _W:
        return -1.0
    chance = {_HIGGS: 0.5, _Z: 0.5 * (1 + Z_POLARISATION)}.get(parent, 0.5)
    return 1.0 if u < chance else -1.0


@dataclass(frozen=True, eq=False)
class _Raw:
    """Pythia's record of a batch as flat arrays, ordered by event; mothers are indices into them."""

    starts: Integers
    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    mother: Integers
    momenta: Floats
    polarisation: Floats

    @property
    def n_events(self) -> int:
        return len(self.starts) - 1

    @property
    def tags(self) -> Integers:
        """Number that the filter left in the fourth line of each event."""
        return self.polarisation[self.starts[:-1] + 3].astype(np.int64)

    @property
    def is_visible(self) -> Booleans:
        """Final particles that the detector can see."""
        pt2 = self.momenta[0] ** 2 + self.momenta[1] ** 2
        central = self.momenta[2] ** 2 < np.sinh(MAX_ETA) ** 2 * pt2
        visible: Booleans = (self.status > 0) & central & ~np.isin(np.abs(self.pdg), NEUTRINOS)
        return visible


def _flat(batch: Any) -> _Raw:
    """Columns of Pythia's batch."""
    import awkward as ak

    particles = batch.prt
    sizes = ak.to_numpy(ak.num(particles.id))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def column(values: Any) -> NDArray[Any]:
        flat: NDArray[Any] = ak.to_numpy(ak.flatten(values))
        return flat

    momenta = np.stack([column(particles.p[k]) for k in ("px", "py", "pz", "e")])
    mother = column(particles.mother1) + np.repeat(starts[:-1], sizes)
    return _Raw(
        starts, column(particles.id), column(particles.status), mother, momenta, column(particles.pol)
    )


def _decay(raw: _Raw, draws: _Draws, rng: np.random.Generator) -> tuple[Particles, TrueTaus]:
    """Taus that Pythia left, decayed: those of the hard process as drawn, those of hadrons unpolarised."""
    event = np.repeat(np.arange(raw.n_events), np.diff(raw.starts))
    is_tau = (np.abs(raw.pdg) == 15) & (raw.status > 0)
    last = np.flatnonzero(is_tau)
    first = _first_copies(raw, last)
    numbers = np.where(raw.polarisation[first] == _NO_DRAW, 0, raw.polarisation[first]).astype(np.int64)
    visible, codes, is_leptonic = _products(draws, numbers, rng)
    tau = tuple(raw.momenta[:, last, None])
    parent = tuple(raw.momenta[:, raw.mother[first], None])
    lab = np.stack(taus.to_lab(tuple(np.moveaxis(visible, -1, 0)), tau, parent))
    sign = np.sign(raw.pdg[last])
    return _merged(raw, event, last, lab, codes * sign[:, None]), _true_taus(
        event[last], lab, is_leptonic, -sign
    )


def _first_copies(raw: _Raw, particles: Integers) -> Integers:
    """The copies of taus that came out of the hard process or a hadron, before they radiated."""
    while True:
        mothers = raw.mother[particles]
        is_copy = raw.pdg[mothers] == raw.pdg[particles]
        if not is_copy.any():
            return particles
        particles = np.where(is_copy, mothers, particles)


def _products(
    draws: _Draws, numbers: Integers, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int32], Booleans]:
    """Products in the helicity frame, shape (n, MAX_PRODUCTS, 4), codes of a tau-, which are leptonic."""
    n = len(numbers)
    visible = np.zeros((n, taus.MAX_PRODUCTS, 4))
    codes = np.zeros((n, taus.MAX_PRODUCTS), np.int32)
    is_leptonic = rng.random(n) < taus.B_LEPTONIC
    oriented: list[Orientations] = []
    for k, number in enumerate(numbers.tolist()):
        if number:
            is_leptonic[k], orientation = draws.list[number - 1]
        else:
            orientation = taus.orient(int(rng.integers(N_TEMPLATES)), 0.0, 0.0, rng.random(3).tolist())
        oriented.append(orientation)
    for flag, templates in ((True, draws.leptonic), (False, draws.hadronic)):
        rows = np.flatnonzero(is_leptonic == flag)
        if len(rows):
            visible[rows], codes[rows] = _turned(templates, [oriented[k] for k in rows.tolist()])
    return visible, codes, is_leptonic


def _turned(templates: Templates, oriented: list[Orientations]) -> tuple[Floats, NDArray[np.int32]]:
    chosen = np.array([o.template for o in oriented])
    angles = np.array([(o.cosine, o.azimuth, o.turn) for o in oriented]).T[:, :, None]
    rows = taus.rotation(Orientations(None, *angles))
    products = templates.products[chosen]
    turned = np.stack(taus.rotate(rows, tuple(np.moveaxis(products, -1, 0))), axis=-1)
    return turned, templates.pdg[chosen]


def _merged(raw: _Raw, event: Integers, last: Integers, lab: Floats, codes: NDArray[Any]) -> Particles:
    """Final particles with taus replaced by their products."""
    is_kept = raw.is_visible
    is_kept[last] = False
    kept = np.flatnonzero(is_kept)
    exists = codes != 0
    product_event = np.repeat(event[last], exists.sum(axis=1))
    all_events = np.concatenate([event[kept], product_event])
    order = np.argsort(all_events, kind="stable")
    momenta = np.concatenate([raw.momenta[:, kept], lab[:, exists]], axis=1)[:, order]
    pdg = np.concatenate([raw.pdg[kept], codes[exists].astype(np.int32)])[order]
    return Particles(starts_of(all_events[order], raw.n_events), pdg, momenta)


def _true_taus(event: Integers, lab: Floats, is_leptonic: Booleans, charge: Integers) -> TrueTaus:
    rows = np.flatnonzero(~is_leptonic)
    order = rows[np.argsort(event[rows], kind="stable")]
    return TrueTaus(event[order], lab.sum(axis=2)[:, order], charge[order].astype(np.int64))


def _decayed_by_pythia(raw: _Raw) -> tuple[Particles, TrueTaus]:
    """Particles, and the visible momenta of hadronic taus: what is left of a tau without its neutrinos."""
    event = np.repeat(np.arange(raw.n_events), np.diff(raw.starts))
    kept = np.flatnonzero(raw.is_visible)
    particles = Particles(starts_of(event[kept], raw.n_events), raw.pdg[kept], raw.momenta[:, kept])
    is_tau, size = np.abs(raw.pdg) == 15, np.abs(raw.pdg)
    radiates = np.zeros(len(is_tau), bool)
    radiates[raw.mother[is_tau]] = True
    from_tau = np.flatnonzero(is_tau[raw.mother] & ~radiates[raw.mother])
    mothers = raw.mother[from_tau]
    decayed, place = np.unique(mothers, return_inverse=True)
    is_seen = (~np.isin(size[from_tau], NEUTRINOS)).astype(np.float64)
    is_lepton = np.isin(size[from_tau], (11, 13)).astype(np.float64)
    has_lepton = sums_by(place, is_lepton, len(decayed)) > 0
    momenta = raw.momenta[:, from_tau] * is_seen
    visible = np.stack([sums_by(place, p, len(decayed)) for p in momenta])
    rows = np.flatnonzero(~has_lepton)
    charge = -np.sign(raw.pdg[decayed[rows]]).astype(np.int64)
    return particles, TrueTaus(event[decayed[rows]], visible[:, rows], charge)
