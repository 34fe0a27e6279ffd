"""The profile-likelihood baseline."""

import numpy as np
import pytest

from fairuniverse.likelihood import fill_templates, profile_interval


@pytest.fixture(scope="module")
def submission(load_as_stranger):
    """The module as a stranger's copy, with fewer trees."""
    module = load_as_stranger("profile_likelihood")
    module.N_TREES = 20
    return module


@pytest.fixture(scope="module")
def model(submission, make_training):
    """The fitted model, all nuisances floating."""
    fitted = submission.Model()
    fitted.fit(make_training())
    return fitted


def test_bins_hold_every_event_and_know_their_background(model, toy, submission):
    """Every event has a bin, and no bin's template is less certain than asked for."""
    counts = np.bincount(model.observable(toy), minlength=model.observable.n_bins)
    templates = model.binned.templates
    background = templates.yields[1:].sum(axis=0) ** 2 / templates.variances[1:].sum(axis=0)
    assert counts.sum() == len(toy)
    assert background.min() >= submission.MIN_BACKGROUND_COUNT


def test_templates_add_up_to_the_selected_yields(model, make_training):
    """Templates hold the whole training sample: no event is spent on training alone."""
    table = make_training().shift()
    expected = table.groupby("process", observed=True)["weights"].sum()
    names = [p.name for p in model.binned.templates.processes]
    assert model.binned.templates.yields.sum(axis=1) == pytest.approx(expected[names].to_numpy())


def test_an_event_keeps_its_half_under_every_shift(submission, make_training):
    """The coin toss is fair and does not depend on nuisances."""
    train = make_training()
    nominal, shifted = train.shift(), train.shift(tes=1.02, jes=0.98, soft_met=3.0)
    azimuths = [t["PRI_lep_phi"].to_numpy() for t in (nominal, shifted)]
    _, first, second = np.intersect1d(*azimuths, return_indices=True)
    assert len(first) > 0.9 * len(nominal)
    halves = submission._halves(nominal)
    assert np.array_equal(halves[first], submission._halves(shifted)[second])
    # 5 sigma of a fair coin: false alarms below one in a million.
    assert halves.mean() == pytest.approx(0.5, abs=2.5 / np.sqrt(len(halves)))


def test_morphing_predicts_templates_it_has_not_seen(model, submission, make_training):
    """Between the simulated points, morphed templates agree with simulated ones within their own error."""
    train = make_training()
    values = {"tes": 1.018, "jes": 0.985, "soft_met": 3.0}
    shifted = train.shift(values)
    bins, process = model.observable(shifted), shifted["process"].cat.codes
    simulated = fill_templates(train.processes, bins, process, shifted["weights"], model.observable.n_bins)
    pulls = [p.prior.to_alpha(values[p.name]) for p in model.binned.morphing.parameters]
    morphed = model.binned.expected(np.array([1.0, *pulls, 0.0, 0.0, 0.0]))
    error = np.sqrt(simulated.variances.sum(axis=0))
    differences = [(y - simulated.yields.sum(axis=0)) / error for y in (morphed, _nominal(model))]
    # The same events are shifted: what remains is the noise of the few that change bins.
    assert np.sqrt(np.mean(differences[0] ** 2)) < 0.6
    assert np.sqrt(np.mean(differences[1] ** 2)) > 1.2


def _nominal(model):
    return model.binned.templates.yields.sum(axis=0)


def test_predict_answers_an_interval(model, toy):
    """Prediction is a profile-likelihood interval around its estimate, near the true mu of 1.5."""
    answer = model.predict(toy)
    assert answer.lower < answer.mu_hat < answer.upper
    # Half-width 1 with so few training events; five of them on each side.
    assert abs(answer.mu_hat - 1.5) < 5 * (answer.upper - answer.lower) / 2


def test_saved_and_loaded_it_answers_the_same(model, submission, toy, tmp_path):
    """The saved model gives the same answer to the last bit."""
    model.save(tmp_path)
    loaded = submission.Model()
    loaded.load(tmp_path)
    assert loaded.predict(toy) == model.predict(toy)
    # The benchmark's confidence level is obeyed: 95.45 % is twice as wide as 68.27 %.
    loaded.confidence_level = 0.9545
    wide, narrow = loaded.predict(toy), model.predict(toy)
    assert (wide.upper - wide.lower) / (narrow.upper - narrow.lower) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_fit_is_reproducible(model, submission, make_training, n_threads):
    """Fits to the same training sample give the same bits, with any number of threads."""
    again = submission.Model()
    again.fit(make_training(n_threads=n_threads))
    assert np.array_equal(again.observable.edges, model.observable.edges)
    assert np.array_equal(again.binned.templates.yields, model.binned.templates.yields)
    assert np.array_equal(again.binned.morphing.coefficients, model.binned.morphing.coefficients)


@pytest.mark.parametrize("nuisances", [("tes",), ("bkg_scale", "ttbar_scale"), ()])
def test_fewer_floating_nuisances_are_fitted(submission, make_training, toy, nuisances):
    """Only floating nuisances become fit parameters; none at all is possible."""
    model = submission.Model()
    model.fit(make_training(nuisances))
    assert set(model.binned.names) == {"mu", *nuisances}
    assert model.predict(toy).lower < model.predict(toy).upper


def test_the_expected_error_grows_with_every_nuisance(model):
    """Fixing the nuisances at their true values makes the expected error smaller."""
    binned = model.binned
    fisher = binned.fisher_information(binned.start)
    assert fisher[0, 0] ** -0.5 < binned.expected_sigma()
    asimov = profile_interval(binned.likelihood(binned.expected(binned.start)))
    assert (asimov.upper - asimov.lower) / 2 == pytest.approx(binned.expected_sigma(), rel=0.1)
