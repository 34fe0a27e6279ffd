"""Likelihood toolkit: templates, morphing, binned likelihoods, fits and intervals.

>>> from fairuniverse.likelihood import BinnedModel, Templates, profile_interval
>>> from fairuniverse.protocols import Process
>>> import numpy as np
>>> processes = (Process("signal", 20.0, is_signal=True), Process("background", 100.0))
>>> templates = Templates(processes, np.array([[15.0, 5.0], [20.0, 80.0]]), np.zeros((2, 2)))
>>> answer = profile_interval(BinnedModel(templates).likelihood([40, 84]))
>>> print(f"{answer.interval.mu_hat:.2f} [{answer.lower:.2f}, {answer.upper:.2f}]")
1.31 [0.92, 1.74]
"""

from fairuniverse.likelihood.belts import BeltInterval, NeymanBelt, feldman_cousins
from fairuniverse.likelihood.binned import BinnedLikelihood, BinnedModel
from fairuniverse.likelihood.calibration import IntervalCalibration, calibrate_intervals
from fairuniverse.likelihood.conditional import ConditionalLikelihood
from fairuniverse.likelihood.densities import DensityLikelihood, DensityModel
from fairuniverse.likelihood.fit import FitResult, Likelihood, Parameter, fit
from fairuniverse.likelihood.goodness import GoodnessOfFit, goodness_of_fit, toy_goodness_of_fit
from fairuniverse.likelihood.histfactory import Code4Morphing, LinearMorphing, ProductMorphing
from fairuniverse.likelihood.impacts import Breakdown, Impact, Impacts, breakdown, impacts
from fairuniverse.likelihood.imports import from_pyhf
from fairuniverse.likelihood.interval import ProfileInterval, minos_interval, profile_interval
from fairuniverse.likelihood.monomials import Axis, Monomials
from fairuniverse.likelihood.morphing import (
    Code4pMorphing,
    Morphing,
    PiecewiseExponentialMorphing,
    PolynomialMorphing,
)
from fairuniverse.likelihood.observables import BinnedScore, best_start, binned_model, shape_axes
from fairuniverse.likelihood.parameterized import ParameterizedLikelihood, with_numerical_gradient
from fairuniverse.likelihood.profile import ProfileRatio, profile_scan
from fairuniverse.likelihood.storage import load_model, save_model
from fairuniverse.likelihood.template_errors import GaussianErrors, PoissonErrors, TemplateErrors
from fairuniverse.likelihood.templates import Templates, fill_templates
from fairuniverse.likelihood.unbinned import EventTerms, UnbinnedLikelihood, UnbinnedModel
from fairuniverse.likelihood.workspace import histfactory_approximation, to_pyhf

__all__ = [
    "Axis",
    "BeltInterval",
    "BinnedLikelihood",
    "BinnedModel",
    "BinnedScore",
    "Breakdown",
    "Code4Morphing",
    "Code4pMorphing",
    "ConditionalLikelihood",
    "DensityLikelihood",
    "DensityModel",
    "EventTerms",
    "FitResult",
    "GaussianErrors",
    "GoodnessOfFit",
    "Impact",
    "Impacts",
    "IntervalCalibration",
    "Likelihood",
    "LinearMorphing",
    "Monomials",
    "Morphing",
    "NeymanBelt",
    "Parameter",
    "ParameterizedLikelihood",
    "PiecewiseExponentialMorphing",
    "PoissonErrors",
    "PolynomialMorphing",
    "ProductMorphing",
    "ProfileInterval",
    "ProfileRatio",
    "TemplateErrors",
    "Templates",
    "UnbinnedLikelihood",
    "UnbinnedModel",
    "best_start",
    "binned_model",
    "breakdown",
    "calibrate_intervals",
    "feldman_cousins",
    "fill_templates",
    "fit",
    "from_pyhf",
    "goodness_of_fit",
    "histfactory_approximation",
    "impacts",
    "load_model",
    "minos_interval",
    "profile_interval",
    "profile_scan",
    "save_model",
    "shape_axes",
    "to_pyhf",
    "toy_goodness_of_fit",
    "with_numerical_gradient",
]
