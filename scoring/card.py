"""The score card of one submission: every score with its error and its number of toys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fairuniverse.accounting import Account, account, run_manifest
from fairuniverse.errors import InvalidDataError
from fairuniverse.protocols import Score, ScoreValue
from fairuniverse.results import Results, is_isolated, repeatability_warning
from fairuniverse.statistics import pdg_round

from .cost import Cost, failures
from .coverage import Coverage, coverage_by_mu, coverage_by_nuisance
from .matched_width import MatchedWidth
from .official_errors import OfficialErrors
from .pulls import Pulls
from .quantile import QuantileScore
from .references import ReferenceLine, data_blind
from .width import Width, width_by_mu
from .winkler import Winkler

SCORES: tuple[Score, ...] = (
    QuantileScore(),
    Width(),
    Coverage(),
    Winkler(),
    MatchedWidth(),
    Pulls(),
    OfficialErrors(),
    Cost(),
)
"""The scores of a card, in the order of the table."""

LIMIT = 1e9
"""Largest absolute value in ``scores.json``; platforms refuse 1e10 and more."""

WORST: Mapping[str, float] = {
    "quantiles_score": -LIMIT,
    "interval": LIMIT,
    "coverage": 0.0,
    "rmse": LIMIT,
    "mae": LIMIT,
}
"""The official keys, always present, and what stands for a score that cannot be computed."""

MAX_WARNINGS = 20
"""Warnings shown in the terminal; the JSON has all."""

MAX_MESSAGE = 150
"""Characters shown of the message of a failure."""

NAME_WIDTH = 46
"""Characters of the first column in the terminal."""


@dataclass(frozen=True)
class ScoreCard:
    """All scores of one submission.

    Attributes:
        submission: Its name.
        scores: The scores by name, in the order of the table.
        n_toys: Number of pseudo-experiments.
        n_sets: Number of values of mu.
        n_failed: Pseudo-experiments without a valid interval.
        failures: The same by status.
        messages: The first message of each status that occurs.
        mu_range: Smallest and largest mu of the benchmark.
        confidence_level: Confidence level the intervals claim.
        by_mu: Coverage and width at each mu, one record per set.
        by_nuisance: Coverage in slices of each nuisance parameter, records by name.
        references: Lines to compare with.
        manifest: Provenance, as in the results.
        account: What the run took and what had to be done again.
        is_reference: Whether it was told the true nuisance values: a line to compare with, not a method.
    """

    submission: str
    scores: Mapping[str, ScoreValue]
    n_toys: int
    n_sets: int
    n_failed: int
    failures: Mapping[str, int]
    messages: Mapping[str, str]
    mu_range: tuple[float, float]
    confidence_level: float
    by_mu: Sequence[Mapping[str, Any]]
    by_nuisance: Mapping[str, Sequence[Mapping[str, Any]]]
    references: Sequence[ReferenceLine]
    manifest: Mapping[str, Any]
    account: Account
    is_reference: bool = False

    def __getitem__(self, name: str) -> ScoreValue:
        """One score.

        Raises:
            InvalidDataError: No score has that name.
        """
        if name not in self.scores:
            raise InvalidDataError(f"no score {name!r}; there are {', '.join(self.scores)}")
        return self.scores[name]

    @property
    def n_missing(self) -> int:
        """Pseudo-experiments without an answer: the run is unfinished if there are some."""
        return self.failures.get("missing", 0)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was wrong with the predictions as a whole, from the manifest."""
        found = self.manifest.get("warnings", ())
        warnings = list(map(str, found)) if isinstance(found, list | tuple) else [str(found)]
        if not is_isolated(self.manifest):
            warnings.append("run without isolation: nothing kept this code from reading the truth")
        return tuple(filter(None, [*warnings, repeatability_warning(self.manifest)]))

    def without_truth(self) -> ScoreCard:
        """The same without what tells the true mu of a set: for participants while the toys are in use."""
        worst = self.scores.get("coverage_worst_slice")
        hidden = (
            {}
            if worst is None
            else {worst.name: replace(worst, meaning=f"{_head(worst.meaning)}: withheld.")}
        )
        return replace(self, scores={**self.scores, **hidden}, by_mu=(), by_nuisance={})

    def to_json(self) -> dict[str, Any]:
        """Everything in the types of strict JSON: None stands for a number that does not exist."""
        plain: dict[str, Any] = _plain(asdict(self) | {"n_missing": self.n_missing})
        return plain

    def to_flat(self) -> dict[str, float]:
        """Names and finite numbers for ``scores.json``: scores, errors as ``<name>_error``, n_toys, n_sets.

        Of a run also its core_hours, workers_lost and retries.

        The official keys are always there and held within +-`LIMIT`, `WORST` standing for what cannot be
        computed. Any other number that does not exist or is beyond `LIMIT` is left out.
        """
        numbers: dict[str, float | None] = {"n_toys": self.n_toys, "n_sets": self.n_sets}
        for name, score in self.scores.items():
            numbers |= {name: score.value, f"{name}_error": score.error}
        if self.account.n_sessions:
            numbers |= {
                "core_hours": self.account.core_hours,
                "workers_lost": self.account.n_workers_lost,
                "retries": len(self.account.retries),
            }
        flat = {k: v for k, v in numbers.items() if v is not None and abs(v) <= LIMIT}
        for name, worst in WORST.items():
            value = numbers.get(name)
            flat[name] = worst if value is None else min(max(value, -LIMIT), LIMIT)
        return flat

    def render(self) -> str:
        """The card as text for a terminal, numbers rounded by the rule of the Particle Data Group."""
        head = (
            f"{_printable(self.submission)}: {self.n_toys} pseudo-experiments, {self.n_sets} values of mu, "
            f"{self.n_failed} failed"
        )
        lines = [f"UNFINISHED: {self.missing_toys()}"] if self.n_missing else []
        lines += [head, "-" * len(head), *self._warning_lines()]
        if self.is_reference:
            lines.append("reference: knows the true nuisances, which no method does")
        lines += [self._line(label, name) for name, label in LABELS.items() if name in self.scores]
        lines += [self._failure_line(status, count) for status, count in self.failures.items() if count]
        lines += self._account_lines()
        for line in self.references:
            lines.append(
                f"{'reference: ' + line.name:<{NAME_WIDTH}} official {line.quantiles_score:.2f}, "
                f"width {line.width:.2f}, Winkler {line.winkler:.2f}"
            )
        return "\n".join(lines) + "\n"

    def missing_toys(self) -> str:
        """What makes it unfinished, in words."""
        return f"{self.n_missing} of {self.n_toys} toys have no answer"

    def _warning_lines(self) -> list[str]:
        lines = [f"warning: {_printable(w)}" for w in self.warnings[:MAX_WARNINGS]]
        n_more = len(self.warnings) - len(lines)
        return [*lines, f"warning: and {n_more} more"] if n_more else lines

    def _failure_line(self, status: str, count: int) -> str:
        message = _printable(self.messages.get(status, ""))
        if len(message) > MAX_MESSAGE:
            message = message[: MAX_MESSAGE - 3] + "..."
        text = f"   (first: {message})" if message else ""
        return f"{'failed: ' + status:<{NAME_WIDTH}} {count}{text}"

    def _account_lines(self) -> list[str]:
        """Of a run, what it took; predictions from files have no such thing."""
        if not self.account.n_sessions:
            return []
        lost, again = self.account.n_workers_lost, len(self.account.retries)
        remark = f"   ({lost} workers lost, {again} times something done again)" if lost or again else ""
        title = "core-hours of fit and answers (core_hours)"
        return [f"{title:<{NAME_WIDTH}} {self.account.core_hours:.2g}{remark}"]

    def _line(self, label: str, name: str) -> str:
        score = self.scores[name]
        title = label if label.strip() == name else f"{label} ({name})"
        unit = f" {score.unit}" if score.unit and score.value is not None else ""
        return f"{title:<{NAME_WIDTH}} {_number(score)}{unit}{self._remark(name)}".rstrip()

    def _remark(self, name: str) -> str:
        score = self.scores[name]
        if name == "quantiles_score":
            return f"   (N = {score.n_toys})"
        if name == "coverage":
            ends = [self.scores[f"coverage_{end}"].value or 0.0 for end in ("lower", "upper")]
            return f"   (interval {ends[0]:.4f} to {ends[1]:.4f}, nominal {self.confidence_level:g})"
        if name == "coverage_worst_slice":
            p_value = self.scores["coverage_worst_p_value"].value
            return f"   ({_place(score.meaning)}; corrected p = {p_value:.2g})"
        return ""


