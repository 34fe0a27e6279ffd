"""The score card: complete, finite, and readable."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fairuniverse.scoring import SCORES, score_card
from fairuniverse.scoring.card import LABELS, MAX_WARNINGS, WORST, pdg_round, render_summary

from fairuniverse.errors import InvalidDataError
from fairuniverse.results import STATUSES, Results
from interval_toys import failing, gaussian_results, results_of

OFFICIAL = ("quantiles_score", "interval", "coverage", "rmse", "mae")


def test_all_scores_are_on_the_card() -> None:
    """The card of ordinary results has a value for every score, and an N."""
    card = score_card(gaussian_results())
    assert {*OFFICIAL, "winkler", "width_matched", "bias", "pull_width", "wall_time_p95"} <= set(card.scores)
    assert [s.name for s in card.scores.values() if s.value is None] == []
    assert {s.n_toys for s in card.scores.values()} == {1000}


def test_json_is_strict() -> None:
    """NaN anywhere in the results, their manifest included, becomes null."""
    results = results_of(wall_time_s=[np.nan], nuisance_tes=[np.nan])
    manifest = {"load": math.nan, "list": [math.inf, np.float32(1), np.int64(2)], "path": object}
    card = score_card(Results(results.table, results.mu_range, 0.6827, manifest))
    text = json.dumps(card.to_json(), allow_nan=False)
    assert json.loads(text)["manifest"]["list"] == [None, 1.0, 2]


def test_failed_run_still_has_a_card() -> None:
    """With every toy failed the official keys are there; others without a value are left out."""
    card = score_card(failing(gaussian_results(), slice(None), "fit_failed"))
    flat = card.to_flat()
    assert {k: flat[k] for k in ("coverage", "rmse", "mae")} == {
        k: WORST[k] for k in ("coverage", "rmse", "mae")
    }
    assert flat["interval"] == pytest.approx(2.9)
    assert flat["failed_fit_failed"] == 1000
    assert "bias" not in flat
    assert "width_matched" not in flat
    assert "not computable" in card.render()


@pytest.mark.parametrize("end", [1e9, 1e12, 1e200, 1.7e308])
def test_absurd_widths_stay_within_the_limits_of_platforms(end: float) -> None:
    """Finite intervals of any size never put 1e10 or more into scores.json."""
    flat = score_card(results_of(lower=[-end, 0.0], upper=[end, 2.0], mu_hat=[end, 1.0])).to_flat()
    assert set(OFFICIAL) <= set(flat)
    assert all(math.isfinite(v) and abs(v) < 1e10 for v in flat.values())


@pytest.mark.parametrize("n_toys", [1, 2, 3])
def test_few_toys_have_a_card(n_toys: int) -> None:
    """A handful of toys gives no crash and the official keys."""
    card = score_card(gaussian_results(n_mu=1, n_toys=n_toys))
    assert set(OFFICIAL) <= set(card.to_flat())
    assert card.render()


@pytest.mark.parametrize("status", [s for s in STATUSES if s != "ok"])
def test_a_failure_of_any_kind_is_counted_and_never_helps(status: str) -> None:
    """One failed toy is counted by its kind, does not cover, and makes Winkler and width worse."""
    results = gaussian_results()
    row = int(np.flatnonzero(results.covers())[0])
    card, before = score_card(failing(results, [row], status)), score_card(results)
    assert card.failures[status] == 1
    assert card["coverage"].value == pytest.approx(before["coverage"].value - 0.001)
    for name in ("interval", "winkler", "width_matched"):
        assert card[name].value > before[name].value


def test_rows_in_another_order_score_the_same() -> None:
    """The order of the rows carries no information."""
    results = gaussian_results(n_toys=50)
    shuffled = Results(results.table.sample(frac=1, random_state=1).reset_index(drop=True), results.mu_range)
    assert score_card(shuffled).to_flat() == pytest.approx(score_card(results).to_flat(), rel=1e-9)


def test_several_submissions_are_refused() -> None:
    """A mixture of submissions has no score; the message names them."""
    one = gaussian_results(n_mu=1, n_toys=3).table
    both = Results(pd.concat([one, one.assign(submission="other")]), (0.1, 3.0))
    with pytest.raises(InvalidDataError, match="method, other"):
        score_card(both)


def test_no_rows_are_refused() -> None:
    """Empty results have no score."""
    with pytest.raises(InvalidDataError, match="none"):
        score_card(Results(gaussian_results().table.head(0), (0.1, 3.0)))


def test_two_scores_of_one_name_are_refused() -> None:
    """A score given twice would overwrite the first."""
    with pytest.raises(InvalidDataError, match="quantiles_score"):
        score_card(gaussian_results(), [SCORES[0], SCORES[0]])


def test_unknown_score_names_the_known_ones() -> None:
    """Asking for a score that is not there lists those that are."""
    with pytest.raises(InvalidDataError, match="winkler"):
        score_card(gaussian_results())["brier"]


def test_official_score_is_never_shown_without_its_n() -> None:
    """The line of the official score in the terminal names N."""
    lines = score_card(gaussian_results(n_toys=50)).render().splitlines()
    assert [("N = 500" in line) for line in lines if line.startswith("official quantile")] == [True]


def test_a_name_cannot_rewrite_the_terminal() -> None:
    """Control characters in the name of a submission are not printed."""
    results = gaussian_results(n_mu=1, n_toys=3)
    named = Results(results.table.assign(submission="\x1b[2Jevil\n"), results.mu_range)
    assert "\x1b" not in score_card(named).render()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.827, 0.119, "0.83 ± 0.12"),
        (0.827, 0.367, "0.8 ± 0.4"),
        (0.827, 0.354, "0.83 ± 0.35"),
        (0.827, 0.355, "0.8 ± 0.4"),
        (0.827, 0.949, "0.8 ± 0.9"),
        (0.827, 0.950, "0.8 ± 1.0"),
        (-12.3456, 0.000999, "-12.3456 ± 0.0010"),
        (1234.5, 120.0, "1230 ± 120"),
        (1234.5, 400.0, "1200 ± 400"),
        (1234.5, 96.0, "1230 ± 100"),
        (0.5, None, "0.5"),
        (0.5, 0.0, "0.5"),
    ],
)
def test_rounding_of_the_particle_data_group(value: float, error: float | None, text: str) -> None:
    """Errors of 100 to 354 keep two digits, to 949 one, and 950 on is rounded up to 1000 with two."""
    assert pdg_round(value, error) == text


def _with(results: Results, *, warnings: object = (), message: str = "", name: str = "method") -> Results:
    table = results.table.assign(submission=name)
    table.loc[table["status"] != "ok", "message"] = message
    return Results(table, results.mu_range, results.confidence_level, {"warnings": warnings})


def test_every_line_names_its_key() -> None:
    """Words and the key of the JSON stand side by side, the official errors beside the textbook ones."""
    text = score_card(gaussian_results()).render()
    assert all(f"({key})" in text or f"\n{key} " in text for key in LABELS)
    assert "mean width (interval)" in text
    assert "RMSE of mu_hat (mu_hat_rmse)" in text
    assert "official RMSE (rmse)" in text


def test_unfinished_runs_say_so_first() -> None:
    """Toys without an answer are the first thing told; finished runs have no such line."""
    results = gaussian_results(n_mu=2, n_toys=10)
    assert "UNFINISHED" not in score_card(results).render()
    lines = score_card(failing(results, [1, 2], "missing")).render().splitlines()
    assert lines[0] == "UNFINISHED: 2 of 20 toys have no answer"


def test_warnings_stand_under_the_title() -> None:
    """Warnings of the manifest follow the title, a long list is cut, control characters are not printed."""
    warnings = ["\x1b[2Jbad", *map(str, range(MAX_WARNINGS + 4))]
    lines = score_card(_with(gaussian_results(n_mu=1, n_toys=3), warnings=warnings)).render().splitlines()
    assert lines[2] == "warning: ?[2Jbad"
    assert lines[2 + MAX_WARNINGS] == "warning: and 5 more"
    assert not lines[3 + MAX_WARNINGS].startswith("warning")


@pytest.mark.parametrize("warnings", ["one", None, 3, {"a": 1}])
def test_odd_warnings_of_strangers(warnings: object) -> None:
    """Whatever a stranger's manifest holds under warnings is shown in one line."""
    text = score_card(_with(gaussian_results(n_mu=1, n_toys=3), warnings=warnings)).render()
    assert f"warning: {warnings}" in text


