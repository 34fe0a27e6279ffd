"""Score cards side by side: a table of every score, and charts of those that rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fairuniverse.protocols import ScoreValue
from fairuniverse.reporting import marks
from fairuniverse.reporting.page import Cell, Figure, Panel, Table, with_error
from fairuniverse.reporting.theme import INK, Key, keys

Cards = Mapping[str, Sequence[ScoreValue]]
"""Scores of each submission, by its name."""

References = Mapping[str, Mapping[str, float]]
"""Expected scores of reference methods: by the method's name, then by the score's name."""

ARROWS = {True: "↑ larger is better", False: "↓ smaller is better", None: ""}


def card_table(cards: Cards, references: References) -> Table:
    """One row per score, one column per submission and, after them, per reference method.

    The best submission of a row is marked where there are several and the score has a direction; references
    are never marked. Counts of zero for everybody are left out.
    """
    columns = [_by_name(card) for card in cards.values()]
    names = [n for n in dict.fromkeys(n for c in columns for n in c) if not _is_idle(n, columns)]
    rows = (
        (*_row(name, columns), *(Cell(with_error(line.get(name), None)) for line in references.values()))
        for name in names
    )
    return Table(
        ("score", *cards, *(f"{name} (reference)" for name in references)),
        tuple(rows),
        "Score card",
        "Value ± standard error, with the number of toys N: scores of different N must not be compared, "
        "because the official score's penalty grows with N at the same coverage. “best” marks the best "
        "value of a row, whether or not the difference exceeds the errors.",
    )


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


def _by_name(card: Sequence[ScoreValue]) -> dict[str, ScoreValue]:
    return {score.name: score for score in card}


def _is_idle(name: str, columns: Sequence[Mapping[str, ScoreValue]]) -> bool:
    """Whether a score is a count that is zero for everybody."""
    scores = [c[name] for c in columns if name in c]
    return all(s.unit == "toys" and s.value == 0 for s in scores)


def _is_ranking(score: ScoreValue | None) -> bool:
    return score is not None and None not in (score.value, score.error, score.higher_is_better)


def _row(name: str, columns: Sequence[Mapping[str, ScoreValue]]) -> tuple[Cell, ...]:
    scores = [c.get(name) for c in columns]
    example = next(s for s in scores if s is not None)
    unit = f" [{example.unit}]" if example.unit else ""
    note = " · ".join(filter(None, (ARROWS[example.higher_is_better], example.meaning)))
    best = _best(scores)
    return Cell(f"{name}{unit}", note), *(_cell(s, best) for s in scores)


def _cell(score: ScoreValue | None, best: ScoreValue | None) -> Cell:
    if score is None:
        return Cell("–")
    text = with_error(score.value, score.error)
    failed = f", {score.n_failed:,} failed" if score.n_failed else ""
    # Values that differ only beyond what is shown are equally good to the reader.
    is_best = best is not None and (score.value == best.value or text == with_error(best.value, best.error))
    return Cell(text, f"N = {score.n_toys:,}{failed}", is_best)


def _best(scores: Sequence[ScoreValue | None]) -> ScoreValue | None:
    """Best score of a row; None unless several submissions differ in it."""
    known = [(s.value, s) for s in scores if s and s.value is not None and s.higher_is_better is not None]
    if len({value for value, _ in known}) < 2:
        return None
    choose = max if known[0][1].higher_is_better else min
    return choose(known, key=lambda pair: pair[0])[1]


def _panel_title(name: str, columns: Sequence[Mapping[str, ScoreValue]]) -> str:
    score = next(c[name] for c in columns if name in c)
    unit = f" [{score.unit}]" if score.unit else ""
    return f"{name}{unit} {'→' if score.higher_is_better else '←'} better"


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
