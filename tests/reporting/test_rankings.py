"""Charts of a fit: what they draw is what the fit says, and they render."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import FitResult, Impact, Impacts, ProfileInterval
from fairuniverse.reporting import profile_chart, pull_chart, ranking_chart, save_chart

NAN = float("nan")
BEST = FitResult(("mu", "tes", "rate", "free"), np.array([1.2, 0.5, 0.0, 1.0]), np.eye(4) * 0.09, 3.0, 50)
TES = Impact("tes", 0.5, (0.1, 0.1), (0.12, -0.11), (4.0, -5.0))
RATE = Impact("rate", 0.0, (0.9, 0.9), (-0.1, 0.1), (-0.11, 0.11))
FREE = Impact("free", NAN, (NAN, NAN), (0.05, -0.05), (NAN, NAN))
IMPACTS = Impacts("mu", BEST, (TES, RATE, FREE))


def rows(panel, column):
    """Rows of all layers of a panel that draw a column along x."""
    drawn = [la for la in panel["layer"] if la["encoding"].get("x", {}).get("field") == column]
    return [row for layer in drawn for row in layer["data"]["values"]]


def texts(chart, path):
    """All words of the rendered picture."""
    root = ET.parse(save_chart(chart, path)).getroot()
    return [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]


def test_bars_are_the_impacts_in_the_order_of_their_size():
    """Both directions of each nuisance have a bar from 0 to the shift of mu, the largest first."""
    bars = rows(ranking_chart(IMPACTS)["hconcat"][0], "postfit")
    assert [(b["name"], b["side"], b["postfit"]) for b in bars] == [
        ("tes", "+1σ", -0.11),
        ("tes", "−1σ", 0.12),
        ("rate", "+1σ", 0.1),
        ("rate", "−1σ", -0.1),
        ("free", "+1σ", -0.05),
        ("free", "−1σ", 0.05),
    ]
    assert all(b["zero"] == 0.0 for b in bars)


def test_an_outline_far_beyond_the_bars_is_cut_off():
    """A prior impact of 5 leaves the bars of 0.1 visible: the axis ends at three times the longest."""
    panel = ranking_chart(IMPACTS)["hconcat"][0]
    low, high = panel["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert (low, high) == pytest.approx((-3.3 * 0.12, 3.3 * 0.12))


def test_pulls_have_their_constraints_and_free_parameters_none():
    """The bar of a pull is the post-fit over the prior width; without a prior nothing is drawn."""
    bars = {r["name"]: (r["lower"], r["upper"]) for r in rows(pull_chart(IMPACTS), "lower")}
    assert bars["tes"] == pytest.approx((0.4, 0.6))
    assert bars["rate"] == pytest.approx((-0.9, 0.9))
    assert bars["free"] == (None, None)


def test_pictures_name_the_parameters_and_the_estimate(tmp_path):
    """The rendered ranking can stand alone: names, directions and the estimate are in it."""
    words = texts(ranking_chart(IMPACTS), tmp_path / "ranking.svg")
    assert {"tes", "rate", "free", "+1σ", "−1σ"} <= set(words)
    assert any("mu = 1.2 ± 0.3" in word for word in words)
    assert {"tes", "rate"} <= set(texts(pull_chart(IMPACTS), tmp_path / "pulls.svg"))


def test_only_the_first_of_many_are_drawn_and_said_to_be(tmp_path):
    """Of forty nuisance parameters thirty are drawn, and the picture says so."""
    many = tuple(Impact(f"n{i}", 0.0, (1.0, 1.0), (0.1, -0.1), (0.1, -0.1)) for i in range(40))
    chart = ranking_chart(Impacts("mu", BEST, many))
    assert len({r["name"] for r in rows(chart["hconcat"][0], "postfit")}) == 30
    assert any("first 30 of 40" in word for word in texts(chart, tmp_path / "many.svg"))


def test_a_fit_without_nuisances_has_no_ranking():
    """There is nothing to draw, and the message says so."""
    with pytest.raises(InvalidDataError, match="nothing to rank"):
        ranking_chart(Impacts("mu", BEST, ()))


def test_a_profile_has_its_curves_thresholds_and_interval(tmp_path):
    """Every curve is drawn with its name, levels at 1 and 4 where they are on the axis, and the bounds."""
    x = np.linspace(-1, 3, 9)
    interval = ProfileInterval(0.0, 2.0, BEST, "mu", (False, False))
    chart = profile_chart(x, {"profiled": (x - 1) ** 2, "known": 4 * (x - 1) ** 2}, interval)
    fields = [la["encoding"].get("y", {}).get("field") for la in chart["layer"]]
    assert fields.count("y") == 3
    assert [row["y"] for la in chart["layer"][:2] for row in la["data"]["values"]] == [1, 4]
    assert rows(chart, "x")[0] == {"x": 0.0, "x2": 2.0}
    words = texts(chart, tmp_path / "scan.svg")
    assert {"profiled", "known", "t(mu)"} <= set(words)
    low = profile_chart(x, {"flat": 0.5 * np.ones(9)})
    assert [row["y"] for row in low["layer"][0]["data"]["values"]] != [1]


def test_curves_that_do_not_fit_the_values_are_refused():
    """Heights of another number of values, and no curve at all, raise."""
    for curves in ({"a": [1.0, 2.0]}, {}):
        with pytest.raises(InvalidDataError, match="give each value a height"):
            profile_chart([0.0, 1.0, 2.0], curves)
