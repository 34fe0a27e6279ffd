"""The leaderboard site, as a visitor gets it: written files, and what a browser makes of them."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from dataclasses import replace
from typing import ClassVar

import pytest

from fairuniverse.api import write_leaderboard
from fairuniverse.api.gathering import gather
from fairuniverse.config import load_config
from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.registry import find_config
from fairuniverse.reporting.leaderboard import Board, page_name, ranks
from interval_toys import failing, gaussian_results
from reporting.test_report import HOSTILE, Page
from run_folders import write_run

HOSTILE_NAME = f"{HOSTILE}/../../etc/passwd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of two benchmarks: a reference, equal scores, reruns, failures, no isolation, a hostile name."""
    root = tmp_path_factory.mktemp("runs")
    good, wide = gaussian_results(n_toys=20), gaussian_results(n_toys=20, scale=1.5)
    write_run(root / "1" / "exact", good, "exact_likelihood")
    write_run(root / "1" / "mine", wide, "mine", finished="2026-01-01T00:00:00+00:00")
    write_run(root / "2" / "mine", good, "mine", finished="2026-02-01T00:00:00+00:00")
    write_run(root / "2" / "twin", good, "twin")
    write_run(root / "2" / "late", failing(good, range(100), "timeout"), "late")
    write_run(root / "2" / "broken", failing(good, range(200), "crashed"), "broken")
    write_run(root / "3" / "hostile", wide, HOSTILE_NAME, isolation={"is_isolated": False})
    write_run(root / "3" / "stopped", good, "stopped", n_answered=7)
    write_run(root / "4" / "public", good, "mine", config=load_config(find_config("gaussian-2d")))
    return root


@pytest.fixture(scope="module")
def site(folder, tmp_path_factory):
    """The site made of them."""
    return write_leaderboard(folder, tmp_path_factory.mktemp("site") / "new", title="A challenge").parent


@pytest.fixture(scope="module")
def index(site):
    """Its first page."""
    return Page((site / "index.html").read_text(encoding="utf-8"))


