"""A leaderboard as a static site: one page for all, one for each submission, nothing loaded, no scripts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from fairuniverse._version import __version__
from fairuniverse.protocols import ONE_SIGMA_CL
from fairuniverse.reporting import marks
from fairuniverse.reporting.coverage import TWO_SIGMA_CL
from fairuniverse.reporting.page import Cell, Figure, Page, Panel, Section, Table, with_error, write_page
from fairuniverse.reporting.render import require_chart_libraries
from fairuniverse.reporting.standings import COLUMNS, Block, Standing, cell
from fairuniverse.reporting.theme import Key, keys
from fairuniverse.results import STATUSES
from fairuniverse.statistics import binomial_band

SHOWN = (
    "winkler",
    "coverage",
    "coverage_worst_mu",
    "width_matched",
    "width_over_oracle",
    "width_over_exact",
    "quantiles_score",
    "interval",
    "cpu_time_median",
)
"""Columns of the board, the one that ranks first; the others stand on each submission's page."""

READING = (
    "Ranked by the Winkler score: width plus a penalty for what is missed, smallest first; it is proper, so "
    "that no method gains by stating other intervals than it believes. Equal scores share a rank. Matched "
    "width: after scaling the intervals to the right coverage; ÷ divides it by that of the method that knows "
    "the true nuisance parameters (oracle) or the exact likelihood. The latest finished run of a submission "
    "counts."
)


@dataclass(frozen=True)
class Board:
    """One benchmark's part of the leaderboard.

    Attributes:
        block: Every finished run on the same toys.
        pages: Address of each submission's page, by its name.
    """

    block: Block
    pages: Mapping[str, str]

    @property
    def latest(self) -> tuple[Standing, ...]:
        """Latest run of each submission, best first."""
        newest: dict[str, Standing] = {}
        for standing in sorted(self.block.standings, key=lambda s: s.finished):
            newest[standing.submission] = standing
        return tuple(s for s in self.block.standings if newest[s.submission] is s)

    @property
    def history(self) -> tuple[Standing, ...]:
        """Every run, the latest first."""
        return tuple(sorted(self.block.standings, key=lambda s: s.finished, reverse=True))


def page_name(block: Block, submission: str) -> str:
    """File name of a submission's page: readable, distinct, and without anything a stranger could misuse."""
    readable = re.sub(r"[^a-z0-9]+", "-", submission.lower(), flags=re.ASCII).strip("-")[:40] or "submission"
    identity = f"{block.digest}\0{block.toys}\0{submission}".encode("utf-8", "surrogatepass")
    return f"{readable}-{hashlib.sha256(identity).hexdigest()[:10]}.html"


def ranks(standings: Sequence[Standing]) -> dict[str, int]:
    """Rank of each submission; equal scores share one, and the next is as much larger (1, 1, 3).

    References and submissions without any valid interval have none.
    """
    rivals = [s for s in standings if _is_ranked(s)]
    scores = [s.value("winkler") for s in rivals]
    return {
        s.submission: 1 + sum(x < y for x in scores if x is not None)
        for s, y in zip(rivals, scores, strict=True)
        if y is not None
    }


def write_index(boards: Sequence[Board], path: Path, *, title: str, problems: Sequence[str] = ()) -> Path:
    """Write the page with all submissions of all benchmarks.

    Raises:
        MissingDependencyError: The libraries of the ``report`` extra are not installed.
        StorageError: The file cannot be written.
    """
    require_chart_libraries()
    return write_page(
        Page(
            title,
            "Which method measures mu most precisely, with intervals that contain the truth as often as they "
            "claim?",
            _facts(boards),
            tuple(_section(board, "" if i else READING) for i, board in enumerate(boards)),
            tuple(f"Not shown: {text}." for text in problems),
            f"Made with fairuniverse {__version__}. The pages load nothing and run no scripts; rest the "
            "pointer on a mark to read its values.",
        ),
        path,
    )


def history_section(board: Board, submission: str) -> Section:
    """Every run of one submission, for its own page."""
    runs = [s for s in board.history if s.submission == submission]
    return Section("History", (_history_table(runs),))


def _facts(boards: Sequence[Board]) -> tuple[tuple[str, str], ...]:
    names = {s.submission for board in boards for s in board.block.standings if not s.is_reference}
    return (
        ("Benchmarks", str(len(boards))),
        ("Submissions", str(len(names))),
        ("Runs", str(sum(len(board.block.standings) for board in boards))),
        ("Updated", datetime.now(UTC).strftime("%-d %B %Y, %H:%M UTC")),
    )


