"""Reference lines are told the true nuisance values; nobody else is."""

from pathlib import Path

import pytest
from fairuniverse.scoring.card import render_summary, score_card

from fairuniverse import registry
from fairuniverse.isolation.backends import NoIsolation
from fairuniverse.reporting.cards import card_table
from fairuniverse.runner import run_submission
from fairuniverse.submission import load_submission
from report_inputs import make_cards, make_results

SUBMISSIONS = Path(__file__).parent / "submissions"


def run(benchmark, name, folder, *, is_reference):
    """Results of one of the sample submissions."""
    submission = load_submission(SUBMISSIONS / name, is_reference=is_reference)
    return run_submission(benchmark, submission, folder, backend=NoIsolation())


def test_a_reference_is_told_the_nuisances_of_its_toy_and_never_mu(tiny_benchmark, tmp_path):
    """Each toy comes with its own true values, and the manifest says that they were told."""
    results = run(tiny_benchmark(n_toys=4), "told", tmp_path / "run", is_reference=True)
    table = results.table
    assert (table["status"] == "ok").all()
    assert table["mu_hat"].tolist() == table["nuisance_scale"].tolist()
    assert table["nuisance_scale"].nunique() == len(table)
    assert set(table["lower"]) == {0.0}  # no mu among them
    assert set(table["upper"]) == {2.0}  # both nuisances
    assert results.manifest["submission"]["is_reference"]


def test_a_method_that_asks_for_the_nuisances_is_refused(tiny_benchmark, tmp_path):
    """The same folder as a participant's fails its fit, with the reason and the remedy."""
    results = run(tiny_benchmark(), "told", tmp_path / "run", is_reference=False)
    assert set(results.table["status"]) == {"fit_failed"}
    assert "a method must do without: def predict(self, test)" in results.table["message"][0]
    assert not results.manifest["submission"]["is_reference"]


def test_a_reference_must_take_what_it_is_told(tiny_benchmark, tmp_path):
    """A predict without the argument is refused before the fit."""
    results = run(tiny_benchmark(), "counting", tmp_path / "run", is_reference=True)
    assert set(results.table["status"]) == {"fit_failed"}
    assert "must be def predict(self, test, nuisances)" in results.table["message"][0]


def test_only_installed_names_are_references(tmp_path, monkeypatch):
    """A path is never a reference, whatever its name: a folder of that name in the way is a participant's."""
    for name in registry.names(registry.REFERENCES):
        assert registry.is_reference(name)
        assert (registry.find_submission(name) / "model.py").is_file()
        assert not registry.is_reference(registry.find_submission(name))
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert not any(map(registry.is_reference, registry.names(registry.REFERENCES)))


@pytest.mark.parametrize("name", registry.names(registry.BASELINES))
def test_ordinary_baselines_are_told_nothing(name):
    """Being packaged is not enough."""
    assert not registry.is_reference(name)


def test_a_reference_is_marked_wherever_it_is_shown():
    """Score card, summary and report say what it knows, and it is never the best."""
    names = ("oracle", "wide")
    runs = {name: {"submission": {"name": name, "is_reference": name == "oracle"}} for name in names}
    results = make_results(names, failure_rate=0.0, manifest={"runs": runs})
    cards = [score_card(results.of(name)) for name in results.submissions]
    assert [card.is_reference for card in cards] == [True, False]
    assert "knows the true nuisances" in cards[0].render()
    assert "knows" not in cards[1].render()
    assert [line.count("(knows the nuisances)") for line in render_summary(cards).splitlines()[2:]] == [1, 0]
    table = card_table(make_cards(results), {}, results)
    assert table.header[1:] == ("oracle (reference)", "wide")
    best = {row[0].text: [cell.is_best for cell in row[1:]] for row in table.rows}
    assert best["interval"] == [False, False]  # one method has no rival
    assert "knows the true nuisances" in table.reading
