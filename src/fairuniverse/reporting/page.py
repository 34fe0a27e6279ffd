"""A page as plain data, and the one template that turns it into HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fairuniverse.errors import StorageError
from fairuniverse.reporting.render import inline_svg
from fairuniverse.reporting.theme import Key
from fairuniverse.statistics import pdg_round

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What it says.
        note: A second, smaller line.
        is_best: Whether to mark it as the best of its row.
        href: Page that it leads to, relative to this one; never from a stranger.
    """

    text: str
    note: str = ""
    is_best: bool = False
    href: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: Names of the columns.
        rows: The rows; the first cell of each names it.
        title: Heading above it.
        reading: How to read it, in a sentence or two.
        kind: Whether its cells may break lines or are short numbers.
        notes: A second, smaller line of each name in the header.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    reading: str = ""
    kind: Literal["words", "numbers"] = "words"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One chart of a figure, a Vega-Lite specification, with the line above it."""

    title: str
    chart: Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """Charts that are read together.

    Attributes:
        title: Heading above them.
        reading: How to read them, in a sentence or two.
        panels: The charts.
        legend: What the colours and shapes mean.
        table: The numbers drawn, for readers who cannot see the charts.
        is_wide: Whether the charts need more than a third of a page's width.
    """

    title: str
    reading: str
    panels: tuple[Panel, ...]
    legend: tuple[Key, ...] = ()
    table: Table | None = None
    is_wide: bool = False


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    title: str
    blocks: tuple[Figure | Table, ...]
    text: str = ""


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Heading.
        question: What the page answers, in a sentence.
        facts: Name and value of what identifies it.
        sections: Its chapters.
        warnings: What the reader must know before believing it.
        footer: The last line.
        alerts: What makes all of it preliminary, said first.
        links: Other pages that belong to it: text and address relative to this one.
    """

    title: str
    question: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
    footer: str = ""
    alerts: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def write_page(page: Page, path: str | Path) -> Path:
    """Write a page to a file.

    Raises:
        StorageError: The file cannot be written.
    """
    path, html = Path(path), render_page(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    return path


def render_page(page: Page) -> str:
    """HTML of a page: complete in itself, without scripts; every text escaped."""
    import jinja2

    folder = resources.files("fairuniverse.reporting")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["svg"] = _SvgWriter()
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    style = (folder / "page.css").read_text(encoding="utf-8")
    return template.render(page=page, style=style)


class _SvgWriter:
    """Writes the charts of one page, numbering them so that their ids differ."""

    def __init__(self) -> None:
        self.n_charts = 0

    def __call__(self, panel: Panel, figure: Figure) -> str:
        self.n_charts += 1
        label = ": ".join(filter(None, (figure.title, panel.title)))
        return inline_svg(panel.chart, prefix=f"c{self.n_charts}-", label=label)


def table_of(frame: pd.DataFrame, *, title: str = "", reading: str = "") -> Table:
    """A table of a data frame, numbers to four significant digits."""
    rows = (tuple(Cell(number(v)) for v in row) for row in frame.itertuples(index=False))
    return Table(tuple(map(str, frame.columns)), tuple(rows), title, reading, "numbers")


def plain_rows(rows: Iterable[Iterable[str]]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of cells that only hold text."""
    return tuple(tuple(map(Cell, row)) for row in rows)


def number(value: Any) -> str:
    """A number to four significant digits; anything else as it prints; a dash for what is not there."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def with_error(value: float | None, error: float | None) -> str:
    """Value ± error as `fairuniverse.statistics.pdg_round` rounds them; a dash for what is not there.

    >>> with_error(-0.827, 0.119), with_error(None, None)
    ('−0.83 ± 0.12', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return pdg_round(value, error).replace("-", "−")