def test_runs_that_cannot_be_believed_say_so() -> None:
    """Code that could have read the truth, or that remembers other toys, is marked on its card."""
    results = gaussian_results(n_mu=1, n_toys=3)
    manifest = {
        "isolation": {"backend": "none", "is_isolated": False},
        "repeatability": {"status": "order_dependent", "message": "it remembers"},
    }
    text = score_card(replace(results, manifest=manifest)).render()
    assert "warning: run without isolation" in text
    assert "warning: it remembers" in text
    good = {"isolation": {"is_isolated": True}, "repeatability": {"status": "ok", "message": ""}}
    assert "warning" not in score_card(replace(results, manifest=good)).render()


def test_first_message_of_a_failure_is_shown() -> None:
    """The line of a failure holds its first message, in one line and cut."""
    results = failing(gaussian_results(n_mu=1, n_toys=5), [1, 2])
    text = score_card(_with(results, message="ValueError:\n" + "x" * 500)).render()
    (line,) = [line for line in text.splitlines() if line.startswith("failed: exception")]
    assert "2   (first: ValueError: xxx" in line
    assert len(line) < 250
    assert line.endswith("...)")


def test_penalty_that_nobody_can_resolve_is_zero() -> None:
    """A loss by coverage without an error and far below one percent is not printed with four digits."""
    card = score_card(gaussian_results(n_mu=1, n_toys=30))
    penalty = replace(card["coverage_penalty"], value=3.066e-05, error=None)
    text = replace(card, scores={**card.scores, "coverage_penalty": penalty}).render()
    (line,) = [line for line in text.splitlines() if "coverage_penalty" in line]
    assert line.split()[-1] == "0"


