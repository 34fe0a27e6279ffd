"""Likelihoods with known parameters."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import BinnedModel, ConditionalLikelihood, Templates, fit, profile_interval
from fairuniverse.nuisance import Normal, NuisanceParameter
from fairuniverse.protocols import Process

PROCESSES = (Process("signal", 20.0, is_signal=True), Process("background", 100.0))
SCALE = NuisanceParameter("scale", Normal(1.0, 0.2), 1.0, (0.0, 3.0), "normalisation", ("background",))


@pytest.fixture(scope="module")
def likelihood():
    """Two bins, one of them all background."""
    templates = Templates(PROCESSES, np.array([[20.0, 1e-9], [50.0, 50.0]]), np.zeros((2, 2)))
    return BinnedModel(templates, (SCALE,)).likelihood([75, 60])


def test_it_is_the_likelihood_at_the_known_values(likelihood):
    """Values, derivatives and the fit are those of the whole one with the parameter fixed."""
    conditional = ConditionalLikelihood(likelihood, {"scale": 1.5})
    whole = np.array([1.2, 1.5])
    assert [p.name for p in conditional.parameters] == ["mu"]
    assert conditional.twice_nll(whole[:1]) == likelihood.twice_nll(whole)
    assert conditional.gradient(whole[:1]) == pytest.approx(likelihood.gradient(whole)[:1])
    assert fit(conditional)["mu"] == pytest.approx(fit(likelihood, fixed={"scale": 1.5})["mu"], abs=1e-4)


def test_knowing_more_narrows_the_interval(likelihood):
    """With the background known the error of mu is that of one count, sqrt(mu s + b) / s."""
    known = profile_interval(ConditionalLikelihood(likelihood, {"scale": 0.0}))
    assert known.upper - known.lower < 0.95 * (lambda i: i.upper - i.lower)(profile_interval(likelihood))
    assert known.best["mu"] == pytest.approx(25 / 20, abs=1e-3)
    assert known.best.error("mu") == pytest.approx(np.sqrt(75) / 20, rel=1e-3)


def test_unknown_names_are_refused(likelihood):
    """The message lists the parameters there are."""
    with pytest.raises(InvalidDataError, match="no parameter 'scal' among mu, scale"):
        ConditionalLikelihood(likelihood, {"scal": 1.0})
