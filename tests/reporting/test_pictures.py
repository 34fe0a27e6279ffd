"""Picture files and the page that compares simulated with reference events."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from fairuniverse.comparison import (
    Comparison,
    FeatureDistance,
    ProcessSeparation,
    ProcessYield,
    Validation,
)
from fairuniverse.errors import InvalidDataError
from fairuniverse.reporting import overview_chart, save_chart, write_comparison
from fairuniverse.reporting.intervals import OUTCOMES
from fairuniverse.reporting.page import number, with_error
from fairuniverse.reporting.theme import keys
from fairuniverse.results import Results
from report_inputs import make_results


@pytest.fixture(scope="module")
def chart():
    """Intervals of two submissions beside each other."""
    return overview_chart(make_results(n_toys=20))


def test_png_is_as_large_as_asked(chart, tmp_path):
    """Twice the scale has twice the pixels, on the same chart."""
    sizes = []
    for scale in (1, 2):
        data = save_chart(chart, tmp_path / f"{scale}.png", scale=scale).read_bytes()
        assert data.startswith(b"\x89PNG")
        sizes.append(int.from_bytes(data[16:20], "big"))
    assert sizes[0] > 600
    assert sizes[1] == pytest.approx(2 * sizes[0], abs=2)


def test_svg_names_the_submissions_and_their_scores(chart, tmp_path):
    """The picture can stand alone: names, coverage, width and number of toys are in it."""
    root = ET.parse(save_chart(chart, tmp_path / "overview.svg")).getroot()
    text = " ".join(t.text or "" for t in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "profile_likelihood" in text
    assert "mean width" in text
    assert "200 toys" in text


def marks_of(chart, channel):
    """Rows of all layers of the first panel that draw a column along x."""
    layers = chart["hconcat"][0]["layer"]
    found = [la for la in layers if la["encoding"]["x"]["field"] == channel]
    return [(la["mark"], row) for la in found for row in la["data"]["values"]]


def test_what_is_beyond_the_axis_is_marked_at_its_edge():
    """An interval that lies outside, one longer than the axis and a lone mu_hat outside leave triangles."""
    results = make_results(("a",), n_mu=1, n_toys=4, failure_rate=0.0)
    table = results.table.assign(mu_true=1.0, mu_hat=1.0, lower=0.8, upper=1.2)
    table.loc[1, ["lower", "mu_hat", "upper"]] = [7.0, 8.0, 9.0]
    table.loc[2, ["lower", "upper"]] = [-1e300, 1e300]
    table.loc[3, "mu_hat"] = -8.0
    chart = overview_chart(Results(table, results.mu_range))
    low, high = chart["hconcat"][0]["layer"][0]["encoding"]["x"]["scale"]["domain"]
    edges = {(m["shape"], row["rank"], row["edge"], m["color"]) for m, row in marks_of(chart, "edge")}
    hit, miss = OUTCOMES[0].color, OUTCOMES[1].color
    assert edges == {
        ("triangle-right", 1, high, miss),
        ("triangle-left", 2, low, hit),
        ("triangle-right", 2, high, hit),
        ("triangle-left", 3, low, hit),
    }
    assert all(low <= row["low"] <= row["high"] <= high for _, row in marks_of(chart, "low"))


def test_the_true_mu_of_every_row_is_its_own():
    """Each true mu has one vertical line over exactly its rows; steps lie between rows."""
    results = make_results(("a",), n_mu=3, n_toys=4)
    rows = [row for _, row in marks_of(overview_chart(results), "mu_true") if "low" in row]
    assert [row["mu_true"] for row in rows] == pytest.approx(sorted(results.table["mu_true"].unique()))
    assert [(row["low"], row["high"]) for row in rows] == [(-0.5, 3.5), (3.5, 7.5), (7.5, 11.5)]


def test_outcomes_have_colours_that_the_first_methods_do_not_have():
    """Green and purple do not stand for a method beside them."""
    assert not {k.color for k in OUTCOMES[:2]} & {k.color for k in keys(["first", "second"])}


def test_other_picture_formats_are_refused(chart, tmp_path):
    """The message names the two formats."""
    with pytest.raises(InvalidDataError, match=r"\.svg or \.png"):
        save_chart(chart, tmp_path / "overview.jpg")


def histograms(processes=("htautau", "ztautau"), features=("PRI_met", "DER_mass_vis")) -> pd.DataFrame:
    """Equal exponential distributions with an empty last bin."""
    edges = np.linspace(0, 200, 21)
    density = np.append(np.exp(-edges[:-2] / 50), 0.0)
    error = 0.1 * density
    with np.errstate(invalid="ignore"):
        ratio, error_ratio = density / density, error / density
    one = pd.DataFrame(
        {
            "sample": "a",
            "bin_left": edges[:-1],
            "bin_right": edges[1:],
            "density_sim": density,
            "density_ref": density,
            "error_ref": error,
            "ratio": ratio,
            "error_ratio": error_ratio,
        }
    )
    return pd.concat(
        [one.assign(process=p, feature=f) for f in features for p in processes], ignore_index=True
    )


def validation(process="htautau") -> Validation:
    """Two features, one above its floor, compared without classifier."""
    distances = tuple(
        FeatureDistance(process, name, ks, 0.02, 0.1, 1.0, 1.0, 0.0, 0.0)
        for name, ks in (("PRI_near", 0.011), ("PRI_far", 0.034))
    )
    separations = (ProcessSeparation(process, 0.5123, 0.004, 100, 100),)
    comparison = Comparison(distances, (), separations, notes=("no weights",))
    yields = tuple(ProcessYield(name, process, 100, 100.0, 1015.0, 101.5, 0.9, 0.03) for name in ("a", "b"))
    return Validation("b", ("a",), (comparison,), yields)


def test_comparison_draws_every_feature_of_every_process(tmp_path):
    """Two features of two processes are four charts, after the summary and before the distances."""
    path = write_comparison(
        validation(), histograms(), tmp_path / "comparison.html", facts={"a": "a.parquet"}
    )
    html = path.read_text(encoding="utf-8")
    assert html.count('role="img"') == 4
    order = ("a.parquet", "no weights", "0.512 ± 0.004", "1020 ± 100", "sim. / ref.", "PRI_far", "PRI_near")
    # The feature farthest away stands in the summary, too.
    places = [html.rindex(x) if x.startswith("PRI") else html.index(x) for x in order]
    assert places == sorted(places)  # what is above its floor comes first


def test_comparison_needs_its_columns(tmp_path):
    """The message lists what is missing."""
    with pytest.raises(InvalidDataError, match="ratio, error_ratio"):
        write_comparison(
            validation(), histograms().drop(columns=["ratio", "error_ratio"]), tmp_path / "c.html"
        )
    with pytest.raises(InvalidDataError, match="histograms need rows"):
        write_comparison(validation(), histograms().iloc[:0], tmp_path / "c.html")


def test_numbers_are_rounded_where_people_read_them():
    """Value and error end at the same digit; what is not there is a dash."""
    assert with_error(-0.5761, 0.0213) == "−0.576 ± 0.021"
    assert (
        with_error(float("nan"), 0.1) == with_error(None, None) == number(None) == number(float("nan")) == "–"
    )
    assert number(0.123456) == "0.1235"
    assert number(12) == "12"


def test_many_series_stay_distinguishable():
    """Twelve submissions differ in colour, shape or dash pattern."""
    drawn = {(k.color, k.shape, k.dash) for k in keys([f"method {i}" for i in range(12)])}
    assert len(drawn) == 12