def test_summary_has_a_line_per_submission() -> None:
    """Names, N, the main scores with errors and the failures stand in aligned columns."""
    good = score_card(_with(gaussian_results(), name="good"))
    bad = score_card(_with(failing(gaussian_results(n_toys=20), slice(None)), name="bad\x1b one"))
    head, rule, *lines = render_summary([good, bad]).splitlines()
    assert head.split()[:3] == ["submission", "N", "coverage"]
    assert {len(line) for line in (head, rule, *lines)} == {len(head)}
    assert lines[0].split()[:2] == ["good", "1000"]
    assert pdg_round(good["winkler"].value, good["winkler"].error) in lines[0]
    assert lines[1].startswith("bad? one")
    assert lines[1].split()[-1] == "200"
    assert "not computable" in lines[1]


def test_summary_marks_unfinished_runs() -> None:
    """In their line and below the table, as does the JSON; their scores look as if the method had failed."""
    results = gaussian_results(n_mu=2, n_toys=10)
    cards = [score_card(_with(results, name="whole")), score_card(failing(results, [1, 2], "missing"))]
    name = cards[1].submission
    _, _, *lines, note = render_summary(cards).splitlines()
    assert ["(unfinished)" in line for line in lines] == [False, True]
    assert note == f"unfinished: {name}, 2 of 20 toys have no answer and count as failed"
    assert [card.to_json()["n_missing"] for card in cards] == [0, 2]
    assert "unfinished" not in render_summary(cards[:1])
