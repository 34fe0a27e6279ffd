"""Rules as functions: each yields what breaks it, and says in its first line what it asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from fairuniverse.checking.findings import Finding, problem

T = TypeVar("T")
Rule = Callable[[T], Iterable[str]]


def apply_rules(rules: Iterable[Rule[T]], subject: T) -> list[Finding]:
    """Findings of all rules; a rule that raises is broken, too, and the others are still applied."""
    return [finding for rule in rules for finding in _apply(rule, subject)]


def _apply(rule: Rule[T], subject: T) -> Iterator[Finding]:
    code = rule.__name__.strip("_")
    asked = (inspect.getdoc(rule) or "").partition("\n")[0]
    try:
        for found in rule(subject):
            yield problem(code, found, asked)
    except Exception as error:  # whatever a stranger's code raises
        yield problem(code, f"{type(error).__name__}: {error}", asked)


def refuses(error: type[Exception], action: Callable[[], object]) -> bool:
    """Whether an action raises this error."""
    try:
        action()
    except error:
        return True
    return False
