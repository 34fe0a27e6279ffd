"""What a run took, from its table and manifest."""

import pytest

from fairuniverse.accounting import account, accounts
from report_inputs import make_results

SESSIONS = [
    {
        "started": "2026-01-02T03:00:00+00:00",
        "n_workers_lost": 2,
        "retries": ["places 5 to 9: lost", "places 5 to 9: lost"],
    },
    {"started": "2026-01-02T04:00:00+00:00"},
    {"started": "2026-01-02T05:00:00+00:00", "n_workers_lost": 1, "retries": ["fit of mine: lost"]},
]


def test_sessions_are_added_up():
    """Losses of all of them, and times of all answers and of the fit."""
    results = make_results(("mine",), failure_rate=0.1)
    table = results.table.assign(wall_time_s=2.0, cpu_time_s=1.5)
    table.loc[:9, ["status", "wall_time_s", "cpu_time_s"]] = ["missing", float("nan"), float("nan")]
    found = account(table, {"sessions": SESSIONS, "fit": {"cpu_time_s": 3600.0}})
    assert found.n_answered == len(table) - 10
    assert found.failures == {"exception": int((table["status"] == "exception").sum())}
    assert found.core_hours == pytest.approx(1 + 2.0 * found.n_answered / 3600)
    assert (found.wall_s_per_toy, found.cpu_s_per_toy) == (2.0, 1.5)
    assert (found.n_sessions, found.n_workers_lost) == (3, 3)
    assert found.retries == ("places 5 to 9: lost", "places 5 to 9: lost", "fit of mine: lost")
    assert found.to_json()["retries"] == found.retries


def test_each_run_has_its_own_account():
    """Where several are read together."""
    results = make_results(("a", "b"), manifest={"runs": {"a": {"sessions": SESSIONS}, "b": {}}})
    found = accounts(results)
    assert [found[name].n_workers_lost for name in ("a", "b")] == [3, 0]
    assert found["a"].core_hours != found["b"].core_hours


def test_what_is_not_known_is_not_made_up():
    """Predictions from files have no times, and a stranger's manifest may hold anything."""
    table = make_results(("mine",)).table.assign(wall_time_s=float("nan"))
    for manifest in (
        {},
        {"sessions": "many", "fit": 3},
        {"sessions": [7, {"n_workers_lost": "two", "retries": 5}], "fit": {"cpu_time_s": float("inf")}},
    ):
        found = account(table, manifest)
        assert (found.core_hours, found.wall_s_per_toy, found.cpu_s_per_toy) == (0.0, None, None)
        assert (found.n_workers_lost, found.retries) == (0, ())
