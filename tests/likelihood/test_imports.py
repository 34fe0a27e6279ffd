"""Import of HistFactory workspaces: the same expectation and the same fit as pyhf's."""

import copy
import json

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import fit, from_pyhf, histfactory_approximation, profile_interval, to_pyhf

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated")


def sample(name, data, *modifiers):
    """One sample of a workspace."""
    return {"name": name, "data": data, "modifiers": [dict(m) for m in modifiers]}


def modifier(name, kind, data=None):
    """One modifier of a sample."""
    return {"name": name, "type": kind, "data": data}


MU = modifier("sig", "normfactor")
LUMI = modifier("lumi", "lumi")
LUMI_SETTING = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]], "inits": [1.0]}


def workspace(*channels, observed, parameters=()):
    """Workspace of named channels, each a list of samples."""
    return {
        "version": "1.0.0",
        "channels": [{"name": name, "samples": samples} for name, samples in channels],
        "observations": [{"name": name, "data": data} for name, data in observed.items()],
        "measurements": [{"name": "m", "config": {"poi": "sig", "parameters": list(parameters)}}],
    }


SIGNAL_REGION = [
    sample(
        "signal",
        [5.0, 12.0, 20.0],
        MU,
        LUMI,
        modifier("theory", "normsys", {"hi": 1.1, "lo": 0.93}),
        modifier("stat_sr", "staterror", [0.4, 0.6, 0.8]),
    ),
    sample(
        "top",
        [100.0, 80.0, 60.0],
        LUMI,
        modifier("k_top", "normfactor"),
        modifier("jes", "histosys", {"hi_data": [104.0, 82.0, 57.0], "lo_data": [97.0, 79.0, 64.0]}),
        modifier("jes", "normsys", {"hi": 1.03, "lo": 0.98}),
        modifier("stat_sr", "staterror", [3.0, 3.0, 2.5]),
    ),
    sample(
        "multijet",
        [40.0, 30.0, 12.0],
        modifier("mj", "shapesys", [8.0, 5.0, 4.0]),
        modifier("stat_sr", "staterror", [1.0, 1.0, 1.0]),
    ),
]
CONTROL_REGION = [
    sample(
        "top",
        [400.0, 300.0],
        LUMI,
        modifier("k_top", "normfactor"),
        modifier("stat_cr", "staterror", [9.0, 8.0]),
    ),
    sample("other", [50.0, 70.0], modifier("rate", "normsys", {"hi": 1.2, "lo": 0.8})),
]
OBSERVED = {"SR": [150.0, 130.0, 101.0], "CR": [470.0, 352.0]}
FULL = workspace(("SR", SIGNAL_REGION), ("CR", CONTROL_REGION), observed=OBSERVED, parameters=[LUMI_SETTING])
SHAPEFACTOR = workspace(
    (
        "SR",
        [sample("signal", [2.0, 9.0], MU), sample("qcd", [50.0, 60.0], modifier("shape", "shapefactor"))],
    ),
    ("CR", [sample("qcd", [500.0, 600.0], modifier("shape", "shapefactor"))]),
    observed={"SR": [57.0, 75.0], "CR": [520.0, 610.0]},
)


def simple(name):
    """One of pyhf's own example models as a workspace."""
    import pyhf

    model = {
        "uncorrelated": pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [5.0, 7.0]),
        "correlated": pyhf.simplemodels.correlated_background([12.0, 11.0], [50.0, 52.0], [45, 53], [55, 50]),
    }[name]
    spec = json.loads(json.dumps(model.spec).replace('"mu"', '"sig"'))
    return workspace(
        *((c["name"], c["samples"]) for c in spec["channels"]),
        observed={spec["channels"][0]["name"]: [60.0, 67.0]},
    )


CASES = {
    "full": lambda: FULL,
    "shapefactor": lambda: SHAPEFACTOR,
    **{n: lambda n=n: simple(n) for n in ("uncorrelated", "correlated")},
}


@pytest.fixture(scope="module", params=CASES)
def both(request):
    """A workspace imported by us, and pyhf's model, data and fit of it."""
    import pyhf

    spec = CASES[request.param]()
    ws = pyhf.Workspace(copy.deepcopy(spec))
    model = ws.model()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    try:
        _, result = pyhf.infer.mle.fit(ws.data(model), model, return_result_obj=True)
    finally:
        pyhf.set_backend("numpy")
    ours, data = from_pyhf(spec)
    return ours, data, model, result.minuit


def values_of(ours, model, x):
    """Pyhf's parameter vector for ours; template factors stay at 1."""
    values = np.array(model.config.suggested_init())
    for name, p, pull in zip(ours.names, (None, *ours.nuisances), x, strict=True):
        theta = pull if p is None else p.prior.from_alpha(pull)
        if name == "mu":
            values[model.config.poi_index] = theta
        elif name.startswith("staterror["):
            global_bin = int(name[10:-1])
            values[model.config.par_slice("stat_cr").start + global_bin] = theta  # CR is the first channel
        elif "[" in name:
            modifier_name, i = name[:-1].split("[")
            values[model.config.par_slice(modifier_name).start + int(i)] = theta
        else:
            values[model.config.par_slice(name)] = theta
    return values


def test_expected_yields_are_the_same(both):
    """At random parameters every bin of every channel expects what pyhf expects."""
    ours, _, model, _ = both
    rng = np.random.default_rng(1)
    n_bins = sum(model.config.channel_nbins.values())
    for _ in range(5):
        x = np.array([rng.uniform(0, 3), *rng.uniform(-1.7, 1.7, len(ours.nuisances))])
        theirs = model.expected_actualdata(values_of(ours, model, x))
        assert ours.expected(x)[:n_bins] == pytest.approx(theirs, rel=1e-9)


