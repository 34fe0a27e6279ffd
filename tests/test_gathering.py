"""One table of many runs: what is compared, what is kept apart, what is told and what is not."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from fairuniverse.api.gathering import gather, write_table
from fairuniverse.config import load_config
from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.registry import find_config
from fairuniverse.reporting.standings import BEGIN, END, to_csv, to_json, to_markdown, updated
from fairuniverse.results import Results
from interval_toys import failing
from interval_toys import gaussian_results as many_results
from run_folders import write_run

HOSTILE = "=1+1|`x` **b** <img src=x onerror=alert(1)>\n\n# title\n" + END


def gaussian_results(**changes) -> Results:
    """A hundred toys: what is computed of them is tested elsewhere."""
    return many_results(**{"n_toys": 10, **changes})


@pytest.fixture
def runs(tmp_path):
    """Folder with an oracle, the exact likelihood, twice that width, and one that always fails."""
    write_run(tmp_path / "oracle", gaussian_results(), "oracle")
    write_run(tmp_path / "exact", gaussian_results(), "exact_likelihood")
    write_run(tmp_path / "mine", widened(gaussian_results(), 2.0), "mine")
    write_run(tmp_path / "broken", failing(gaussian_results(), range(100)), "broken")
    return tmp_path


def widened(results: Results, factor: float) -> Results:
    """The same toys, estimates farther from the truth and intervals wider by a factor."""
    t = results.table
    mu_hat = t["mu_true"] + factor * (t["mu_hat"] - t["mu_true"])
    half = factor * (t["upper"] - t["lower"]) / 2
    return Results(t.assign(mu_hat=mu_hat, lower=mu_hat - half, upper=mu_hat + half), results.mu_range)


def by_name(block):
    """Standings of a block by name."""
    return {s.name: s for s in block.standings}


def test_widths_are_divided_by_those_of_the_references(runs):
    """Twice the width on the same toys is a ratio of two, known without error."""
    (block,), problems = gather([runs])
    mine = by_name(block)["mine"].scores
    assert not problems
    for column in ("width_over_oracle", "width_over_exact"):
        assert mine[column].value == pytest.approx(2.0, rel=1e-9)
        assert mine[column].error == pytest.approx(0.0, abs=1e-9)
    assert mine["interval"].value == pytest.approx(1.2)
    assert mine["memory"].value == pytest.approx(500.0)
    assert mine["fit_cpu_time"].value == pytest.approx(12.5)


def test_failures_are_in_the_table_and_last(runs):
    """A submission without any answer covers nothing, is as wide as the range, and has no matched width."""
    (block,), _ = gather([runs])
    broken = block.standings[-1]
    assert broken.name == "broken"
    assert broken.n_failed == block.n_toys == 100
    assert broken.value("coverage") == 0
    assert broken.value("interval") == pytest.approx(2.9)
    assert broken.value("width_matched") is None
    assert broken.value("width_over_oracle") is None
    line = next(x for x in to_markdown([block]).splitlines() if x.startswith("| broken"))
    assert line.endswith("| 100 |")
    assert "nan" not in line.lower()
    json.loads(to_json([block]), parse_constant=lambda constant: pytest.fail(constant))


def test_the_worst_mu_is_the_least_compatible_one(tmp_path):
    """Where the intervals of one set never cover, that set is named with its coverage."""
    results = gaussian_results()
    table = results.table.copy()
    rows = table["i_mu"] == 4
    table.loc[rows, ["mu_hat", "lower", "upper"]] += 50.0
    public = load_config(find_config("gaussian-2d"))
    write_run(tmp_path / "a", Results(table, results.mu_range), "a", config=public)
    write_run(tmp_path / "b", Results(table, results.mu_range), "b")
    told, hidden = (b.standings[0].scores["coverage_worst_mu"] for b in gather([tmp_path])[0])
    assert told.value == hidden.value == 0
    assert told.n_toys == 10
    mu = f"{table.loc[rows, 'mu_true'].iloc[0]:.3g}"
    assert told.meaning == f"mu = {mu}"
    assert mu not in hidden.meaning  # with a secret seed it would help to answer the same toys


@pytest.mark.parametrize("what", ["configuration", "toys", "number of toys"])
def test_different_toys_are_never_in_one_block(tmp_path, what):
    """Another configuration, other true values or another number of toys make a block of their own."""
    other = {
        "configuration": lambda: gaussian_results(),
        "toys": lambda: gaussian_results(seed=2),
        "number of toys": lambda: gaussian_results(n_toys=5),
    }[what]()
    config = load_config(find_config("gaussian-2d")) if what == "configuration" else None
    write_run(tmp_path / "a", gaussian_results(), "oracle")
    write_run(tmp_path / "b", other, "mine", config=config)
    blocks, _ = gather([tmp_path])
    assert [len(b.standings) for b in blocks] == [1, 1]
    assert all(
        "width_over_oracle" not in b.standings[0].scores for b in blocks if b.standings[0].name == "mine"
    )


def test_unfinished_and_damaged_runs_are_left_out_and_named(tmp_path):
    """A run without all answers is no line of the table; what cannot be read is told, too."""
    write_run(tmp_path / "a", gaussian_results(), "a")
    write_run(tmp_path / "b", gaussian_results(), "b", n_answered=90)
    write_run(tmp_path / "c", gaussian_results(), "c", finished=None)
    damaged = write_run(tmp_path / "d", gaussian_results(), "d")
    next((damaged / "parts").iterdir()).write_bytes(b"no Parquet")
    (block,), problems = gather([tmp_path])
    assert [s.name for s in block.standings] == ["a"]
    assert block.left_out == ("b, 10 of 100 toys have no answer yet", "c, stopped before its end")
    assert len(problems) == 1
    assert str(damaged) in problems[0]
    assert "10 of 100 toys" in write_table([tmp_path])


def test_only_unfinished_runs_make_an_empty_block(tmp_path):
    """Nothing to compare is said, not an error."""
    write_run(tmp_path / "b", gaussian_results(), "b", n_answered=1)
    assert "Left out: b, 99 of 100 toys have no answer yet" in write_table([tmp_path])


def test_one_toy_of_one_set_is_a_table(tmp_path):
    """Where no error and no matched width exist, dashes stand."""
    write_run(tmp_path / "a", gaussian_results(n_mu=1, n_toys=1), "oracle")
    write_run(tmp_path / "b", gaussian_results(n_mu=1, n_toys=1), "b")
    (block,), _ = gather([tmp_path])
    assert by_name(block)["b"].value("width_matched") is None
    assert "| b |" in to_markdown([block])


def test_the_seed_is_told_only_where_everybody_knows_it(tmp_path):
    """A packaged configuration's seed stands in the footer, with its name in the command; no other does."""
    public = load_config(find_config("gaussian-2d"))
    write_run(tmp_path / "a", gaussian_results(), "a", config=public)
    write_run(tmp_path / "b", gaussian_results(), "b")
    text = write_table([tmp_path / "a"]) + write_table([tmp_path / "b"])
    assert f"Seed {public.seed}, fairuniverse 1.2.3, configuration `{public.digest()[:12]}`" in text
    assert "fairuniverse run gaussian-2d a --output runs && fairuniverse table runs" in text
    assert "987654321" not in text
    assert "Seed withheld" in text
    assert "987654321" not in to_json(gather([tmp_path])[0])


