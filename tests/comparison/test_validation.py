"""Several tables beside a reference: yields, counts, the page and its numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairuniverse import api
from fairuniverse.comparison import process_yields
from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, Feature, Schema

SCHEMA = Schema((Feature("x", "", "A number."),))


def events_of(weights, codes=None):
    """Events of two processes with these weights."""
    n = len(weights)
    processes = () if codes is None else ("signal", "background")
    codes = None if codes is None else np.asarray(codes, np.uint8)
    return Events(SCHEMA, np.zeros((1, n), np.float32), np.asarray(weights, float), codes, processes)


def test_yields():
    """Sum of weights with its error, effective events, selected fraction with the binomial one."""
    events = events_of([1.0, 1.0, 2.0, 5.0], [0, 0, 0, 1])
    selected = events.select([0, 2, 3])
    signal, background = process_yields("a", events, selected, {"signal": {"acceptance": 0.1}})
    assert (signal.process, signal.n_events, signal.expected) == ("signal", 3, 4.0)
    assert signal.n_effective == pytest.approx(16 / 6)
    assert signal.expected_error == pytest.approx(math.sqrt(6))
    assert signal.selected == 0.75
    assert signal.selected_error == pytest.approx(math.sqrt((0.25**2 * 5 + 0.75**2 * 1) / 16))
    assert signal.acceptance == 0.1
    assert (background.selected, background.selected_error) == (1.0, 0.0)
    assert math.isnan(background.acceptance)


def test_yields_of_negative_weights():
    """They count as what they are: the sum and its error."""
    (found,) = process_yields("a", events_of([1, 1, 1, -1]), events_of([1, 1]), {})
    assert (found.expected, found.expected_error, found.n_effective) == (2.0, 2.0, 1.0)


def test_yields_of_bare_events():
    """Without weights and labels there is one row, of all events, and no expected number."""
    events = Events(SCHEMA, np.zeros((1, 10), np.float32))
    (found,) = process_yields("a", events, events.select(np.arange(4)), {})
    assert (found.process, found.n_events, found.n_effective, found.selected) == ("", 10, 10, 0.4)
    assert math.isnan(found.expected)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """Folder with a table of either kind of recoil, and a shifted one."""
    folder = tmp_path_factory.mktemp("tables")
    for recoil in ("tables", "library"):
        api.simulate("higgs_tautau", {"recoil": recoil}, 3000, folder / f"{recoil}.parquet", seed=3)
    api.shift_table(folder / "tables.parquet", folder / "shifted.parquet", {"tes": 1.03})
    return folder


@pytest.fixture(scope="module")
def validation(tables):
    """Both kinds of recoil beside the full chain, and the page of it."""
    return api.compare(
        [tables / "tables.parquet", tables / "library.parquet"],
        Path("higgs_tautau.full"),
        output=tables / "page.html",
        with_classifier=False,
    )


def test_tables_tell_where_they_come_from(tables):
    """Simulator, options, seed and numbers of events; values of a shift beside them; acceptance if known."""
    nominal, library, shifted = (
        json.loads((tables / f"{name}_metadata.json").read_text())
        for name in ("tables", "library", "shifted")
    )
    assert library["origin"]["options"] == {"recoil": "library"}
    assert nominal["origin"] == shifted["origin"] == library["origin"] | {"options": {"recoil": "tables"}}
    assert (nominal["origin"]["simulator"], nominal["origin"]["seed"]) == ("higgs_tautau", 3)
    assert nominal["origin"]["n_events"]["ttbar"] == 3000
    (shift,) = shifted["shifts"]
    assert (shift["nuisances"]["tes"], shift["nuisances"]["jes"]) == (1.03, 1.0)
    assert (shift["systematics"], shift["source"]) == ("posthoc", "tables.parquet")
    assert "shifts" not in nominal
    assert "production" not in nominal
    assert library["production"]["htautau"]["acceptance"] == pytest.approx(0.0589, rel=0.1)


def test_yields_of_all_samples(validation):
    """A row for each sample and process; the library has the full chain's acceptance within 10 %."""
    found = {(y.sample, y.process): y for y in validation.yields}
    assert len(found) == 12
    for process in ("htautau", "ztautau", "ttbar", "diboson"):
        library, full = (found[name, process] for name in ("library.parquet", "higgs_tautau.full"))
        assert library.acceptance == pytest.approx(full.acceptance, rel=0.1)
        assert library.leading_order == pytest.approx(full.leading_order, rel=0.1)
        assert library.expected == pytest.approx(full.expected)
        assert math.isnan(found["tables.parquet", process].acceptance)
        assert 0.85 < library.selected < 0.98


def test_text_and_json(validation):
    """The text has the yields and a part for each sample; the JSON has the same and no NaN."""
    text = validation.render()
    assert text.startswith("yields")
    for name in ("tables.parquet", "library.parquet"):
        assert f"{name} against higgs_tautau.full" in text
    content = json.loads(json.dumps(validation.to_json(), allow_nan=False))
    assert [c["simulated"] for c in content["comparisons"]] == ["tables.parquet", "library.parquet"]
    assert len(content["yields"]) == 12
    assert len(content["comparisons"][0]["distances"]) == 4 * 28


