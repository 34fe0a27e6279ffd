"""The report of a run, as a reader gets it: the written file."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairuniverse.scoring import score_card

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.protocols import ScoreValue
from fairuniverse.reporting import shape_table, write_report
from fairuniverse.reporting.cards import card_table
from fairuniverse.results import Results
from report_inputs import make_cards, make_results
from tiny_world import Simulator

HOSTILE = "<script>alert(1)</script>\" onload='alert(2)' {{ 7*7 }} </title></style></svg>"


class Page(HTMLParser):
    """What a browser would find in a page: elements with their attributes, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Collect an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        """Collect a text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text."""
        return " ".join(self.texts)

    def count(self, tag: str, **attributes: str) -> int:
        """Number of elements with these attributes."""
        return sum(t == tag and attributes.items() <= a.items() for t, a in self.elements)


@pytest.fixture(scope="module")
def results() -> Results:
    """Two submissions, ten values of mu, a thousand toys each, one in a hundred failed."""
    return make_results()


@pytest.fixture(scope="module")
def path(results, tmp_path_factory):
    """The full report of `results`, with shapes and a reference."""
    world = Simulator()
    events = world.generate({"signal": 2000, "background": 4000}, seed=1)
    return write_report(
        results,
        tmp_path_factory.mktemp("report") / "new folder" / "report.html",
        cards=make_cards(results),
        references={"data-blind": {"quantiles_score": -0.69, "coverage": 0.6827}},
        shapes=shape_table(world, events, ["x", "z"], seed=2),
    )


@pytest.fixture(scope="module")
def page(path):
    """The same, parsed."""
    return Page(path.read_text(encoding="utf-8"))


def report_of(results: Results, folder: Path, **options: Any) -> Page:
    """The report of some results, written and read back."""
    path = write_report(results, folder / "report.html", cards=make_cards(results), **options)
    return Page(path.read_text(encoding="utf-8"))


def n_charts(page: Page) -> int:
    """Charts of a page; keys of legends are svg elements too, but hidden from screen readers."""
    return page.count("svg", role="img")


def test_nothing_is_loaded_and_nothing_runs(page):
    """No element of the page refers to anything outside it, and there is no script."""
    loading = {"src", "srcset", "data", "poster", "action", "background"}
    assert page.count("script") == page.count("iframe") == page.count("link") == page.count("base") == 0
    for tag, attributes in page.elements:
        assert not loading & set(attributes), tag
        assert not [a for a in attributes if a.startswith("on")], tag
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), tag
    css = " ".join([*page.texts, *(v or "" for _, a in page.elements for v in a.values())])
    assert "@import" not in css
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*[\"']?(.)", css))


def test_the_browser_is_told_to_load_nothing(page):
    """The Content-Security-Policy forbids everything but the page's own style."""
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")


def test_what_issue_readers_look_for_is_there(page):
    """Benchmark, scores with N, references, coverage, pulls, widths, failures, cost, shapes, origin."""
    for words in (
        "quick version 1.0",
        "1,000 at 10 values of mu",
        "68.27%",
        "N = 1,000, ",
        "data-blind (reference)",
        "−0.69",
        "↑ larger is better",
        "best",
        "Coverage by true mu",
        "soft_met",
        "Pulls",
        "Widths",
        "Bias",
        "ZeroDivisionError: division by zero",
        "predict raised an exception",
        "Time and memory",
        "What the nuisance parameters do to them",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "Run without isolation: profile_likelihood, counting.",
    ):
        assert words in page.text, words


def test_every_figure_has_charts_words_and_numbers(page):
    """Each figure says how to read it; almost each has its numbers as a table; each chart has a name."""
    n_figures = page.count("figure", **{"class": "single"}) + page.count("figure", **{"class": "several"})
    assert page.count("figcaption") >= n_figures >= 9
    assert page.count("details") >= n_figures - 2
    charts = [a for t, a in page.elements if t == "svg" and a.get("role") == "img"]
    assert len(charts) >= 18
    assert all(a["aria-label"] for a in charts)


def test_ids_differ_and_links_lead_somewhere(page):
    """Charts of one page do not share the ids that their clip paths need."""
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]+)\)", " ".join(v or "" for _, a in page.elements for v in a.values()))
    links = [a["href"] or "" for t, a in page.elements if t == "a"]
    assert used
    assert links
    assert {*used, *(link.removeprefix("#") for link in links)} <= set(ids)


def test_marks_carry_their_values(page):
    """Points and intervals show their numbers to the pointer and to screen readers."""
    labels = " ".join(a.get("aria-label") or "" for t, a in page.elements if t == "path")
    assert re.search(r"counting: \d\d\.\d% \(\d\d\.\d% to \d\d\.\d%\) of 100 toys, true mu", labels)
    assert page.count("title") > 200


def test_only_the_best_submission_is_marked(page, results):
    """Of two submissions one is marked per score with a direction, and a reference never."""
    assert page.texts.count("best") == 2  # official score and width; equal times mark nobody