def test_several_runs_of_one_name_are_told_apart(tmp_path):
    """The run folder's name is added; the newest reference is the one that counts."""
    write_run(tmp_path / "old", widened(gaussian_results(), 4.0), "oracle", finished="2025-01-01T00:00:00")
    write_run(tmp_path / "new", gaussian_results(), "oracle", finished="2026-01-01T00:00:00")
    (block,), _ = gather([tmp_path, tmp_path / "new"])
    ratios = {s.name: s.scores["width_over_oracle"].value for s in block.standings}
    assert ratios == {"oracle [new]": pytest.approx(1.0), "oracle [old]": pytest.approx(4.0)}


def test_a_strangers_oracle_is_none(tmp_path):
    """Only who was told the true nuisance parameters is what the others are compared with."""
    stranger = {"name": "oracle", "digest": "a stranger's", "is_reference": False}
    write_run(tmp_path / "a", gaussian_results(), "oracle", submission=stranger)
    (block,), _ = gather([tmp_path])
    assert "width_over_oracle" not in block.standings[0].scores
    assert not block.standings[0].is_reference


def test_runs_without_isolation_are_marked(tmp_path):
    """A dagger in Markdown, a column in CSV and JSON; a manifest that says nothing is not isolated."""
    write_run(tmp_path / "a", gaussian_results(), "bare", isolation={"is_isolated": False})
    write_run(tmp_path / "b", gaussian_results(), "unknown", isolation={})
    blocks, _ = gather([tmp_path])
    text = to_markdown(blocks)
    assert "| bare † |" in text
    assert "| unknown † |" in text
    assert "† ran without isolation" in text
    assert {r["is_isolated"] for r in csv.DictReader(to_csv(blocks).splitlines())} == {"False"}