def test_page(validation, tables):
    """Yields, jets, distributions of both samples, matrices and distances stand in the page."""
    html = (tables / "page.html").read_text(encoding="utf-8")
    headings = ["Summary", "Yields and acceptance", "Counts", "Distributions", "Correlations", "Distances"]
    places = [html.index(f"<h2>{h}</h2>") for h in headings]
    assert places == sorted(places)
    # 28 features and, for each sample, two matrices, of four processes
    assert html.count('role="img"') == 4 * (28 + 2 * 2)
    assert "PRI_n_jets ≥ 3" in html
    assert "recoil=library, seed 3" in html
    pair = validation.comparisons[0].correlations[0].farthest
    assert f"{pair.second}, {pair.first}: {pair.rho_sim:.2f}" in html


def test_shifted_tables_are_named(tables):
    """A shifted table is not taken for a nominal one, and its selection is done."""
    answer = api.compare([tables / "shifted.parquet"], tables / "tables.parquet", with_classifier=False)
    assert answer.notes == (
        "shifted.parquet is a shifted table: tes = 1.03",
        "all are compared after the selection, since shifted.parquet is selected",
    )
    assert answer.render().startswith(answer.notes[0])
    assert {y.selected for y in answer.yields if y.sample == "shifted.parquet"} == {1.0}
    api.shift_table(tables / "shifted.parquet", tables / "twice.parquet", {"jes": 0.98})
    twice = api.compare([tables / "twice.parquet"], tables / "tables.parquet", with_classifier=False)
    assert [note.rpartition(": ")[2] for note in twice.notes[:2]] == ["tes = 1.03", "jes = 0.98"]


def test_selected_tables_are_compared_with_selected_ones(tables):
    """A table against its own selected copy: the margin is no difference, in whatever file it stands."""
    api.shift_table(tables / "tables.parquet", tables / "same.parquet", {})
    (tables / "same_metadata.json").unlink()
    answer = api.compare([tables / "same.parquet"], tables / "tables.parquet", with_classifier=False)
    assert max(d.ks for d in answer.comparisons[0].distances) < 1e-3
    assert len(answer.notes) == 1


def test_a_table_is_not_written_over(tables):
    """The page needs a name of its own."""
    path = tables / "tables.parquet"
    before = path.read_bytes()
    with pytest.raises(InvalidDataError, match="is one of the tables"):
        api.compare([path], Path("higgs_tautau.full"), output=path)
    assert path.read_bytes() == before


def test_foreign_metadata_are_passed_over(tables, tmp_path):
    """What others call by our names is no error, in comparing and in shifting."""
    table = tmp_path / "foreign.parquet"
    table.write_bytes((tables / "tables.parquet").read_bytes())
    foreign = {"origin": {"url": "x"}, "production": "Pythia", "shifts": None}
    (tmp_path / "foreign_metadata.json").write_text(json.dumps(foreign))
    assert api.compare([table], tables / "library.parquet", with_classifier=False).notes == ()
    api.shift_table(table, tmp_path / "shifted.parquet", {"tes": 1.01})
    assert "origin" not in json.loads((tmp_path / "shifted_metadata.json").read_text())


def test_metadata_hold_numbers_of_numpy(tmp_path):
    """Seeds and numbers of events may come from arrays, options may be paths."""
    path = tmp_path / "t.parquet"
    api.simulate("higgs_tautau", {}, {"htautau": np.int64(50)}, path, seed=np.int64(3))
    origin = json.loads((tmp_path / "t_metadata.json").read_text())["origin"]
    assert (origin["seed"], origin["n_events"]) == (3, {"htautau": 50})


def test_tables_of_one_name(tables, tmp_path):
    """Files of equal names keep their paths; a table named twice is refused, and so is none."""
    other = tmp_path / "tables.parquet"
    other.write_bytes((tables / "tables.parquet").read_bytes())
    answer = api.compare([other], tables / "tables.parquet", with_classifier=False)
    assert answer.samples == (str(other),)
    assert answer.reference == str(tables / "tables.parquet")
    with pytest.raises(InvalidDataError, match="is named twice"):
        api.compare([other, other], tables / "tables.parquet")
    with pytest.raises(InvalidDataError, match="at least one table more"):
        api.compare([], tables / "tables.parquet")


def test_public_table_has_yields(root):
    """The public sample, whose metadata know no acceptance, has yields and is selected at 26 GeV."""
    path = root.parent / "shared" / "data" / "official_sample.parquet"
    if not path.is_file():
        pytest.skip(f"the public sample is not at {path}")
    answer = api.compare([path], Path("higgs_tautau.full"), with_classifier=False)
    public = {y.process: y for y in answer.yields if y.sample == path.name}
    passes = pd.read_parquet(path).query("PRI_had_pt > 26")["detailed_labels"].value_counts()
    for process, y in public.items():
        assert y.selected == pytest.approx(passes[process] / y.n_events, abs=2e-3)
        assert math.isnan(y.acceptance)
