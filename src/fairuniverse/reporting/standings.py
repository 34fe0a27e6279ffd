"""Finished runs side by side, block by block of the same toys: as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairuniverse.errors import InvalidDataError
from fairuniverse.protocols import ScoreValue
from fairuniverse.statistics import pdg_round

ORACLE, EXACT = "oracle", "exact_likelihood"
"""Submissions whose widths the others are divided by: true nuisances known, true densities known."""

BLIND = "data_blind"
"""Submission that ignores the data: a line to compare with, too."""

COLUMNS: Mapping[str, str] = {
    "coverage": "coverage",
    "coverage_worst_mu": "at the worst mu",
    "interval": "width",
    "width_matched": "matched width",
    "width_over_oracle": "÷ oracle's",
    "width_over_exact": "÷ exact",
    "winkler": "Winkler score",
    "quantiles_score": "official score",
    "fit_cpu_time": "fit, CPU",
    "cpu_time_median": "predict, CPU",
    "memory": "memory",
}
"""Scores of a standing and the titles of their columns, in order."""

BEGIN, END = "<!-- fairuniverse table: begin -->", "<!-- fairuniverse table: end -->"
"""Lines between which a file carries the table."""

NOTHING = "–"
"""Stands for a number that does not exist."""

_IN_CSV = ("benchmark", "version", "configuration", "toys", "submission", "n_toys", "n_failed", "is_isolated")


@dataclass(frozen=True)
class Standing:
    """How one finished run did.

    Attributes:
        name: Name of the submission, with that of the run folder where the block has several of that name.
        submission: Name of the submission.
        run: The run folder.
        finished: When the run ended, ISO 8601.
        is_isolated: Whether the submission was kept from the truth.
        is_reference: Whether it is a line to compare with rather than a method that competes.
        failures: Toys without a valid interval, by status; only statuses that occur.
        scores: Everything in `COLUMNS` that could be computed, by name.
    """

    name: str
    submission: str
    run: str
    finished: str
    is_isolated: bool
    is_reference: bool
    failures: Mapping[str, int]
    scores: Mapping[str, ScoreValue]

    @property
    def n_failed(self) -> int:
        """Toys without a valid interval."""
        return sum(self.failures.values())

    def value(self, name: str) -> float | None:
        """Value of a score; None where it does not exist."""
        return self.scores[name].value if name in self.scores else None


@dataclass(frozen=True)
class Block:
    """Runs on the same toys of the same configuration: only these may be compared.

    Attributes:
        benchmark: Name of the configuration.
        version: Its version.
        digest: SHA-256 of the configuration.
        toys: SHA-256 of the true values of all toys.
        seed: Seed of the toys; None where it is not public.
        n_sets: Values of mu.
        n_toys: Toys in all.
        mu_range: Smallest and largest mu.
        confidence_level: Confidence level the intervals claim.
        software: Versions of the package that made the runs.
        command: Commands that make the runs again.
        standings: The runs, smallest Winkler score first.
        left_out: What was found and is not among the standings, and why.
    """

    benchmark: str
    version: str
    digest: str
    toys: str
    seed: int | None
    n_sets: int
    n_toys: int
    mu_range: tuple[float, float]
    confidence_level: float
    software: tuple[str, ...]
    command: str
    standings: tuple[Standing, ...]
    left_out: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.benchmark} {self.version}".strip()

    @property
    def toys_text(self) -> str:
        """How many toys of what."""
        return (
            f"{self.n_toys:,} pseudo-experiments at {self.n_sets} values of mu in "
            f"[{self.mu_range[0]:g}, {self.mu_range[1]:g}], intervals at {self.confidence_level:.2%}"
        )

    @property
    def seed_text(self) -> str:
        """The seed, or that it is not told."""
        return "seed withheld" if self.seed is None else f"seed {self.seed}"


def by_quality(standings: Sequence[Standing]) -> tuple[Standing, ...]:
    """Standings by Winkler score, the proper one; those without it last, equal ones by name."""

    def key(standing: Standing) -> tuple[bool, float, str]:
        winkler = standing.value("winkler")
        return winkler is None, winkler or 0.0, standing.name

    return tuple(sorted(standings, key=key))


def cell(standing: Standing, column: str) -> str:
    """What a table for readers says in a column."""
    score = standing.scores.get(column)
    if score is None or score.value is None:
        return NOTHING
    if score.unit == "s":
        return duration(score.value)
    if score.unit == "MiB":
        return f"{score.value:,.0f} MiB"
    text = pdg_round(score.value, score.error).replace("-", "−")
    return f"{text} ({score.meaning})" if column == "coverage_worst_mu" and score.meaning else text


def duration(seconds: float) -> str:
    """A time in the unit that people would use.

    >>> duration(0.0153), duration(4.2), duration(754.0), duration(7300.0)
    ('15.3 ms', '4.2 s', '12.6 min', '2.03 h')
    """
    for limit, unit, size in ((1.0, "ms", 1e-3), (120.0, "s", 1.0), (7200.0, "min", 60.0)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 3600:,.3g} h"


def render(blocks: Sequence[Block], suffix: str) -> str:
    """The blocks as text of a file of this suffix: ``.md``, ``.csv`` or ``.json``.

    Raises:
        InvalidDataError: Another suffix.
    """
    writers = {".md": to_markdown, ".csv": to_csv, ".json": to_json}
    if suffix not in writers:
        raise InvalidDataError(f"a table is written as {', '.join(writers)}, not as {suffix!r}")
    return writers[suffix](blocks)


def to_markdown(blocks: Sequence[Block], problems: Sequence[str] = ()) -> str:
    """A table for each block, with what reproduces it below; columns without any number are left out."""
    return "\n".join([*map(_markdown, blocks), *(f"Left out: {_safe(text)}.\n" for text in problems)])


def to_csv(blocks: Sequence[Block]) -> str:
    """One row per run with its block, numbers unrounded and times in seconds, memory in MiB."""
    out = io.StringIO()
    names = [n for column in COLUMNS for n in (column, f"{column}_error")]
    writer = csv.DictWriter(out, [*_IN_CSV, *names], lineterminator="\n")
    writer.writeheader()
    for block in blocks:
        for row in _rows(block):
            scores = row.pop("scores")
            numbers = {
                f"{c}{s}": scores[c][k] for c in scores for s, k in (("", "value"), ("_error", "error"))
            }
            writer.writerow({**_identity(block), **row, "submission": _inert(row["submission"]), **numbers})
    return out.getvalue()


def to_json(blocks: Sequence[Block]) -> str:
    """Everything, for machines; null stands for what does not exist or is withheld."""
    content = [
        {
            **_identity(block),
            "seed": block.seed,
            "n_sets": block.n_sets,
            "n_toys": block.n_toys,
            "mu_range": list(block.mu_range),
            "confidence_level": block.confidence_level,
            "fairuniverse": list(block.software),
            "command": block.command,
            "left_out": list(block.left_out),
            "rows": _rows(block),
        }
        for block in blocks
    ]
    return json.dumps({"format": 1, "blocks": content}, indent=2, allow_nan=False) + "\n"


def updated(text: str, table: str) -> str:
    """A text whose lines between the two markers are replaced by a table.

    Raises:
        InvalidDataError: The text does not hold each marker once, the first one first.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InvalidDataError(f"the file needs the lines {BEGIN} and {END}, once each and in this order")
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{table.strip()}\n{END}{rest.partition(END)[2]}"


