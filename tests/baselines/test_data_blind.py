"""The data_blind baseline."""

import numpy as np
import pandas as pd
import pytest
from fairuniverse.scoring.card import score_card

from fairuniverse.protocols import Interval
from fairuniverse.seeding import generator
from interval_toys import MU_RANGE, results_of

N_SETS, N_TOYS = 20, 100


@pytest.fixture(scope="module")
def model(load_as_stranger, make_training):
    """The fitted model."""
    fitted = load_as_stranger("data_blind").Model()
    fitted.fit(make_training())
    return fitted


def tables(n):
    """Data sets of 20 events."""
    rng = generator(3, "data sets")
    return (pd.DataFrame(rng.standard_normal((20, 3), dtype=np.float32)) for _ in range(n))


@pytest.fixture(scope="module")
def answers(model):
    """Its answers to 2,000 data sets."""
    return [model.predict(table) for table in tables(N_SETS * N_TOYS)]


def test_it_answers_the_whole_range_or_nothing(answers):
    """The two answers, each as often as promised: 1,282 to 1,448 of 2,000 by chance all but 1 in 15,000."""
    assert set(answers) == {Interval(1.55, 0.1, 3.0), Interval(1.55, 1.55, 1.55)}
    assert 1282 <= answers.count(Interval(1.55, 0.1, 3.0)) <= 1448


def test_the_scores_are_those_of_the_reference_line(answers):
    """Coverage and interval score are what `fairuniverse.scoring.references` computes for it.

    Within five standard errors of 2,000 toys; false alarms below one in a million.
    """
    lower, upper = np.array([[a.lower, a.upper] for a in answers]).T
    mu = np.linspace(*MU_RANGE, N_SETS + 1)[:-1] + (MU_RANGE[1] - MU_RANGE[0]) / N_SETS / 2
    results = results_of(
        i_mu=np.repeat(np.arange(N_SETS), N_TOYS),
        i_toy=np.tile(np.arange(N_TOYS), N_SETS),
        mu_true=np.repeat(mu, N_TOYS),
        mu_hat=(lower + upper) / 2,
        lower=lower,
        upper=upper,
    )
    card = score_card(results)
    (line,) = card.references
    scatter = np.sqrt(0.6827 * 0.3173 / len(answers))
    assert card["coverage"].value == pytest.approx(line.coverage, abs=5 * scatter)
    assert card["interval"].value == pytest.approx(line.width, abs=5 * scatter * 2.9)
    # An empty interval at the centre costs up to 9.1, the whole range 2.9: a spread below 4.
    assert card["winkler"].value == pytest.approx(line.winkler, abs=5 * 4 / np.sqrt(len(answers)))


def test_equal_data_have_equal_answers(model, answers):
    """Whatever was asked before: no state, no generator."""
    assert [model.predict(table) for table in tables(30)] == answers[:30]