def test_hostile_names_stay_text(tmp_path):
    """A name cannot end its cell, the table or the marked region, nor become markup or a formula."""
    write_run(tmp_path / "a", gaussian_results(), HOSTILE)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table([tmp_path / "a"], update=readme, output=tmp_path / "t.csv")
    for _ in range(2):
        write_table([tmp_path / "a"], update=readme)
    text = readme.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.startswith(f"before\n{BEGIN}\n**tiny 1**")
    assert text.endswith(f"\n{END}\nafter\n")
    (row,) = (line for line in text.splitlines() if line.startswith("| =1"))
    assert "<img" not in row
    assert r"\|\`x\` \*\*b\*\*" in row
    assert "\n# title" not in text
    (entry,) = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    assert entry["submission"].startswith("'=1")


def test_files_carry_unrounded_numbers(runs, tmp_path):
    """CSV and JSON hold the numbers of the score card; the suffix decides."""
    (block,), _ = gather([runs])
    write_table([runs], output=tmp_path / "t.csv")
    write_table([runs], output=tmp_path / "t.json")
    write_table([runs], output=tmp_path / "t.md")
    expected = by_name(block)["mine"].scores["width_matched"]
    frame = pd.read_csv(tmp_path / "t.csv").set_index("submission")
    assert frame.loc["mine", "width_matched"] == pytest.approx(expected.value, rel=1e-15)
    assert frame.loc["mine", "width_matched_error"] == pytest.approx(expected.error, rel=1e-15)
    assert np.isnan(frame.loc["broken", "width_matched"])
    (content,) = json.loads((tmp_path / "t.json").read_text())["blocks"]
    rows = {row["submission"]: row for row in content["rows"]}
    assert rows["mine"]["scores"]["width_matched"]["value"] == expected.value
    assert rows["broken"]["scores"]["width_matched"] == {"value": None, "error": None}
    assert "| mine |" in (tmp_path / "t.md").read_text()
    with pytest.raises(InvalidDataError, match=r"\.md, \.csv, \.json, not as '\.html'"):
        write_table([runs], output=tmp_path / "t.html")


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_file_without_the_markers_is_left_alone(text):
    """Each marker must be there once, the first one first."""
    with pytest.raises(InvalidDataError, match="once each and in this order"):
        updated(text, "table")


def test_no_runs_are_an_error(tmp_path):
    """An empty folder is a wrong path."""
    with pytest.raises(StorageError, match="no run at"):
        gather([tmp_path])