def _markdown(block: Block) -> str:
    columns = [c for c in COLUMNS if any(s.value(c) is not None for s in block.standings)]
    lines = [
        f"**{_safe(block.title)}**: {block.toys_text}",
        "",
        _line(["method", *(COLUMNS[c] for c in columns), "failed"]),
        _line(["---", *["---:"] * (len(columns) + 1)]),
        *(_line([_name(s), *(cell(s, c) for c in columns), f"{s.n_failed:,}"]) for s in block.standings),
        "",
        _small_print(block),
        *(f"Left out: {_safe(text)}." for text in block.left_out),
        "",
    ]
    return "\n".join(lines)


def _small_print(block: Block) -> str:
    version = ", ".join(block.software)
    marked = any(not s.is_isolated for s in block.standings)
    return (
        "± is one standard error. Matched: intervals scaled to the right coverage; ÷ divides these widths, "
        f"on the same toys. Official scores compare at N = {block.n_toys:,} only. "
        + ("† ran without isolation. " if marked else "")
        + f"{block.seed_text.capitalize()}, fairuniverse {_safe(version)}, configuration "
        f"`{block.digest[:12]}`: `{_code(block.command)}`"
    )


def _name(standing: Standing) -> str:
    return _safe(standing.name) + ("" if standing.is_isolated else " †")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    """A text of a stranger as one line of Markdown that means nothing else."""
    plain = _one_line(text)
    if re.fullmatch(
        r"[A-Za-z0-9][\w.-]*[A-Za-z0-9]", plain, re.ASCII
    ):  # underscores inside words are harmless
        return plain
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", html.escape(plain, quote=False))


def _code(text: str) -> str:
    """What can stand in a code span: nothing that ends it, and no marker of ours."""
    return re.sub(r"`|<!", "?", _one_line(text))


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _inert(text: str) -> str:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _identity(block: Block) -> dict[str, Any]:
    return {
        "benchmark": block.benchmark,
        "version": block.version,
        "configuration": block.digest,
        "toys": block.toys,
    }


def _rows(block: Block) -> list[dict[str, Any]]:
    return [
        {
            "submission": s.name,
            "n_toys": block.n_toys,
            "n_failed": s.n_failed,
            "is_isolated": s.is_isolated,
            "scores": {c: _number(s.scores.get(c)) for c in COLUMNS},
        }
        for s in block.standings
    ]


def _number(score: ScoreValue | None) -> dict[str, Any]:
    if score is None:
        return {"value": None, "error": None}
    return {"value": score.value, "error": score.error}