def pages(site):
    """Every page of the site, parsed."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def boards(folder):
    """The boards of a folder of runs."""
    return [Board(block, {}) for block in gather([folder])[0]]


def test_equal_scores_share_a_rank(folder):
    """Two first places are followed by a third; references and those without any answer have none."""
    assert ranks(boards(folder)[0].latest) == {"mine": 1, "twin": 1, HOSTILE_NAME: 3, "late": 4}


def test_the_latest_run_counts(folder):
    """Of two runs of one submission the later one is on the board, both are in the history."""
    board = boards(folder)[0]
    (mine,) = (s for s in board.latest if s.submission == "mine")
    assert mine.finished.startswith("2026-02")
    assert [s.finished[:7] for s in board.history if s.submission == "mine"] == ["2026-02", "2026-01"]


def test_a_score_that_cannot_be_computed_takes_no_rank(folder):
    """NaN and missing numbers do not upset the order of the others."""
    board = boards(folder)[0]
    without = [
        replace(s, scores={**s.scores, "winkler": replace(s.scores["winkler"], value=None)})
        if s.submission == "twin"
        else s
        for s in board.latest
    ]
    assert ranks(without) == {"mine": 1, HOSTILE_NAME: 2, "late": 3}


def test_the_board_says_what_is_special(index):
    """References, missing isolation, wrong coverage, failures by kind and unfinished runs are named."""
    for words in (
        "A challenge",
        "reference",
        "not isolated",
        "too low",
        "100 timeout",
        "200 crashed",
        "Not shown: stopped, 193 of 200 toys have no answer yet.",
        "Winkler score of every finished run",
        "best",
        "gaussian-2d 1.0",
    ):
        assert words in index.text, words
    assert "nan" not in index.text.lower().split()


def test_every_submission_has_a_page_with_its_history(site, index):
    """Links lead to pages of the site, and back."""
    links = [a["href"] for t, a in index.elements if t == "a" and not a["href"].startswith("#")]
    assert len(links) == len(set(links)) == 7
    for link in links:
        page = Page((site / link).read_text(encoding="utf-8"))
        assert "History" in page.texts
        assert any(t == "a" and a["href"] == "../index.html" for t, a in page.elements)
    assert sorted(site.rglob("*.html")) == sorted({site / "index.html", *(site / x for x in links)})


def test_hostile_names_stay_text_and_inside_the_site(site):
    """No page holds a script, a handler or an address that a stranger chose."""
    for path, page in pages(site).items():
        assert page.count("script") == page.count("iframe") == page.count("link") == 0, path
        assert not [a for _, a in page.elements if any(n.startswith("on") or n == "src" for n in a)], path
        assert page.count("style") == 1, path
        for tag, attributes in page.elements:
            href = attributes.get("href") or "#none"
            assert re.fullmatch(r"#\w+|\.\./index\.html|submissions/[a-z0-9-]+\.html", href), (
                path,
                tag,
                href,
            )
    assert "{{ 7*7 }}" in pages(site)[site / "index.html"].text


def test_page_names_are_distinct_and_plain(folder):
    """Names that differ in anything get different files, whatever they hold."""
    block = boards(folder)[0].block
    names = ["a", "A", "a/", "..", "", "ä", "🙂" * 300, "\ud800", HOSTILE_NAME]
    files = [page_name(block, name) for name in names]
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,60}\.html", f) for f in files)


def test_the_truth_is_told_only_where_the_seed_is_public(site):
    """With a secret seed no page shows a true mu; with a public one the intervals are drawn with it."""
    mus = {f"{mu:.3g}" for mu in gaussian_results(n_toys=1).table["mu_true"]}
    public = 0
    for path, page in pages(site).items():
        if "Coverage by true mu" in page.text:
            assert "gaussian-2d" in page.text, path
            public += 1
        elif path.name != "index.html":
            assert "Intervals" not in page.texts, path
            assert "y true mu" not in page.text, path
            assert not {m for m in mus if re.search(rf"mu (in \[|= ){re.escape(m)}", page.text)}, path
            assert "987654321" not in page.text
    assert public == 1


def test_numbers_for_machines(site):
    """The JSON beside the pages is strict and holds every finished run."""
    text = (site / "leaderboard.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    assert [len(block["rows"]) for block in content["blocks"]] == [7, 1]
    assert [block["seed"] is None for block in content["blocks"]] == [True, False]


def test_a_site_is_renewed_and_nothing_else_is_overwritten(folder, site, tmp_path):
    """Pages of submissions that are gone vanish; a folder that holds something else is left alone."""
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    few = tmp_path / "few"
    shutil.copytree(folder / "2" / "twin", few / "twin")
    write_leaderboard(few, copy)
    assert len(list(copy.rglob("*.html"))) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("mine")
    with pytest.raises(InvalidDataError, match="not empty and holds no leaderboard"):
        write_leaderboard(few, tmp_path / "other")
    with pytest.raises(StorageError, match="no run at"):
        write_leaderboard(tmp_path / "other", tmp_path / "third")


def test_only_failures_make_a_board(tmp_path):
    """Where nobody has a valid interval there is a table without ranks and without the plane."""
    write_run(tmp_path / "r" / "a", failing(gaussian_results(n_toys=2), range(20)), "a")
    page = Page(write_leaderboard(tmp_path / "r", tmp_path / "site").read_text(encoding="utf-8"))
    assert "20 exception" in page.text
    assert "Coverage and width" not in page.text


class _Counting(http.server.SimpleHTTPRequestHandler):
    """Serves the site and keeps what was asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        """Serve a file."""
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        """Say nothing."""


def test_a_browser_shows_the_pages_and_asks_for_nothing_else(site, index, tmp_path):
    """Chromium renders a page of each kind with every chart, without a complaint or another request."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium to render the pages with")
    hostile = next(p for p in site.glob("submissions/*.html") if "alert" in p.name)
    handler = functools.partial(_Counting, directory=str(site))
    _Counting.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for path in ("index.html", f"submissions/{hostile.name}"):
            flags = (
                "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
                "--disable-background-networking --disable-component-update --enable-logging=stderr "
                "--dump-dom "
                # Whatever a page might ask of another host would come to our server and be counted.
                f"--host-resolver-rules=MAP~*~127.0.0.1:{server.server_port}"
            )
            command = [browser, *(f.replace("~", " ") for f in flags.split()), f"--user-data-dir={tmp_path}"]
            done = subprocess.run(
                [*command, f"{address}/{path}"], capture_output=True, text=True, timeout=120, check=True
            )
            original = Page((site / path).read_text(encoding="utf-8"))
            rendered = Page(done.stdout)
            assert rendered.count("svg", role="img") == original.count("svg", role="img") > 0
            assert rendered.count("path") == original.count("path")
            assert "CONSOLE" not in done.stderr
        server.shutdown()
    # The browser itself asks for an icon, and its maker's servers for the time.
    asked = {path for path in _Counting.asked if not path.startswith(("/favicon.ico", "/time/1/current"))}
    assert asked == {"/index.html", f"/submissions/{hostile.name}"}
