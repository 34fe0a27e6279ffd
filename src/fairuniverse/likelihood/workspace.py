"""Export of a binned model to HistFactory (pyhf)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.binned import BinnedModel
from fairuniverse.likelihood.factors import Code4Factor
from fairuniverse.likelihood.morphing import Code4pMorphing
from fairuniverse.likelihood.template_errors import GaussianErrors
from fairuniverse.nuisance import NuisanceParameter

CHANNEL = "bins"
MEASUREMENT = "fairuniverse"


def histfactory_approximation(model: BinnedModel) -> BinnedModel:
    """The same model as HistFactory says it: ``code4p`` morphing, ``code4`` normalisations, ``staterror``.

    The first two agree with the model at 0 and +-1 sigma of every nuisance.
    """
    morphing = None if model.morphing is None else Code4pMorphing.through(model.morphing)
    return replace(model, morphing=morphing, factor=Code4Factor.of, template_errors=GaussianErrors)


def to_pyhf(model: BinnedModel, data: ArrayLike) -> dict[str, Any]:
    """Workspace for pyhf, version 1.0.0 of its schema, as JSON-serialisable objects.

    Args:
        model: Binned model of any morphing.
        data: Shape (n_bins,), observed counts.

    Returns:
        Workspace with one channel. Shape nuisances become ``histosys`` (interpolation ``code4p``),
        normalisations ``normsys``, template uncertainties ``staterror``.

    Notes:
        What HistFactory cannot say is approximated: cross terms between shape nuisances are dropped, and a
        normalisation nuisance is linear only at 0 and +-1 sigma. `histfactory_approximation` does the same
        to our likelihood; fits of the two agree (``modifier_settings``: histosys code4p, normsys code4).

    Raises:
        InvalidDataError: A nuisance parameter has no constraint: HistFactory constrains all of these kinds.
    """
    free = [p.name for p in model.nuisances if not p.prior.is_constraint]
    if free:
        raise InvalidDataError(f"{free[0]} has a uniform prior, which histosys and normsys cannot express")
    samples = [_sample(model, i, name) for i, name in enumerate(p.name for p in model.templates.processes)]
    low, high = model.parameters[0].bounds
    poi = {"name": "mu", "inits": [1.0], "bounds": [[low, min(high, _MAX_MU)]]}
    return {
        "version": "1.0.0",
        "channels": [{"name": CHANNEL, "samples": samples}],
        "observations": [{"name": CHANNEL, "data": _numbers(np.asarray(data, float))}],
        "measurements": [{"name": MEASUREMENT, "config": {"poi": "mu", "parameters": [poi]}}],
    }


_MAX_MU = 100.0


def _sample(model: BinnedModel, row: int, name: str) -> dict[str, Any]:
    morphing, templates = model.morphing, model.templates
    sigmas = np.eye(0 if morphing is None else len(morphing.parameters))
    central = np.ones_like(templates.yields) if morphing is None else morphing.ratio(np.zeros(len(sigmas)))
    scale = central[row] * math.prod(p.prior.from_alpha(0.0) for p in _normalisations(model, name))
    modifiers: list[dict[str, Any]] = []
    if templates.processes[row].is_signal:
        modifiers.append({"name": "mu", "type": "normfactor", "data": None})
    modifiers += [_normsys(p) for p in _normalisations(model, name)]
    if morphing is not None:
        for p, sigma in zip(morphing.parameters, sigmas, strict=True):
            relative = (morphing.ratio(s * sigma)[row] / central[row] for s in (1, -1))
            up, down = (templates.yields[row] * scale * ratio for ratio in relative)
            modifiers.append(_histosys(p, up, down))
    error = np.sqrt(templates.variances[row]) * scale
    if templates.variances.any():
        modifiers.append({"name": f"staterror_{CHANNEL}", "type": "staterror", "data": _numbers(error)})
    return {"name": name, "data": _numbers(templates.yields[row] * scale), "modifiers": modifiers}


def _normalisations(model: BinnedModel, process: str) -> list[NuisanceParameter]:
    return [p for p in model.nuisances if p.kind == "normalisation" and process in p.processes]


def _normsys(p: NuisanceParameter) -> dict[str, Any]:
    down, nominal, up = (p.prior.from_alpha(alpha) for alpha in (-1.0, 0.0, 1.0))
    return {"name": p.name, "type": "normsys", "data": {"hi": up / nominal, "lo": down / nominal}}


def _histosys(p: NuisanceParameter, up: NDArray[np.float64], down: NDArray[np.float64]) -> dict[str, Any]:
    return {"name": p.name, "type": "histosys", "data": {"hi_data": _numbers(up), "lo_data": _numbers(down)}}


def _numbers(values: NDArray[np.float64]) -> list[float]:
    return [float(v) for v in values]