LABELS: Mapping[str, str] = {
    "quantiles_score": "official quantile score",
    "coverage_penalty": "  lost by coverage, ln f(c)",
    "coverage": "coverage",
    "coverage_worst_slice": "  worst slice",
    "interval": "mean width",
    "width_median": "median width",
    "width_matched": "width at matched coverage",
    "winkler": "interval (Winkler) score",
    "bias": "bias of mu_hat",
    "pull_mean": "pull mean",
    "pull_width": "pull width",
    "mu_hat_rmse": "RMSE of mu_hat",
    "mu_hat_mae": "MAE of mu_hat",
    "rmse": "official RMSE",
    "mae": "official MAE",
    "wall_time_median": "median wall time",
    "wall_time_p95": "95th percentile of wall time",
    "cpu_time_median": "median processor time",
    "peak_memory": "peak memory",
}
"""Names of the scores in the terminal table, in its order; the key in the files stands beside each."""

SUMMARY: Mapping[str, str] = {
    "coverage": "coverage",
    "width": "interval",
    "width matched": "width_matched",
    "Winkler": "winkler",
    "official score": "quantiles_score",
}
"""Columns of the summary of several cards, and their scores."""


def render_summary(cards: Sequence[ScoreCard]) -> str:
    """Several cards as a table for a terminal, one line per submission.

    The number of toys N stands in every line: official scores are comparable at the same N only. Unfinished
    runs are marked, and told below.
    """
    head = ("submission", "N", *SUMMARY, "failed")
    rows = [
        (
            _printable(card.submission) + _marks(card),
            str(card.n_toys),
            *(_number(card.scores[name]) if name in card.scores else "" for name in SUMMARY.values()),
            str(card.n_failed),
        )
        for card in cards
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in (head, *rows)
    ]
    rule = "-" * len(lines[0])
    notes = [
        f"unfinished: {_printable(card.submission)}, {card.missing_toys()} and count as failed"
        for card in cards
        if card.n_missing
    ]
    return "\n".join([lines[0], rule, *lines[1:], *notes]) + "\n"


