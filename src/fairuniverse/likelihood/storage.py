"""Binned models on disk: arrays and plain words in one ``.npz``, readable without pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood.binned import BinnedModel
from fairuniverse.likelihood.factors import LinearFactor
from fairuniverse.likelihood.monomials import Axis
from fairuniverse.likelihood.morphing import PolynomialMorphing
from fairuniverse.likelihood.template_errors import PoissonErrors
from fairuniverse.likelihood.templates import Templates
from fairuniverse.nuisance import LogNormal, Normal, NuisanceParameter, Prior, Uniform
from fairuniverse.protocols import Process

_PRIORS: dict[str, Callable[..., Prior]] = {"Normal": Normal, "LogNormal": LogNormal, "Uniform": Uniform}


def save_model(model: BinnedModel, path: str | Path) -> None:
    """Write a binned model with polynomial morphing, or none, to an ``.npz`` file.

    Raises:
        InvalidDataError: The model has another morphing, other factors or other template errors; save the
            model it came from.
    """
    morphing = model.morphing
    is_plain = model.factor is LinearFactor and model.template_errors is PoissonErrors
    if not (is_plain and isinstance(morphing, PolynomialMorphing | None)):
        raise InvalidDataError(
            "only models with polynomial morphing, linear factors and Poisson template errors can be saved"
        )
    words = {
        "processes": [asdict(p) for p in model.templates.processes],
        "nuisances": [asdict(p) | {"prior_family": type(p.prior).__name__} for p in model.nuisances],
        "axis_powers": None if morphing is None else [axis.power for axis in morphing.axes],
    }
    arrays: dict[str, NDArray[Any]] = {
        "yields": model.templates.yields,
        "variances": model.templates.variances,
    }
    if morphing is not None:
        arrays |= {"powers": morphing.powers, "coefficients": morphing.coefficients}
    arrays["words"] = np.array(json.dumps(words))
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # the stub mistakes them for options


def load_model(path: str | Path) -> BinnedModel:
    """Read a binned model written by `save_model`."""
    with np.load(path, allow_pickle=False) as file:
        words = json.loads(str(file["words"]))
        processes = tuple(Process(**p) for p in words["processes"])
        templates = Templates(processes, file["yields"], file["variances"])
        nuisances = tuple(_nuisance(p) for p in words["nuisances"])
        if words["axis_powers"] is None:
            return BinnedModel(templates, nuisances)
        shapes = [p for p in nuisances if p.kind == "shape"]
        axes = tuple(Axis(p, k) for p, k in zip(shapes, words["axis_powers"], strict=True))
        morphing = PolynomialMorphing(axes, file["powers"], file["coefficients"])
        return BinnedModel(templates, nuisances, morphing)


def _nuisance(words: dict[str, Any]) -> NuisanceParameter:
    prior = _PRIORS[words.pop("prior_family")](**words.pop("prior"))
    bounds, processes = tuple(words.pop("bounds")), tuple(words.pop("processes"))
    return NuisanceParameter(prior=prior, bounds=bounds, processes=processes, **words)
