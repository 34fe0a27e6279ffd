"""Score cards side by side: a table of every score, and charts of those that rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fairuniverse.protocols import ScoreValue
from fairuniverse.reporting import marks
from fairuniverse.reporting.coverage import TWO_SIGMA_CL
from fairuniverse.reporting.page import Cell, Figure, Panel, Table, with_error
from fairuniverse.reporting.theme import INK, Key, keys
from fairuniverse.results import Results
from fairuniverse.statistics import binomial_band

Cards = Mapping[str, Sequence[ScoreValue]]
"""Scores of each submission, by its name."""

References = Mapping[str, Mapping[str, float]]
"""Expected scores of reference methods: by the method's name, then by the score's name."""

SHOWN_NAMES = {"rmse": "rmse (official)", "mae": "mae (official)"}
"""Names on the page of scores whose keys mean something else in a textbook."""

SHARED_TRAINING = "The error does not contain the fluctuation of the training sample, which all toys share."

REMARKS = {"bias": SHARED_TRAINING, "pull_mean": SHARED_TRAINING}
"""What the page adds to the meaning of a score."""

BY_COVERAGE = ("quantiles_score", "winkler")
"""Scores that get worse with wrong coverage: in them anybody can be the best."""

ARROWS = {True: "↑ larger is better", False: "↓ smaller is better", None: ""}


def card_table(cards: Cards, references: References, results: Results) -> Table:
    """One row per score, one column per submission and, after them, per reference method.

    The best submission of a row is marked where there are several and the score has a direction; references
    are never marked. Counts of zero for everybody are left out.
    """
    columns = [_by_name(card) for card in cards.values()]
    is_right = [has_right_coverage(results.of(name)) for name in cards]
    is_method = [not results.is_reference(name) for name in cards]
    names = [n for n in dict.fromkeys(n for c in columns for n in c) if not _is_idle(n, columns)]
    rows = (
        (
            *_row(name, columns, is_right, is_method),
            *(Cell(with_error(line.get(name), None)) for line in references.values()),
        )
        for name in names
    )
    return Table(
        ("score", *map(_titled, cards, is_method), *(f"{name} (reference)" for name in references)),
        tuple(rows),
        "Score card",
        "Value ± standard error, with the number of toys N: scores of different N must not be compared, "
        "because the official score's penalty grows with N at the same coverage. “best” marks the best "
        "value of a row, whether or not the difference exceeds the errors. Submissions whose coverage is "
        f"outside the {TWO_SIGMA_CL:.2%} binomial band compete only in {' and '.join(BY_COVERAGE)}, which "
        f"pay for wrong coverage.{_data_blind(references, results)}{_told(is_method)}",
        notes=("", *(_counts(column) for column in columns), *("" for _ in references)),
    )


def has_right_coverage(results: Results) -> bool:
    """Whether the coverage of one submission is inside the 95.45 % binomial band around the claimed level."""
    covers = results.covers()
    low, high = binomial_band(results.confidence_level, len(covers), TWO_SIGMA_CL)
    return bool(low <= covers.mean() <= high)


def score_figure(cards: Cards, references: References) -> Figure | None:
    """The scores that have a direction and an error, each in a panel; None if there is none."""
    known = [_by_name(card) for card in cards.values()]
    names = [
        n for n in dict.fromkeys(n for c in known for n in c) if any(_is_ranking(c.get(n)) for c in known)
    ]
    if not names:
        return None
    return Figure(
        "Scores with their errors",
        "Dot: the score; bar: one standard error"
        + ("; dashed lines: reference methods. " if references else ". ")
        + "The arrow says in which direction it gets better.",
        tuple(Panel(_panel_title(name, known), _score_chart(name, cards, references)) for name in names),
        keys(tuple(cards)),
    )


def _titled(name: str, is_method: bool) -> str:
    return name if is_method else f"{name} (reference)"


def _told(is_method: Sequence[bool]) -> str:
    """Why some submissions are references."""
    if all(is_method):
        return ""
    return " A submission that is a reference knows the true nuisances, which no method does."


def _by_name(card: Sequence[ScoreValue]) -> dict[str, ScoreValue]:
    return {score.name: score for score in card}


def _counts(column: Mapping[str, ScoreValue]) -> str:
    """Number of toys of a submission, and how many of them failed."""
    first = next(iter(column.values()), None)
    return "" if first is None else f"N = {first.n_toys:,}{_failed(first)}"


def _failed(score: ScoreValue) -> str:
    return f", {score.n_failed:,} failed" if score.n_failed else ""


def _data_blind(references: References, results: Results) -> str:
    """What the reference of that name is."""
    if "data-blind" not in references:
        return ""
    low, high = results.mu_range
    return (
        f" “data-blind (reference)” is the whole range of mu, {low:g} to {high:g}, with probability "
        f"{results.confidence_level:g}, otherwise an empty interval, whatever the data."
    )


def _is_idle(name: str, columns: Sequence[Mapping[str, ScoreValue]]) -> bool:
    """Whether a score is a count that is zero for everybody."""
    scores = [c[name] for c in columns if name in c]
    return all(s.unit == "toys" and s.value == 0 for s in scores)


def _is_ranking(score: ScoreValue | None) -> bool:
    return score is not None and None not in (score.value, score.error, score.higher_is_better)


def _row(
    name: str,
    columns: Sequence[Mapping[str, ScoreValue]],
    is_right: Sequence[bool],
    is_method: Sequence[bool],
) -> tuple[Cell, ...]:
    scores = [c.get(name) for c in columns]
    example = next(s for s in scores if s is not None)
    meaning, places = _meanings(scores)
    note = " · ".join(filter(None, (ARROWS[example.higher_is_better], meaning, REMARKS.get(name))))
    is_rival = [m and (ok or name in BY_COVERAGE) for m, ok in zip(is_method, is_right, strict=True)]
    rivals = [s if rival else None for s, rival in zip(scores, is_rival, strict=True)]
    best = _best(rivals)
    return Cell(_shown_name(example), note), *(
        _cell(score, place, column, best if rival else None)
        for score, place, column, rival in zip(scores, places, columns, rivals, strict=True)
    )


def _shown_name(score: ScoreValue) -> str:
    unit = f" [{score.unit}]" if score.unit else ""
    return f"{SHOWN_NAMES.get(score.name, score.name)}{unit}"


def _meanings(scores: Sequence[ScoreValue | None]) -> tuple[str, list[str]]:
    """What a score means to all submissions, and what it means to each where that differs."""
    texts = [s.meaning if s else "" for s in scores]
    known = {s.meaning for s in scores if s}
    if len(known) == 1:
        return known.pop(), [""] * len(texts)
    heads = {text.partition(": ")[0] for text in known}
    if len(heads) == 1:
        return f"{heads.pop()}.", [text.partition(": ")[2] for text in texts]
    return "", texts


def _cell(
    score: ScoreValue | None, place: str, column: Mapping[str, ScoreValue], best: ScoreValue | None
) -> Cell:
    if score is None:
        return Cell("–")
    text = with_error(score.value, score.error)
    common = next(iter(column.values()))
    is_special = score.name == "quantiles_score" or (score.n_toys, score.n_failed) != (
        common.n_toys,
        common.n_failed,
    )
    counts = f"N = {score.n_toys:,}{_failed(score)}" if is_special else ""
    # Values that differ only beyond what is shown are equally good to the reader.
    is_best = best is not None and (score.value == best.value or text == with_error(best.value, best.error))
    return Cell(text, " · ".join(filter(None, (place, counts))), is_best)


def _best(scores: Sequence[ScoreValue | None]) -> ScoreValue | None:
    """Best score of a row; None unless several submissions differ in it."""
    known = [(s.value, s) for s in scores if s and s.value is not None and s.higher_is_better is not None]
    if len({value for value, _ in known}) < 2:
        return None
    choose = max if known[0][1].higher_is_better else min
    return choose(known, key=lambda pair: pair[0])[1]


def _panel_title(name: str, columns: Sequence[Mapping[str, ScoreValue]]) -> str:
    score = next(c[name] for c in columns if name in c)
    return f"{_shown_name(score)} {'→' if score.higher_is_better else '←'} better"


def _score_chart(name: str, cards: Cards, references: References) -> marks.Spec:
    scores = {label: _by_name(card)[name] for label, card in cards.items() if name in _by_name(card)}
    known = {label: s for label, s in scores.items() if s.value is not None}
    lines = {label: line[name] for label, line in references.items() if name in line}
    ends = [(s.value or 0.0) + sign * (s.error or 0.0) for s in known.values() for sign in (-1, 1)]
    x = marks.x_axis(None, marks.padded([*ends, *lines.values()]), grid=True)
    layers = [layer for label, value in lines.items() for layer in _reference_line(label, value, x)]
    layers += [
        layer for k in keys(tuple(cards)) if k.label in known for layer in _score_mark(k, known[k.label], x)
    ]
    return marks.panel(*layers, height=max(30 * len(cards), 60) + 40)


def _score_mark(key: Key, score: ScoreValue, x: marks.Spec) -> tuple[marks.Spec, marks.Spec]:
    value, error = score.value or 0.0, score.error or 0.0
    hint = f"{key.label}: {with_error(score.value, score.error)}, N = {score.n_toys}"
    row = {"submission": key.label, "x": value, "low": value - error, "high": value + error, "hint": hint}
    common = {"y": marks.rows_by("submission"), "description": marks.column("hint")}
    bar = {"type": "rule", "color": key.color, "strokeWidth": 2}
    frame = pd.DataFrame([row])
    return (
        marks.layer(frame, bar, x=marks.along(x, "low"), x2=marks.column("high"), **common),
        marks.layer(frame, marks.dot(key, 80), x=x, **common),
    )


def _reference_line(label: str, value: float, x: marks.Spec) -> tuple[marks.Spec, marks.Spec]:
    frame = pd.DataFrame([{"x": value, "label": label}])
    rule = {"type": "rule", "color": INK, "strokeDash": [5, 3], "opacity": 0.75}
    text = {
        "type": "text",
        "align": "left",
        "baseline": "bottom",
        "dx": 2,
        "dy": -2,
        "fontSize": 11,
        "clip": False,
    }
    return (
        marks.layer(frame, rule, x=x, description=marks.hint(f"{label}: {value:.3g}")),
        marks.layer(frame, text, x=x, y={"value": 0}, text={"field": "label", "type": "nominal"}),
    )
