"""Polarised tau decays: templates in the tau rest frame, turned by their polarimeter vector, boosted.

A decay of an unpolarised tau is isotropic. With polarisation vector s it is weighted by 1 + s.h, where the
polarimeter vector h of the decay follows from its amplitude (Jadach, Kuehn and Was, Comput. Phys. Commun.
64 (1991) 275). So a decay of a polarised tau is an unpolarised one with its h turned to an angle theta from
the spin with density (1 + P |h| cos theta) / 2, and by random angles about both. The polarisation P is the
helicity of a tau-, minus the helicity of a tau+; both charges then decay alike.

Hadronic currents: rho dominance for two pions, a1 -> rho pi for three (Kuehn and Santamaria, Z. Phys. C48
(1990) 445); four pions by phase space. The part of h that changes sign with the handedness of three pions is
left out: no energy or angle of one tau alone shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats

Vector = tuple[Any, Any, Any, Any]
"""Momentum (x, y, z, energy), each a number or an array: the same arithmetic serves one event and many."""

M_TAU, M_PION, M_PION0, M_KAON = 1.77686, 0.13957, 0.13498, 0.49368
MAX_PRODUCTS = 9
"""Most visible particles of a decay: a pion and four pairs of photons."""

B_ELECTRON, B_MUON = 0.1782, 0.1739
B_LEPTONIC = B_ELECTRON + B_MUON
B_LEPTON_HADRON = 2 * B_LEPTONIC * (1 - B_LEPTONIC)
"""Branching fractions (PDG 2022); the last of a pair to lepton + hadrons."""

_HADRONIC = (
    # products (negative tau), share of hadronic decays, current
    ((-211,), 0.169, "pion"),
    ((-321,), 0.011, "pion"),
    ((-211, 111), 0.409, "rho"),
    ((111, 111, -211), 0.145, "a1"),
    ((-211, -211, 211), 0.148, "a1"),
    ((111, 111, 111, -211), 0.032, "four"),
    ((-211, -211, 211, 111), 0.086, "four"),
)
"""Decays of a tau-; kaons beyond the single one count as pions."""


@dataclass(frozen=True, eq=False)
class Templates:
    """Decays of taus at rest, the polarimeter vector along z.

    Attributes:
        products: Visible particles, shape (n, MAX_PRODUCTS, 4): x, y, z, energy in GeV; zero where none.
        pdg: Their codes for a tau-, shape (n, MAX_PRODUCTS); zero where none.
        polarimeter: Length of the polarimeter vector with the sign of its z component, shape (n,).
    """

    products: Floats
    pdg: NDArray[np.int32]
    polarimeter: Floats

    def __len__(self) -> int:
        return len(self.polarimeter)

    @property
    def visible(self) -> Floats:
        """Sum of the visible products, shape (n, 4)."""
        total: Floats = self.products.sum(axis=1)
        return total


def leptonic_templates(n: int, *, rng: np.random.Generator) -> Templates:
    """Decays to an electron or a muon, Michel spectrum, masses of the products neglected."""
    x = _michel_fractions(rng.random(n))
    products = np.zeros((n, MAX_PRODUCTS, 4))
    products[:, 0, 2] = products[:, 0, 3] = 0.5 * M_TAU * x
    pdg = np.zeros((n, MAX_PRODUCTS), np.int32)
    pdg[:, 0] = np.where(rng.random(n) < B_ELECTRON / B_LEPTONIC, 11, 13)
    return Templates(products, pdg, (1 - 2 * x) / (3 - 2 * x))


def hadronic_templates(n: int, *, rng: np.random.Generator) -> Templates:
    """Decays to one or three charged hadrons and up to three neutral pions, which decay to photons."""
    counts = rng.multinomial(n, [share for _, share, _ in _HADRONIC])
    parts = [
        _channel(codes, current, int(k), rng)
        for (codes, _, current), k in zip(_HADRONIC, counts, strict=True)
        if k
    ]
    order = rng.permutation(n)
    return Templates(
        *(
            np.concatenate([getattr(p, name) for p in parts])[order]
            for name in ("products", "pdg", "polarimeter")
        )
    )


@dataclass(frozen=True, eq=False)
class Orientations:
    """Which template a decay uses and how it is turned: arrays of equal length, or one decay.

    Attributes:
        template: Index of the template.
        cosine: Cosine of the polarimeter to the helicity axis.
        azimuth: Azimuth of the polarimeter about it.
        turn: Angle by which the products are turned about the polarimeter.
    """

    template: Any
    cosine: Any
    azimuth: Any
    turn: Any


def orient(template: Any, polarimeter: Any, polarisation: Any, uniforms: Sequence[Any]) -> Orientations:
    """Turn decays by their polarisation.

    Args:
        template: Indices of templates.
        polarimeter: Their signed polarimeters.
        polarisation: Helicity of a tau-, minus helicity of a tau+; 0 for unpolarised taus.
        uniforms: Three uniform random numbers for each decay.
    """
    a = polarisation * polarimeter
    u, v, w = uniforms
    # Root of the cumulative distribution of (1 + a c) / 2 that is stable at a = 0.
    cosine = (4 * u + a - 2) / (((1 - a) ** 2 + 4 * a * u) ** 0.5 + 1)
    return Orientations(template, cosine, 2 * np.pi * v, 2 * np.pi * w)


def rotation(o: Orientations) -> tuple[tuple[Any, Any, Any], ...]:
    """Rows of the matrix that turns a template into the helicity frame: Rz(azimuth) Ry(theta) Rz(turn)."""
    c, s = o.cosine, (1 - o.cosine * o.cosine) ** 0.5
    cf, sf, ct, st = np.cos(o.azimuth), np.sin(o.azimuth), np.cos(o.turn), np.sin(o.turn)
    return (
        (cf * c * ct - sf * st, -cf * c * st - sf * ct, cf * s),
        (sf * c * ct + cf * st, -sf * c * st + cf * ct, sf * s),
        (-s * ct, s * st, c),
    )


def rotate(rows: tuple[tuple[Any, Any, Any], ...], p: Vector) -> Vector:
    """A momentum turned by a matrix."""
    x, y, z = (r[0] * p[0] + r[1] * p[1] + r[2] * p[2] for r in rows)
    return x, y, z, p[3]


def boost(p: Vector, frame: Vector, mass: Any, direction: int = 1) -> Vector:
    """A momentum from the rest frame of a particle to where it has momentum `frame`; -1 for the way back."""
    along = direction * (frame[0] * p[0] + frame[1] * p[1] + frame[2] * p[2])
    energy = (frame[3] * p[3] + along) / mass
    k = direction * (energy + p[3]) / (frame[3] + mass)
    return p[0] + k * frame[0], p[1] + k * frame[1], p[2] + k * frame[2], energy


def mass_of(p: Vector) -> Any:
    """Invariant mass, at least a keV."""
    square = p[3] * p[3] - p[0] * p[0] - p[1] * p[1] - p[2] * p[2]
    return abs(square) ** 0.5 + 1e-6


def to_lab(product: Vector, tau: Vector, parent: Vector) -> Vector:
    """A decay product from the helicity frame of its tau to the lab.

    The helicity frame is the rest frame of the tau with z against the momentum of the tau's parent there;
    its x axis is perpendicular to the beam.

    Args:
        product: Momentum in the helicity frame.
        tau: Momentum of the tau in the lab.
        parent: Momentum of its parent in the lab.
    """
    m = mass_of(tau)
    b = boost(parent, tau, m, -1)
    length = (b[0] * b[0] + b[1] * b[1] + b[2] * b[2]) ** 0.5 + 1e-12
    nx, ny, nz = -b[0] / length, -b[1] / length, -b[2] / length
    nt = (nx * nx + ny * ny) ** 0.5 + 1e-12
    ux, uy = -ny / nt, nx / nt
    vx, vy, vz = -nz * uy, nz * ux, nt
    x, y, z, e = product
    at_rest = (x * ux + y * vx + z * nx, x * uy + y * vy + z * ny, y * vz + z * nz, e)
    return boost(at_rest, tau, m)


def _michel_fractions(u: Floats) -> Floats:
    """Energy of the lepton over its maximum, density 2 x^2 (3 - 2 x), from uniform numbers."""
    x = 0.82 * np.cbrt(u) + 0.18 * u
    for _ in range(4):  # Newton's method on x^3 (2 - x) = u
        x -= (x**3 * (2 - x) - u) / (x * x * (6 - 4 * x) + 1e-12)
    fractions: Floats = np.clip(x, 0, 1)
    return fractions


def _channel(codes: Sequence[int], current: str, n: int, rng: np.random.Generator) -> Templates:
    """Templates of one decay."""
    masses = [{111: M_PION0, 321: M_KAON}.get(abs(c), M_PION) for c in codes]
    momenta, polarimeter = _unweighted(masses, current, n, rng)
    momenta, signed = _polarimeter_to_z(momenta, polarimeter)
    return Templates(*_with_photons(momenta, codes, rng), signed)


def _unweighted(
    masses: Sequence[float], current: str, n: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Momenta (n, n_hadrons, 4) and polarimeter vectors (n, 3) of unpolarised decays, by rejection."""
    momenta, vectors = [np.empty((0, len(masses), 4))], [np.empty((0, 3))]
    top, n_found = 0.0, 0
    while n_found < n:
        p, phase_space = _phase_space(masses, 4 * n + 1000, rng)
        amplitude, h = _CURRENTS[current](p)
        weight = phase_space * amplitude
        # The largest weight of a sample is exceeded now and then: by little and seldom enough.
        top = max(top, float(weight.max()))
        kept = rng.random(len(weight)) * top < weight
        momenta.append(p[kept])
        vectors.append(h[kept])
        n_found += int(kept.sum())
    return np.concatenate(momenta)[:n], np.concatenate(vectors)[:n]


