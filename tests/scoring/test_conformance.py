"""Every score of a card does what `fairuniverse.conformance` asks, and each fault is found."""

import math
from dataclasses import replace

import pytest
from fairuniverse.scoring.card import SCORES

from fairuniverse.conformance import check_score
from fairuniverse.protocols import ScoreValue


@pytest.mark.parametrize("score", SCORES, ids=lambda s: type(s).__name__)
def test_packaged_scores_conform(score):
    """No rule is broken."""
    assert check_score(score) == []


def sound(results):
    """Number of sets: a score without faults."""
    n, n_failed = len(results.table), int((~results.is_ok).sum())
    n_sets = float(results.table["i_mu"].nunique())
    return (ScoreValue("n_sets", n_sets, None, "", None, n, n_failed, "How many sets."),)


def with_value(value):
    """The sound score with another value."""
    return lambda results: (replace(sound(results)[0], value=value),)


def not_counting(results):
    """Forgets the failed toys."""
    return (replace(sound(results)[0], n_failed=0),)


def first_row(results):
    """Looks at the first row only."""
    return (replace(sound(results)[0], value=float(results.table["mu_true"].iloc[0])),)


def sorting(results):
    """Sorts the caller's table."""
    results.table.sort_values("mu_true", inplace=True)
    return sound(results)


def dividing(results):
    """Divides by the number of valid toys."""
    return (replace(sound(results)[0], value=1 / int(results.is_ok.sum())),)


@pytest.mark.parametrize(
    ("score", "code"),
    [
        (with_value(math.nan), "values"),
        (with_value("1"), "values"),
        (lambda results: list(sound(results)), "values"),
        (lambda results: sound(results) * 2, "values"),
        (not_counting, "counts"),
        (first_row, "order"),
        (sorting, "purity"),
        (dividing, "extremes"),
    ],
)
def test_each_fault_is_found(score, code):
    """The rule that is broken is named; the score without the fault breaks none."""
    assert check_score(sound) == []
    assert code in {f.code for f in check_score(score)}
