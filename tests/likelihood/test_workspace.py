"""Export to pyhf: the exported model is the same model, and its fit agrees."""

import json

import numpy as np
import pytest

from fairuniverse.likelihood import fit, histfactory_approximation, profile_interval, to_pyhf

# pyhf 0.7.6 calls a deprecated part of jsonschema.
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated")

CODES = {"histosys": {"interpcode": "code4p"}, "normsys": {"interpcode": "code4"}}
TRUTH = np.array([1.4, 0.5, -1.3, 0.4, 1.0, -0.5, 0.3])


@pytest.fixture(scope="module")
def pyhf_fit(higgs_like):
    """Model, data, pyhf's model of the exported workspace, and pyhf's own fit."""
    import pyhf

    model = higgs_like(12)
    data = np.random.default_rng(3).poisson(model.expected(TRUTH))
    workspace = pyhf.Workspace(json.loads(json.dumps(to_pyhf(model, data))))
    exported = workspace.model(modifier_settings=CODES)
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    try:
        _, result = pyhf.infer.mle.fit(workspace.data(exported), exported, return_result_obj=True)
    finally:
        pyhf.set_backend("numpy")
    return model, data, exported, result.minuit


def test_expected_yields_are_the_same(pyhf_fit):
    """At any pulls the exported workspace expects what our model in HistFactory's words expects."""
    model, _, exported, _ = pyhf_fit
    ours = histfactory_approximation(model)
    for x in (ours.start, TRUTH, np.array([0.3, -1.8, 2.2, -0.6, 0.1, 1.5, -2.0])):
        values = np.array(exported.config.suggested_init())
        for name, value in zip(ours.names, x, strict=True):
            values[exported.config.par_slice(name)] = value
        assert exported.expected_actualdata(values) == pytest.approx(ours.expected(x), rel=1e-9)


def test_fits_agree(pyhf_fit):
    """Estimates agree with pyhf's own fit to 1e-3 in mu and 0.01 in the pulls."""
    model, data, exported, minuit = pyhf_fit
    ours = fit(histfactory_approximation(model).likelihood(data))
    theirs = [minuit.values[exported.config.par_slice(name).start] for name in model.names]
    assert ours["mu"] == pytest.approx(theirs[0], abs=1e-3)
    assert ours.values == pytest.approx(theirs, abs=0.01)


def test_errors_agree(pyhf_fit):
    """Both errors of mu agree to 1 % with MINOS on pyhf's likelihood."""
    model, data, exported, minuit = pyhf_fit
    answer = profile_interval(histfactory_approximation(model).likelihood(data))
    errors = minuit.minos(exported.config.poi_index).merrors["mu"]
    assert errors.is_valid
    assert answer.upper - answer.best["mu"] == pytest.approx(errors.upper, rel=0.01)
    assert answer.lower - answer.best["mu"] == pytest.approx(errors.lower, rel=0.01)


def test_the_workspace_without_template_uncertainty_has_no_staterror(higgs_like):
    """Exact templates are exported without staterror modifiers."""
    model = higgs_like(3, mc_factor=np.inf)
    samples = to_pyhf(model, [1, 2, 3])["channels"][0]["samples"]
    assert all(m["type"] != "staterror" for s in samples for m in s["modifiers"])