def test_numbers_of_toys_stand_once_in_the_header(page):
    """N is said for each submission and beside the official score, whose penalty depends on it."""
    assert sum(text.startswith("N = 1,000") for text in page.texts) == 2 + 2


def test_wrong_coverage_is_best_only_where_it_is_paid_for():
    """The shortest intervals win no width if they cover too rarely, but may win the official score."""
    results = make_results(("right", "short", "follows_tes", "wide"), failure_rate=0.0)
    table = results.table.copy()
    rows = table["submission"] == "short"
    table.loc[rows, "lower"] = table.loc[rows, "mu_hat"] - 0.01
    table.loc[rows, "upper"] = table.loc[rows, "mu_hat"] + 0.01
    spoilt = Results(table, results.mu_range)
    best = {
        row[0].text: [cell.is_best for cell in row[1:]]
        for row in card_table(make_cards(spoilt), {}, spoilt).rows
    }
    assert best["quantiles_score"] == [False, True, False, False]
    assert best["interval"] == [True, False, False, False]


def test_each_submission_names_its_own_slice():
    """What differs between submissions stands in their cells, what they share in the row's name."""
    results = make_results(("a", "b"), n_toys=5)
    head = "Coverage of the least compatible slice"
    cards = {
        name: (ScoreValue("coverage_worst_slice", 0.5, None, "", None, 50, 0, f"{head}: {place}."),)
        for name, place in (("a", "mu in [1, 1]"), ("b", "jes in [0.9, 1]"))
    }
    (row,) = card_table(cards, {}, results).rows
    assert [cell.note for cell in row] == [f"{head}.", "mu in [1, 1].", "jes in [0.9, 1]."]


def test_an_unfinished_run_says_so_first(tmp_path):
    """Toys without an answer are counted by submission, before the facts."""
    results = make_results(("done", "stopped"), n_mu=1, n_toys=12, failure_rate=0.0)
    table = results.table.copy()
    rows = table.index[table["submission"] == "stopped"][1:]
    table.loc[rows, ["mu_hat", "lower", "upper"]] = np.nan
    table.loc[rows, "status"] = "missing"
    page = report_of(Results(table, results.mu_range), tmp_path)
    alert = "Unfinished: 11 of 12 toys of stopped have no answer yet."
    assert page.texts.index(alert) < page.texts.index("Toys each")
    assert page.count("p", role="alert") == 1


def test_a_run_that_was_stopped_with_all_answers_is_unfinished_too(tmp_path):
    """A run's manifest without its end is said; predictions from files have neither start nor end."""
    stopped = make_results(("a",), n_mu=1, n_toys=4, manifest={"sessions": [{"started": "today"}]})
    assert "Unfinished: the run of a was stopped" in report_of(stopped, tmp_path).text
    assert "Unfinished" not in report_of(Results(stopped.table, stopped.mu_range), tmp_path).text


def test_references_and_errors_are_explained(page):
    """What data-blind is and what the errors leave out are said on the page."""
    assert "the whole range of mu, 0.1 to 3, with probability 0.6827, otherwise an empty" in page.text
    assert "do not contain the fluctuation of the training sample" in page.text


def test_hostile_names_messages_and_provenance_stay_text(tmp_path):
    """Strangers choose names, messages and versions: none becomes markup, script or template code."""
    results = make_results(
        (HOSTILE, "other"), n_toys=20, manifest={"benchmark": {"name": HOSTILE}, HOSTILE: HOSTILE}
    )
    table = results.table.copy()
    table.loc[table["status"] == "exception", "message"] = HOSTILE
    hostile = Results(table, results.mu_range, results.confidence_level, results.manifest)
    page = report_of(hostile, tmp_path, title=HOSTILE)
    assert page.count("script") == 0
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert page.text.count("{{ 7*7 }}") >= 5
    assert page.count("style") == 1


def test_one_submission_is_enough(tmp_path):
    """With a single submission nothing is called best."""
    results = make_results(("alone",), n_toys=10)
    page = report_of(results, tmp_path)
    assert "best" not in page.texts
    assert n_charts(page) >= 10


def test_failures_only_still_make_a_report(tmp_path):
    """Where no toy has an answer, the page says so and draws what is left."""
    results = make_results(("broken",), n_toys=5, failure_rate=1.1)
    page = report_of(results, tmp_path)
    assert "No submission gave a valid interval" in page.text
    assert "50 of 50" in page.text
    assert "Pulls" not in page.text
    assert "nan" not in page.text.lower().split()


def test_one_broken_submission_beside_a_good_one(tmp_path):
    """The figures of the good one do not suffer from one without any answer."""
    results = make_results(("good", "broken"), n_toys=20, failure_rate=0.0)
    table = results.table.copy()
    rows = table["submission"] == "broken"
    table.loc[rows, ["mu_hat", "lower", "upper", "wall_time_s", "memory_mib"]] = np.nan
    table.loc[rows, "status"] = "fit_failed"
    mixed = Results(table, results.mu_range, results.confidence_level, results.manifest)
    page = report_of(mixed, tmp_path)
    assert "fit raised an exception" in page.text
    assert "Pulls" in page.text


