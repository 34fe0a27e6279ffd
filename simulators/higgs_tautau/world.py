"""Processes, yields and nuisance parameters of the Higgs world (arXiv:2410.02867, section 4 and table 2)."""

from __future__ import annotations

from collections.abc import Mapping

from fairuniverse.nuisance import LogNormal, Normal, NuisanceParameter
from fairuniverse.protocols import Process

SIGNAL = "htautau"
PROCESS_NAMES = (SIGNAL, "ztautau", "ttbar", "diboson")
BACKGROUNDS = PROCESS_NAMES[1:]

LUMINOSITY = 10.0
"""Integrated luminosity that expected events are quoted for, fb^-1."""

YIELDS: Mapping[str, Mapping[str, float]] = {
    "official": {"htautau": 1015.0, "ztautau": 1002395.0, "ttbar": 44192.0, "diboson": 3783.0},
    "physics": {"htautau": 2023.0, "ztautau": 361800.0, "ttbar": 102080.0, "diboson": 6060.0},
}
"""Expected events at 10 fb^-1, 13 TeV, before the 26 GeV selection.

``official`` are those of the public data, where the Z yield is 3.7 times the leading-order one.
``physics`` are our leading-order cross sections times acceptance times K factors of 1.7 (Higgs), 1.35 (Z),
1.6 (top) and 1.2 (diboson).
"""

NUISANCES = (
    NuisanceParameter(
        "tes", Normal(1.0, 0.01), 1.0, (0.9, 1.1), "shape", meaning="Tau energy scale, a factor on tau pT."
    ),
    NuisanceParameter(
        "jes", Normal(1.0, 0.01), 1.0, (0.9, 1.1), "shape", meaning="Jet energy scale, a factor on jet pT."
    ),
    NuisanceParameter(
        "soft_met",
        LogNormal(0.0, 1.0),
        0.0,
        (0.0, 5.0),
        "shape",
        meaning="Width of Gaussian noise on each component of the missing momentum, GeV.",
    ),
    NuisanceParameter(
        "ttbar_scale",
        Normal(1.0, 0.02),
        1.0,
        (0.8, 1.2),
        "normalisation",
        ("ttbar",),
        "Factor on the top yield.",
    ),
    NuisanceParameter(
        "diboson_scale",
        Normal(1.0, 0.25),
        1.0,
        (0.0, 2.0),
        "normalisation",
        ("diboson",),
        "Factor on the diboson yield.",
    ),
    NuisanceParameter(
        "bkg_scale",
        Normal(1.0, 0.001),
        1.0,
        (0.99, 1.01),
        "normalisation",
        BACKGROUNDS,
        "Factor on the yield of every background, on top of its own.",
    ),
)
"""The six nuisance parameters of the challenge."""


def processes(preset: str) -> tuple[Process, ...]:
    """Processes with the yields of a preset, "official" or "physics"."""
    yields = YIELDS[preset]
    return tuple(Process(name, yields[name], name == SIGNAL) for name in PROCESS_NAMES)