def _phase_space(masses: Sequence[float], n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Decays to hadrons and a neutrino in the rest frame of the tau, and their weights.

    Invariant masses of the last k hadrons are flat; each two-body step then weighs its momentum.
    """
    parents = np.full((len(masses) + 1, n), M_TAU)
    weight, highest = np.ones(n), np.full(n, M_TAU)
    for i in range(len(masses)):  # mass of hadrons i, i + 1, ...
        lowest = sum(masses[i:])
        if i == len(masses) - 1:
            parents[i + 1] = masses[-1]
            continue
        parents[i + 1] = lowest + (highest - lowest) * rng.random(n)
        weight *= highest - lowest
        highest = parents[i + 1] - masses[i]
    frame: Vector = (np.zeros(n), np.zeros(n), np.zeros(n), parents[0])
    hadrons = np.empty((n, len(masses), 4))
    for i, (m, rest) in enumerate(zip([0.0, *masses[:-1]], parents[1:], strict=True)):
        momentum = _two_body_momentum(parents[i], m, rest)
        weight *= momentum
        particle, other = _back_to_back(momentum, m, rest, rng)
        if i > 0:
            hadrons[:, i - 1] = np.stack(boost(particle, frame, parents[i]), axis=1)
        frame = boost(other, frame, parents[i])
    hadrons[:, -1] = np.stack(frame, axis=1)
    return hadrons, weight


def _two_body_momentum(parent: Floats, first: float, second: Floats) -> Floats:
    sums, differences = parent**2 - (first + second) ** 2, parent**2 - (first - second) ** 2
    momentum: Floats = np.sqrt(np.maximum(sums * differences, 0)) / (2 * parent)
    return momentum


def _back_to_back(
    momentum: Floats, first: float, second: Floats, rng: np.random.Generator
) -> tuple[Vector, Vector]:
    """Isotropic directions for two particles of given momentum."""
    c, f = 2 * rng.random(len(momentum)) - 1, 2 * np.pi * rng.random(len(momentum))
    s = np.sqrt(1 - c * c)
    x, y, z = momentum * s * np.cos(f), momentum * s * np.sin(f), momentum * c
    return (x, y, z, np.hypot(momentum, first)), (-x, -y, -z, np.hypot(momentum, second))


_METRIC = np.array([-1.0, -1.0, -1.0, 1.0])


def _dot(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    product: NDArray[Any] = (a * b) @ _METRIC
    return product


def _from_current(p: Floats, j: NDArray[Any]) -> tuple[Floats, Floats]:
    """Squared amplitude and polarimeter of tau -> neutrino + hadrons from the hadronic current.

    Pi = 2 Re[(J* . N) J] - (J* . J) N with the neutrino's momentum N; the squared amplitude is its time
    component in the rest frame of the tau, the polarimeter its direction over that.
    """
    neutrino = np.array([0.0, 0.0, 0.0, M_TAU]) - p.sum(axis=1)
    overlap = _dot(np.conj(j), neutrino)[:, None]
    pi = 2 * np.real(overlap * j) - np.real(_dot(np.conj(j), j))[:, None] * neutrino
    return pi[:, 3], pi[:, :3] / pi[:, 3:]


def _pion(p: Floats) -> tuple[Floats, Floats]:
    return _from_current(p, p[:, 0])


def _rho(p: Floats) -> tuple[Floats, Floats]:
    total = p.sum(axis=1)
    return _from_current(p, _breit_wigner_rho(_dot(total, total))[:, None] * (p[:, 0] - p[:, 1]))


def _a1(p: Floats) -> tuple[Floats, Floats]:
    """Two like pions first, the odd one last: each of the former makes a rho with the latter."""
    total = p.sum(axis=1)
    s = _dot(total, total)
    current = np.zeros_like(total, dtype=complex)
    for i in (0, 1):
        pair, difference = p[:, i] + p[:, 2], p[:, i] - p[:, 2]
        transverse = difference - total * (_dot(total, difference) / s)[:, None]
        current += _breit_wigner_rho(_dot(pair, pair))[:, None] * transverse
    return _from_current(p, _breit_wigner_a1(s)[:, None] * current)


def _four(p: Floats) -> tuple[Floats, Floats]:
    """Spin-1 resonance that decays by phase space; its polarimeter is along its momentum."""
    total = p.sum(axis=1)
    s = _dot(total, total)
    x = s / M_TAU**2
    amplitude = (1 - x) * (1 + 2 * x) / ((s - 1.465**2) ** 2 + (1.465 * 0.4) ** 2)
    alpha = (1 - 2 * x) / (1 + 2 * x)
    momentum = total[:, :3]
    return amplitude, alpha[:, None] * momentum / np.linalg.norm(momentum, axis=1)[:, None]


_CURRENTS = {"pion": _pion, "rho": _rho, "a1": _a1, "four": _four}


def _breit_wigner_rho(s: Floats) -> NDArray[Any]:
    m, width, threshold = 0.7753, 0.149, 4 * M_PION**2
    p_over_pole = np.sqrt(np.maximum(s - threshold, 0) / (m * m - threshold))
    running = width * m / np.sqrt(s) * p_over_pole**3
    amplitude: NDArray[Any] = m * m / (m * m - s - 1j * np.sqrt(s) * running)
    return amplitude


def _breit_wigner_a1(s: Floats) -> NDArray[Any]:
    """Width that runs with the phase space of rho pi (Kuehn and Santamaria, eq. 3.16)."""
    m, width = 1.251, 0.599
    running = width * _a1_phase_space(s) / _a1_phase_space(np.array(m * m))
    amplitude: NDArray[Any] = m * m / (m * m - s - 1j * m * running)
    return amplitude


def _a1_phase_space(s: Floats) -> Floats:
    above = s * (1.623 + 10.38 / s - 9.32 / s**2 + 0.65 / s**3)
    t = np.maximum(s - 9 * M_PION**2, 0)
    below = 4.1 * t**3 * (1 - 3.3 * t + 5.8 * t**2)
    return np.where(s > (0.7753 + M_PION) ** 2, above, below)


def _polarimeter_to_z(momenta: Floats, h: Floats) -> tuple[Floats, Floats]:
    """Turn decays so that the polarimeter points along z; its length."""
    length = np.linalg.norm(h, axis=1)
    z = h / np.maximum(length, 1e-12)[:, None]
    other = np.where(np.abs(z[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    x = np.cross(other, z)
    x /= np.linalg.norm(x, axis=1)[:, None]
    axes = np.stack([x, np.cross(z, x), z], axis=1)
    turned = momenta.copy()
    turned[:, :, :3] = np.einsum("nij,nkj->nki", axes, momenta[:, :, :3])
    return turned, length


def _with_photons(
    momenta: Floats, codes: Sequence[int], rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int32]]:
    """Neutral pions replaced by photons; products and their codes."""
    n = len(momenta)
    products, pdg, k = np.zeros((n, MAX_PRODUCTS, 4)), np.zeros((n, MAX_PRODUCTS), np.int32), 0
    for i, code in enumerate(codes):
        if code != 111:
            products[:, k], pdg[:, k] = momenta[:, i], code
            k += 1
            continue
        half = np.full(n, 0.5 * M_PION0)
        for photon in _back_to_back(half, 0.0, np.zeros(n), rng):
            p = tuple(momenta[:, i].T)
            products[:, k], pdg[:, k] = np.stack(boost(photon, p, M_PION0), axis=1), 22
            k += 1
    return products, pdg
