"""What a trial says about a submission: where it failed, and whether its answers can be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from fairuniverse.checking.files import missing_package
from fairuniverse.checking.findings import Finding, problem, warning
from fairuniverse.checking.trial import Asked, Trial
from fairuniverse.isolation.answers import Answer

TOLERANCE = 1e-6
"""Difference of two answers to one toy, relative to their size, that is put down to rounding."""

_REMEDIES: Mapping[str, str] = {
    "non_finite": "return finite numbers; where a fit fails, an interval as wide as the range of mu is valid",
    "swapped": "return the lower end before the upper one: lower <= upper, in a dict p16 <= p84",
    "invalid_type": "return fairuniverse.Interval(mu_hat, lower, upper) of plain numbers",
    "missing_key": "return fairuniverse.Interval(mu_hat, lower, upper)",
    "exception": "correct it; what was printed, with the traceback, is below",
    "timeout": "make it faster: move work to fit, use fewer steps, or vectorize",
    "out_of_memory": "use less memory: work in pieces, delete what is not needed any more",
    "crashed": "look for libraries that end the process, and for limits that it runs into",
}

_FAILURES: Sequence[tuple[str, str, str]] = (
    (r"defines no class Model", "no_model_class", ""),
    (r"^Model has no method|asks for the true|only one of save", "signature", ""),
    (r"must be def|it is def", "signature", "change its arguments; a default value makes one optional"),
    (r"must work without arguments", "signature", "give every argument of Model() a default value"),
    (r"add --official", "official", ""),
    (r"took more than", "timeout", _REMEDIES["timeout"]),
    (r"MiB (are allowed|used)|MemoryError", "out_of_memory", _REMEDIES["out_of_memory"]),
    (r"worker process|^killed", "crashed", _REMEDIES["crashed"]),
)
"""Pattern in the message of a failure, code, and remedy where the message does not name it."""


def check_course(trial: Trial) -> list[Finding]:
    """Where a trial ended, if it did not get through."""
    found = []
    if trial.failure:
        stage, error = trial.failure
        found.append(_failure(stage, str(error)))
    if trial.unsaved:
        found.append(
            warning(
                "not_saved",
                f"the fitted model cannot be saved and loaded: {trial.unsaved}",
                "keep attributes that pickle can save, or define save(folder) and load(folder); otherwise "
                "one process answers all toys, and an interrupted run fits again",
            )
        )
    return found


def check_answers(trial: Trial) -> list[Finding]:
    """Whether the answers are valid, and depend on the toy alone."""
    return [*_invalid(trial.asked), *_dependent(trial), *_odd(trial)]


def _failure(stage: str, message: str) -> Finding:
    located = re.fullmatch(r"(.*) \(([^()]+, line \d+)\)", message)
    text, where = (located[1], located[2]) if located else (message, "model.py")
    if match := re.search(r"No module named 'model\.([^']+)'", text):
        what = f"{where}: there is no module {match[1]} beside model.py"
        return problem("missing_module", what, "put it there, or correct the name of the relative import")
    if match := re.search(r"No module named '([^'.]+)", text):
        return missing_package(match[1], where)
    for pattern, code, remedy in _FAILURES:
        if re.search(pattern, text):
            found, _, named = text.partition("; ")
            return problem(code, f"{where}: {found}" if located else found, named or remedy)
    code, what = {"start": ("import_failed", "importing model.py"), "fit": ("fit_failed", "fit")}[stage]
    return problem(code, f"{what} failed: {message}", _REMEDIES["exception"])


def _invalid(asked: Sequence[Asked]) -> Iterator[Finding]:
    """One finding for each kind of failure."""
    kinds = {a.answer.status: a.answer for a in reversed(asked) if a.answer.status != "ok"}
    for status, answer in kinds.items():
        n = sum(a.answer.status == status for a in asked)
        yield problem(status, f"{n} of {len(asked)} answers: {answer.message}", _REMEDIES[status])


def _dependent(trial: Trial) -> Iterator[Finding]:
    """Whether one toy got two answers; the first kind found explains those after it."""
    fresh, loaded = trial.fresh, trial.loaded
    if len(fresh) < 5:
        return
    first, again, *_, last = fresh
    if _differ(first, again):
        yield problem(
            "not_repeatable",
            f"asked twice about one toy it answered {_told(first)}, then {_told(again)}",
            "seed random numbers anew in each call of predict, and keep nothing from call to call",
        )
    elif _differ(first, last):
        yield problem(
            "order_dependent",
            f"after other toys its answer to one toy changed from {_told(first)} to {_told(last)}",
            "let predict change nothing that a later call reads",
        )
    elif pairs := [(a, b) for a in loaded for b in fresh if a.i_toy == b.i_toy and _differ(a, b)]:
        yield problem(
            "process_dependent",
            f"a new process with the saved model answered {_told(pairs[0][0])}, the first one "
            f"{_told(pairs[0][1])}",
            "save all that predict needs, and let nothing depend on the time, the process or the order",
        )


def _odd(trial: Trial) -> Iterator[Finding]:
    """Valid answers that are hardly meant."""
    answers = [a.answer for a in trial.asked if a.answer.status == "ok"]
    odd: Sequence[tuple[str, Callable[[Answer], bool], str, str]] = (
        ("outside", _is_outside, "mu_hat is outside its interval", "check which of them is wrong"),
        ("zero_width", _has_no_width, "the interval has no width", "make it cover mu as often as it claims"),
    )
    for code, is_odd, found, remedy in odd:
        if cases := [a for a in answers if is_odd(a)]:
            yield warning(code, f"{found}: {_numbers(cases[0])}", remedy)
    by_toy = {a.i_toy: a.answer for a in trial.asked if a.answer.status == "ok"}
    if len(by_toy) > 1 and len({_numbers(a) for a in by_toy.values()}) == 1:
        yield warning(
            "constant",
            f"every toy gets the same answer, {_numbers(answers[0])}",
            "check that predict looks at the events it is given",
        )


def _is_outside(answer: Answer) -> bool:
    return not answer.lower <= answer.mu_hat <= answer.upper


def _has_no_width(answer: Answer) -> bool:
    return answer.lower == answer.upper


def _differ(a: Asked, b: Asked) -> bool:
    if "ok" not in (a.answer.status, b.answer.status):
        return False
    pairs = [(getattr(a.answer, k), getattr(b.answer, k)) for k in ("mu_hat", "lower", "upper")]
    scale = max(abs(x) for pair in pairs for x in pair)
    return not all(abs(x - y) <= TOLERANCE * scale for x, y in pairs)


def _told(asked: Asked) -> str:
    return _numbers(asked.answer) if asked.answer.status == "ok" else asked.answer.status


def _numbers(answer: Answer) -> str:
    return f"{answer.mu_hat:.6g} [{answer.lower:.6g}, {answer.upper:.6g}]"