def _section(board: Board, reading: str) -> Section:
    block = board.block
    text = (
        f"{block.toys_text}. Configuration {block.digest[:12]}, {block.seed_text}, fairuniverse "
        f"{', '.join(block.software)}."
    )
    left_out = f" Not shown: {'; '.join(block.left_out)}." if block.left_out else ""
    series = {key.label: key for key in keys([s.submission for s in board.latest])}
    blocks = (_table(board, reading), plane(block, board.latest, series), _history_figure(board, series))
    return Section(block.title, tuple(b for b in blocks if b is not None), text + left_out)


def _table(board: Board, reading: str) -> Table:
    shown = [c for c in SHOWN if any(s.value(c) is not None for s in board.latest)]
    rank = ranks(board.latest)
    rows = tuple(
        (
            Cell(str(rank.get(s.submission, "–"))),
            Cell(s.submission, _remark(s), href=board.pages.get(s.submission, "")),
            *(_cell(s, c, board.block, rank) for c in shown),
            Cell(f"{s.n_failed:,}", ", ".join(f"{n:,} {status}" for status, n in s.failures.items())),
            Cell(s.finished[:10]),
        )
        for s in board.latest
    )
    header = ("rank", "submission", *(COLUMNS[c] for c in shown), "failed", "run")
    return Table(header, rows, "Standings", reading, "numbers")


def _remark(standing: Standing) -> str:
    remarks = []
    if standing.is_reference:
        remarks.append("reference")
    if not standing.is_isolated:
        remarks.append("not isolated")
    return ", ".join(remarks)


def _cell(standing: Standing, column: str, block: Block, rank: Mapping[str, int]) -> Cell:
    is_first = column == "winkler" and rank.get(standing.submission) == 1
    text = cell(standing, column)
    if column == "coverage_worst_mu" and " (" in text:
        text, _, place = text.partition(" (")
        return Cell(text, place.rstrip(")"))
    return Cell(text, _verdict(standing, block) if column == "coverage" else "", is_first)


def _verdict(standing: Standing, block: Block) -> str:
    """Whether the coverage is outside the band in which an exact method lands 95.45 % of the time."""
    coverage = standing.value("coverage")
    low, high = binomial_band(block.confidence_level, block.n_toys, TWO_SIGMA_CL)
    if coverage is None or low <= coverage <= high:
        return ""
    return "too low" if coverage < low else "too high"


def plane(block: Block, standings: Sequence[Standing], series: Mapping[str, Key]) -> Figure | None:
    """Coverage over width, one point per submission; None if nobody gave a valid interval."""
    shown = [s for s in standings if s.n_failed < block.n_toys and s.value("interval") is not None]
    if not shown:
        return None
    frames = [_point(s) for s in shown]
    every = pd.concat(frames)
    bands = {c: tuple(map(float, binomial_band(block.confidence_level, block.n_toys, c))) for c in _BANDS}
    x, ends = _width_axis([*every["left"], *every["right"]])
    heights = [*every["lower"], *every["upper"], *bands[TWO_SIGMA_CL]]
    y = marks.y_axis("coverage", marks.padded(heights, 0.08), format=".0%")
    layers = [
        marks.band([ends[0]], [low], [high], ends, x, y, f"binomial band, {content:.2%}")
        for content, (low, high) in bands.items()
    ]
    layers.append(marks.level(block.confidence_level, y, f"claimed coverage {block.confidence_level:.2%}"))
    drawn = tuple(series[s.submission] for s in shown)
    for key, frame in zip(drawn, frames, strict=True):
        layers += [_width_bar(frame, key, x, y), marks.points(frame, key, x, y)]
    n_without = len(standings) - len(shown)
    return Figure(
        "Coverage and width",
        f"Good methods stand on the dashed line ({block.confidence_level:.2%}) and far left. Below the bands "
        "a method promises more than it holds, above them it wastes width. Bars: one standard error; bands: "
        f"where exact coverage lands 68.27% and 95.45% of the time with {block.n_toys:,} toys."
        + (f" {n_without} without any valid interval are not drawn." if n_without else ""),
        (Panel("", marks.panel(*layers)),),
        drawn,
    )


_BANDS = (TWO_SIGMA_CL, ONE_SIGMA_CL)


