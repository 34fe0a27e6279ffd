"""What every score must do, whatever it measures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairuniverse.checking.findings import Finding
from fairuniverse.conformance.rules import Rule, apply_rules
from fairuniverse.protocols import Score, ScoreValue
from fairuniverse.results import Results
from fairuniverse.seeding import generator

_MU_RANGE = (0.1, 3.0)
_FAILED = ("non_finite", "exception", "timeout")


def check_score(score: Score) -> list[Finding]:
    """What a score does wrong, on results of a method with known faults, and on results that are hardly any.

    Returns:
        One finding for each broken rule, and what was seen.
    """
    return apply_rules(_RULES, _Case(score, _results(n_mu=5, n_toys=40, n_failed=7)))


@dataclass(frozen=True)
class _Case:
    """A score, and results to apply it to."""

    score: Score
    results: Results


def _results(*, n_mu: int, n_toys: int, n_failed: int) -> Results:
    """Results of a method that is off by its error; some toys failed."""
    rng = generator(0, "conformance of scores")
    n = n_mu * n_toys
    mu = np.repeat(rng.uniform(*_MU_RANGE, n_mu), n_toys)
    mu_hat = mu + 0.3 * rng.standard_normal(n)
    failed = rng.permutation(n) < n_failed
    table = pd.DataFrame(
        {
            "submission": "conformance",
            "i_mu": np.repeat(np.arange(n_mu), n_toys),
            "i_toy": np.tile(np.arange(n_toys), n_mu),
            "mu_true": mu,
            **{k: np.where(failed, math.nan, mu_hat + d) for k, d in _ENDS.items()},
            "status": np.where(failed, np.resize(_FAILED, n), "ok").astype(object),
            "message": np.where(failed, "as it happens", "").astype(object),
            "n_events": 1000,
            "wall_time_s": np.where(failed, math.nan, rng.exponential(0.1, n)),
            "memory_mib": np.where(failed, math.nan, 100.0),
            "nuisance_a": rng.standard_normal(n),
        }
    )
    return Results(table, _MU_RANGE)


_ENDS = {"mu_hat": 0.0, "lower": -0.3, "upper": 0.3}


def _values(case: _Case) -> Iterator[str]:
    """Return a tuple of ScoreValue with names of their own, finite numbers or None, and a meaning."""
    values = case.score(case.results)
    if not isinstance(values, tuple) or not all(isinstance(v, ScoreValue) for v in values):
        yield f"it returned {type(values).__name__}"
        return
    names = [v.name for v in values]
    if len(set(names)) < len(names) or not all(names):
        yield f"names: {names}"
    yield from (text for value in values for text in _faults(value))


def _faults(value: ScoreValue) -> Iterator[str]:
    for what, number in (("value", value.value), ("error", value.error)):
        if number is not None and not _is_finite(number):
            yield f"{value.name}: the {what} is {number!r}"
    if value.error is not None and value.error < 0:
        yield f"{value.name}: the error is {value.error}"
    if not value.meaning:
        yield f"{value.name} has no meaning"


def _counts(case: _Case) -> Iterator[str]:
    """Say how many toys went in and how many of them failed."""
    n, n_failed = len(case.results.table), int((~case.results.is_ok).sum())
    for v in case.score(case.results):
        if (v.n_toys, v.n_failed) != (n, n_failed):
            yield f"{v.name}: n_toys = {v.n_toys}, n_failed = {v.n_failed} for {n} toys, {n_failed} failed"


def _order(case: _Case) -> Iterator[str]:
    """Give the same values whatever the order of the rows."""
    table = case.results.table.sample(frac=1, random_state=1)
    shuffled = case.score(Results(table, case.results.mu_range))
    for a, b in zip(case.score(case.results), shuffled, strict=True):
        if not _agree(a.value, b.value):
            yield f"{a.name}: {a.value} becomes {b.value} when rows are shuffled"


def _purity(case: _Case) -> Iterator[str]:
    """Leave the results as they are, and give the same values again."""
    before = case.results.table.copy(deep=True)
    first, second = case.score(case.results), case.score(case.results)
    if not before.equals(case.results.table):
        yield "the results table has changed"
    if first != second:
        yield "a second call gives other values"


def _extremes(case: _Case) -> Iterator[str]:
    """Cope with a single toy, and with results of which every toy failed."""
    for what, sizes in (("one toy", (1, 1, 0)), ("every toy failed", (2, 5, 10))):
        n_mu, n_toys, n_failed = sizes
        few = _results(n_mu=n_mu, n_toys=n_toys, n_failed=n_failed)
        yield from (f"{what}: {text}" for value in case.score(few) for text in _faults(value))


_RULES: Sequence[Rule[_Case]] = (_values, _counts, _order, _purity, _extremes)


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def _agree(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