@pytest.mark.parametrize("varied", [(), ("tes",)])
def test_nuisances_that_are_unknown_or_fixed_have_no_slices(tmp_path, varied):
    """Without true nuisance values, or with one that never moves, there is nothing to slice."""
    results = make_results(("a",), n_mu=1, n_toys=10, nuisances=varied, manifest={})
    table = results.table.assign(**{f"nuisance_{n}": 1.0 for n in varied})
    fixed = Results(table, results.mu_range, results.confidence_level, {})
    page = report_of(fixed, tmp_path)
    assert "Coverage by true mu" in page.text
    assert "Coverage by nuisance parameter" not in page.text
    assert "Provenance" not in page.text


def test_degenerate_answers_are_drawn(tmp_path):
    """Zero-width, infinite-looking and identical intervals make a page, not a division by zero."""
    results = make_results(("zero", "huge"), n_mu=2, n_toys=5, failure_rate=0.0)
    table = results.table.copy()
    zero = table["submission"] == "zero"
    table.loc[zero, ["lower", "upper"]] = table.loc[zero, ["mu_hat", "mu_hat"]].to_numpy()
    table.loc[~zero, "lower"], table.loc[~zero, "upper"] = -1e300, 1e300
    odd = Results(table, results.mu_range, results.confidence_level, results.manifest)
    page = report_of(odd, tmp_path)
    assert n_charts(page) >= 10


def test_the_real_score_card_fits(tmp_path):
    """The scores of the package go in as they come."""
    results = make_results(n_toys=10)
    cards = {name: tuple(score_card(results.of(name)).scores.values()) for name in results.submissions}
    page = Page(write_report(results, tmp_path / "r.html", cards=cards).read_text(encoding="utf-8"))
    assert "quantiles_score" in page.text
    assert "coverage_worst_slice" in page.text
    assert "failed_timeout [toys]" not in page.text  # zero for everybody


def test_ten_thousand_toys_make_no_larger_page(tmp_path, path):
    """Size depends on the submissions, not on the toys: under 2 MB, about that of a thousand toys."""
    results = make_results(n_toys=1000)
    large = write_report(results, tmp_path / "r.html", cards=make_cards(results))
    assert large.stat().st_size < min(2e6, 1.5 * path.stat().st_size)


def test_runs_keep_their_own_provenance(tmp_path):
    """Entries that all runs share are shown once, the others with the name of their submission."""
    shared = {"benchmark": {"name": "quick"}, "seed": 42}
    isolation = {"backend": "bwrap", "is_isolated": True}
    runs = {"a": {**shared, "isolation": isolation}, "b": {**shared, "isolation": {"is_isolated": False}}}
    results = make_results(("a", "b"), n_toys=5, manifest={**shared, "runs": runs})
    page = report_of(results, tmp_path)
    assert page.texts.count("seed") == 1
    assert "a: isolation.backend" in page.texts
    assert "Run without isolation: b." in page.text


def test_answers_that_depend_on_other_toys_are_warned_of(tmp_path):
    """A method that remembers is named at the top of the page."""
    runs = {"a": {"repeatability": {"status": "ok", "message": ""}}}
    runs["b"] = {"repeatability": {"status": "order_dependent", "message": "other answers"}}
    page = report_of(make_results(("a", "b"), n_toys=5, manifest={"runs": runs}), tmp_path)
    assert "Not a method of one toy alone, b: other answers." in page.text
    assert "alone, a:" not in page.text


def test_missing_cards_and_toys_are_refused(tmp_path, results):
    """A submission without scores, or results without rows, are named rather than left out."""
    cards = make_cards(results)
    with pytest.raises(InvalidDataError, match="no score card of 'counting'"):
        write_report(results, tmp_path / "r.html", cards={"profile_likelihood": cards["profile_likelihood"]})
    empty = Results(results.table.iloc[:0], results.mu_range)
    with pytest.raises(InvalidDataError, match="no toys"):
        write_report(empty, tmp_path / "r.html", cards={})


def test_a_report_that_cannot_be_written_says_where(tmp_path, results):
    """A folder in the place of the file is an error with the path."""
    (tmp_path / "r.html").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*r\.html"):
        write_report(results.of("counting"), tmp_path / "r.html", cards=make_cards(results))


def test_a_browser_renders_every_chart_without_a_complaint(path, page, tmp_path):
    """Chromium opens the file, keeps every chart, and logs no error of the page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium to render the page with")
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr --dump-dom"
    )
    command = [browser, *flags.split(), f"--user-data-dir={tmp_path}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rendered = Page(done.stdout)
    assert n_charts(rendered) == n_charts(page)
    assert rendered.count("path") == page.count("path")
    assert "CONSOLE" not in done.stderr
