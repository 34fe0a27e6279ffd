"""Small models of known answer for the likelihood tests."""

import numpy as np
import pytest

from fairuniverse.likelihood import Axis, BinnedModel, PolynomialMorphing, Templates
from fairuniverse.nuisance import LogNormal, Normal, NuisanceParameter
from fairuniverse.protocols import Process

PROCESSES = (
    Process("signal", 1000.0, is_signal=True),
    Process("z", 1e6),
    Process("top", 4e4),
    Process("vv", 4e3),
)
TES = NuisanceParameter("tes", Normal(1.0, 0.01), 1.0, (0.9, 1.1), "shape")
JES = NuisanceParameter("jes", Normal(1.0, 0.01), 1.0, (0.9, 1.1), "shape")
SOFT_MET = NuisanceParameter("soft_met", LogNormal(0.0, 1.0), 0.0, (0.0, 5.0), "shape")
TOP = NuisanceParameter("ttbar_scale", Normal(1.0, 0.02), 1.0, (0.8, 1.2), "normalisation", ("top",))
VV = NuisanceParameter("diboson_scale", Normal(1.0, 0.25), 1.0, (0.0, 2.0), "normalisation", ("vv",))
BKG = NuisanceParameter(
    "bkg_scale", Normal(1.0, 0.001), 1.0, (0.99, 1.01), "normalisation", ("z", "top", "vv")
)
AXES = (Axis(TES), Axis(JES), Axis(SOFT_MET, 2))


@pytest.fixture(scope="session")
def counting_model():
    """Factory of one bin with one background, its Monte Carlo error and its nuisances."""

    def make(signal=50.0, background=100.0, error=0.0, nuisances=()):
        processes = (Process("signal", signal, is_signal=True), Process("z", background))
        templates = Templates(processes, np.array([[signal], [background]]), np.array([[0.0], [error**2]]))
        return BinnedModel(templates, nuisances)

    return make


@pytest.fixture(scope="session")
def higgs_like():
    """Factory of a model with six nuisances, four processes, smooth shapes and the Higgs world's yields."""

    def make(n_bins=100, mc_factor=10.0):
        x = (np.arange(n_bins) + 0.5) / n_bins
        shapes = np.array([np.exp(3 * x), np.exp(-6 * x), np.exp(-2 * (x - 0.5) ** 2), np.exp(-x)])
        total = np.array([[p.expected_yield] for p in PROCESSES])
        yields = shapes / shapes.sum(axis=1, keepdims=True) * total
        powers = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 0, 0], [1, 1, 0], [0, 2, 0]])
        slopes = np.array([0.03, 0.02, 0.01, 0.003, 0.002, 0.001])[:, None, None]
        waves = np.cos(2 * np.pi * x * np.array([1, 2, 1.5, 0.7, 1.1, 1.7])[:, None])[:, None, :]
        strengths = np.array([0.5, 1.0, 0.7, 0.8])[:, None]
        morphing = PolynomialMorphing(AXES, powers, slopes * waves * strengths)
        templates = Templates(PROCESSES, yields, yields / mc_factor)
        return BinnedModel(templates, (TES, JES, SOFT_MET, TOP, VV, BKG), morphing)

    return make