def _point(standing: Standing) -> pd.DataFrame:
    width, coverage = standing.scores["interval"], standing.scores["coverage"]
    x, dx = width.value or 0.0, width.error or 0.0
    low, high = (standing.value(f"coverage_{end}") for end in ("lower", "upper"))
    hint = (
        f"{standing.submission}: width {with_error(width.value, width.error)}, coverage "
        f"{with_error(coverage.value, coverage.error)}"
    )
    return pd.DataFrame(
        [
            {
                "x": x,
                "left": x - dx,
                "right": x + dx,
                "y": coverage.value,
                "lower": low,
                "upper": high,
                "hint": hint,
            }
        ]
    )


def _width_bar(frame: pd.DataFrame, key: Key, x: marks.Spec, y: marks.Spec) -> marks.Spec:
    mark = {"type": "rule", "color": key.color, "strokeWidth": 2}
    left, right = marks.along(x, "left"), marks.column("right")
    return marks.layer(frame, mark, x=left, x2=right, y=y, description=marks.column("hint"))


def _width_axis(ends: Sequence[float]) -> tuple[marks.Spec, marks.Domain]:
    """Axis of widths, logarithmic where they differ by much."""
    title, low, high = "mean width of the interval", min(ends), max(ends)
    if low <= 0 or high < 4 * low:
        domain = marks.padded([*ends, 0.0])
        return marks.x_axis(title, domain), domain
    domain = (low / 1.15, high * 1.15)
    axis = marks.x_axis(title, domain, tickCount=4, format="~g")
    return axis | {"scale": {"type": "log", "domain": domain, "nice": False}}, domain


def _history_figure(board: Board, series: Mapping[str, Key]) -> Figure | None:
    """Winkler score of every run over time; None with a single run each."""
    runs = [s for s in board.history if _is_ranked(s) and s.value("winkler") is not None]
    names = {s.submission for s in runs}
    if len(runs) == len(names):
        return None
    drawn = tuple(key for name, key in series.items() if name in names)
    x, y = _time_axis([s.finished for s in runs]), marks.y_axis("Winkler score")
    layers = []
    for key in drawn:
        frame = pd.DataFrame([_moment(s) for s in runs if s.submission == key.label])
        layers.append(marks.points(frame, key, x, y, is_joined=True))
    return Figure(
        "History",
        "Winkler score of every finished run; smaller is better. Bars: one standard error.",
        (Panel("", marks.panel(*layers)),),
        drawn,
        _history_table(board.history),
    )


def _time_axis(moments: Sequence[str]) -> marks.Spec:
    seconds = [datetime.fromisoformat(moment).timestamp() for moment in moments]
    ends = (
        marks.padded(seconds)
        if len(set(seconds)) > 1
        else marks.padded([seconds[0] - 3600, seconds[0] + 3600])
    )
    domain = [1000 * end for end in ends]
    scale = {"type": "utc", "domain": domain, "nice": False}
    axis = {"tickCount": 4, "grid": False}
    return {"field": "x", "type": "temporal", "title": "end of the run (UTC)", "scale": scale, "axis": axis}


def _moment(standing: Standing) -> dict[str, object]:
    score = standing.scores["winkler"]
    value, error = score.value or 0.0, score.error or 0.0
    hint = f"{standing.submission}, {standing.finished}: {with_error(score.value, score.error)}"
    return {"x": standing.finished, "y": value, "lower": value - error, "upper": value + error, "hint": hint}


def _history_table(runs: Sequence[Standing]) -> Table:
    columns = (
        "coverage",
        "interval",
        "width_matched",
        "winkler",
        "quantiles_score",
        "fit_cpu_time",
        "cpu_time_median",
    )
    header = ("end of the run", "submission", *(COLUMNS[c] for c in columns), "failed")
    rows = tuple(
        (
            Cell(s.finished[:16].replace("T", " ")),
            Cell(s.submission, _remark(s)),
            *(Cell(cell(s, c)) for c in columns),
            Cell(f"{s.n_failed:,}", "; ".join(f"{n:,} x {STATUSES[f]}" for f, n in s.failures.items())),
        )
        for s in runs
    )
    return Table(header, rows, "", "", "numbers")


def _is_ranked(standing: Standing) -> bool:
    has_answers = standing.n_failed < standing.scores["winkler"].n_toys
    return not standing.is_reference and has_answers