def test_gradients_agree_with_differences(both):
    """The Jacobian of the imported model is the numerical one."""
    ours, data, _, _ = both
    rng = np.random.default_rng(2)
    likelihood = ours.likelihood(data)
    x = np.array([1.3, *rng.uniform(-1.4, 1.4, len(ours.nuisances))])
    steps = 1e-5 * np.eye(len(x))
    numerical = [(likelihood.twice_nll(x + s) - likelihood.twice_nll(x - s)) / 2e-5 for s in steps]
    assert likelihood.gradient(x) == pytest.approx(numerical, rel=1e-4, abs=1e-4)


def test_fits_agree(both):
    """Mu agrees with pyhf's own fit to 1e-3, its errors with MINOS on pyhf's likelihood to 1 %."""
    ours, data, model, minuit = both
    answer = profile_interval(ours.likelihood(data))
    assert answer.best["mu"] == pytest.approx(minuit.values[model.config.poi_index], abs=1e-3)
    errors = minuit.minos(model.config.poi_index).merrors["sig"]
    assert errors.is_valid
    assert answer.upper - answer.best["mu"] == pytest.approx(errors.upper, rel=0.01)
    if not errors.at_lower_limit:  # pyhf's mu is not negative
        assert answer.lower - answer.best["mu"] == pytest.approx(errors.lower, rel=0.01)


def test_an_exported_model_comes_back(higgs_like):
    """Export and import give the fit of the HistFactory approximation, with the same nuisances."""
    model = higgs_like(12)
    data = np.random.default_rng(3).poisson(model.expected(np.array([1.4, 0.5, -1.3, 0.4, 1.0, -0.5, 0.3])))
    imported, counts = from_pyhf(json.loads(json.dumps(to_pyhf(model, data))))
    assert counts.tolist() == data.tolist()
    assert set(imported.names) == set(model.names)
    theirs = fit(imported.likelihood(counts))
    ours = fit(histfactory_approximation(model).likelihood(data))
    assert theirs["mu"] == pytest.approx(ours["mu"], abs=1e-3)
    assert theirs.error("mu") == pytest.approx(ours.error("mu"), rel=1e-3)
    assert [theirs[n] for n in model.names] == pytest.approx(ours.values, abs=0.01)


def fixed(setting):
    """The full workspace with the setting of one parameter."""
    spec = copy.deepcopy(FULL)
    config = spec["measurements"][0]["config"]
    others = [p for p in config["parameters"] if p["name"] != setting["name"]]
    config["parameters"] = [*others, setting]
    return spec


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lumi", {**LUMI_SETTING, "inits": [1.03]}),
        ("k_top", {"inits": [1.1]}),
        ("rate", {"inits": [0.7]}),
        ("stat_sr", {}),
    ],
)
def test_fixed_parameters_stay_where_they_are(name, settings):
    """Parameters that the measurement fixes are no nuisances, and pyhf's fit with them agrees."""
    import pyhf

    spec = fixed(settings | {"name": name, "fixed": True})
    ours, data = from_pyhf(spec)
    assert name not in ours.names
    ws = pyhf.Workspace(copy.deepcopy(spec))
    model = ws.model()
    best = pyhf.infer.mle.fit(ws.data(model), model)
    assert fit(ours.likelihood(data))["mu"] == pytest.approx(best[model.config.poi_index], abs=2e-3)


def changed(change):
    """The full workspace with a change."""
    spec = copy.deepcopy(FULL)
    change(spec)
    return spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s["channels"][0]["samples"][0]["modifiers"].append(modifier("odd", "warp")),
            "'odd' is a 'warp'",
        ),
        (lambda s: s["channels"][0]["samples"][0]["modifiers"].pop(0), "'sig' is fixed, or no normfactor"),
        (lambda s: s["channels"][1]["samples"].append(sample("signal", [1.0, 1.0])), "some channels only"),
        (lambda s: s["measurements"][0]["config"]["parameters"].pop(), "lumi 'lumi' needs auxdata"),
        (
            lambda s: s["measurements"][0]["config"]["parameters"].append({"name": "jes", "sigmas": [2.0]}),
            "changes the constraint of 'jes'",
        ),
        (
            lambda s: s["channels"][1]["samples"][1]["modifiers"].append(
                modifier("k_top", "normsys", {"hi": 1.1, "lo": 0.9})
            ),
            "'k_top' is both a pull and a factor",
        ),
        (
            lambda s: s["channels"][0]["samples"][1].update(data=[0.0, 80.0, 60.0]),
            "'jes' fills a bin of sample 'top'",
        ),
        (
            lambda s: s["channels"][1]["samples"][1]["modifiers"].append(
                modifier("mj", "shapesys", [8.0, 5.0])
            ),
            "'mj' is used twice",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(change, message):
    """Unknown modifiers, ambiguous names and settings without an equivalent raise and say which."""
    with pytest.raises(InvalidDataError, match=message):
        from_pyhf(changed(change))


def test_another_measurement_can_be_chosen():
    """The name of a measurement selects it; an unknown one is refused with the known ones."""
    spec = copy.deepcopy(FULL)
    other = {
        "name": "no theory",
        "config": {"poi": "sig", "parameters": [LUMI_SETTING, {"name": "theory", "fixed": True}]},
    }
    spec["measurements"].append(other)
    assert "theory" in from_pyhf(spec)[0].names
    assert "theory" not in from_pyhf(spec, "no theory")[0].names
    with pytest.raises(InvalidDataError, match="among m, no theory"):
        from_pyhf(spec, "mm")