def _marks(card: ScoreCard) -> str:
    marks = {"knows the nuisances": card.is_reference, "unfinished": card.n_missing}
    told = ", ".join(mark for mark, holds in marks.items() if holds)
    return f" ({told})" if told else ""


@np.errstate(all="ignore")
def score_card(results: Results, scores: Sequence[Score] = SCORES) -> ScoreCard:
    """Compute all scores of one submission.

    Raises:
        InvalidDataError: The results have no rows, belong to several submissions, or two scores share a name.
    """
    if len(results.submissions) != 1:
        names = ", ".join(map(str, results.submissions)) or "none"
        raise InvalidDataError(f"a score card is for one submission, not for: {names}; use results.of(name)")
    values: dict[str, ScoreValue] = {}
    for value in (v for score in scores for v in score(results)):
        if value.name in values:
            raise InvalidDataError(f"two scores are called {value.name!r}: each name must be used once")
        values[value.name] = value
    by_mu = coverage_by_mu(results).merge(_width_columns(results), on="i_mu")
    n_toys = len(results.table)
    return ScoreCard(
        submission=str(results.submissions[0]),
        scores=values,
        n_toys=n_toys,
        n_sets=len(by_mu),
        n_failed=n_toys - int(results.is_ok.sum()),
        failures=failures(results),
        messages=_first_messages(results),
        mu_range=results.mu_range,
        confidence_level=results.confidence_level,
        by_mu=_records(by_mu),
        by_nuisance={name: _records(coverage_by_nuisance(results, name)) for name in results.nuisance_names},
        references=(data_blind(n_toys, results.mu_range, results.confidence_level),),
        manifest=results.manifest,
        account=account(results.table, run_manifest(results.manifest, str(results.submissions[0]))),
        is_reference=results.is_reference(str(results.submissions[0])),
    )


def _place(meaning: str) -> str:
    return meaning.rpartition(": ")[2].removesuffix(".")


def _head(meaning: str) -> str:
    return meaning.partition(": ")[0]


def _number(score: ScoreValue) -> str:
    if score.value is None:
        return "not computable"
    if score.name == "coverage_penalty" and not score.error and abs(score.value) < 0.005:
        return "0"  # far below what any number of toys resolves
    return pdg_round(score.value, score.error)


def _first_messages(results: Results) -> dict[str, str]:
    failed = results.table[~results.is_ok]
    first = failed[failed["message"].astype(str) != ""].groupby("status")["message"].first()
    return {str(status): str(message) for status, message in first.items()}


def _printable(name: str) -> str:
    """A name in one line and without control characters, which could rewrite the terminal."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(name.split()))


def _width_columns(results: Results) -> pd.DataFrame:
    widths = width_by_mu(results)[["i_mu", "mean", "error", "median"]]
    return widths.rename(columns={"mean": "width", "error": "width_error", "median": "width_median"})


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _plain(x: Any) -> Any:
    """The same in the types of JSON, None for numbers that are not finite."""
    if isinstance(x, Mapping):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, bool | np.bool_):
        return bool(x)
    if isinstance(x, int | np.integer):
        return int(x)
    if isinstance(x, float | np.floating):
        return float(x) if math.isfinite(x) else None
    return x if x is None else str(x)
