"""What `Model.predict` may answer, and what becomes of anything else: a status, never a number made up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from fairuniverse.errors import SubmissionError

KEYS = ("mu_hat", "lower", "upper")
OPTIONAL = "delta_mu_hat"
_HELP = "return fairuniverse.Interval(mu_hat, lower, upper) or a dict with these three keys"
WORKER_STATUSES = ("exception", "out_of_memory", "invalid_type", "missing_key")
"""Statuses that a worker may give, with a message of its own."""

_MAX_TEXT = 500


@dataclass(frozen=True)
class Answer:
    """One answer as the host records it; numbers are as given, NaN where there is none.

    Attributes:
        status: One of `fairuniverse.results.STATUSES`.
        message: What was wrong; empty if nothing.
        mu_hat: Point estimate.
        lower: Lower end of the interval.
        upper: Upper end of the interval.
        delta_mu_hat: Uncertainty stated for mu_hat, which only the official errors look at.
    """

    status: str
    message: str = ""
    mu_hat: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    delta_mu_hat: float = math.nan


def pack(answer: Any) -> dict[str, float]:
    """Plain numbers of whatever `predict` returned (worker's side).

    Raises:
        SubmissionError: A key is missing or a value is not a number.
    """
    is_mapping = isinstance(answer, Mapping)
    values = answer if is_mapping else {k: getattr(answer, k) for k in KEYS if hasattr(answer, k)}
    if not is_mapping and "mu_hat" not in values:  # a str has methods lower and upper
        raise SubmissionError("invalid_type", f"predict returned {_describe(answer)}; {_HELP}")
    missing = [k for k in KEYS if k not in values]
    if missing:
        found = ", ".join(map(str, values)) or "nothing"
        raise SubmissionError("missing_key", f"the answer has {found} but no {', '.join(missing)}; {_HELP}")
    return {k: _number(k, values[k]) for k in (*KEYS, OPTIONAL) if k in values}


def _number(key: str, value: Any) -> float:
    """A Python, NumPy or other scalar as float; strings, None, booleans and arrays are refused."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SubmissionError("invalid_type", f"{key} is {_describe(value)}; it must be one number")
    return _to_float(value)


def _to_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _describe(value: Any) -> str:
    name, shape = type(value).__name__, getattr(value, "shape", None)
    article = "an" if name[0] in "aeiou" else "a"
    with_shape = f" of shape {shape}" if shape else ""
    return "None" if value is None else f"{article} {name}{with_shape}"


def check(reply: Mapping[str, Any]) -> Answer:
    """Answer of a worker's reply, trusting nothing in it (host's side)."""
    if "status" in reply:
        status = reply["status"] if reply["status"] in WORKER_STATUSES else "exception"
        return Answer(status, clean(reply.get("message", "")))
    values = [reply.get(k) for k in KEYS]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return Answer("invalid_type", "the worker's reply holds something else than numbers")
    mu_hat, lower, upper = map(_to_float, values)
    status, message = _judge(mu_hat, lower, upper)
    return Answer(status, message, mu_hat, lower, upper, _stated(reply.get(OPTIONAL)))


def _stated(value: Any) -> float:
    """An optional number; what is none, or not finite, counts as not stated."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _to_float(value) if is_number and math.isfinite(_to_float(value)) else math.nan


def _judge(mu_hat: float, lower: float, upper: float) -> tuple[str, str]:
    if not all(map(math.isfinite, (mu_hat, lower, upper))):
        return "non_finite", f"mu_hat = {mu_hat}, lower = {lower}, upper = {upper}: all must be finite"
    if lower > upper:
        return "swapped", f"lower = {lower} is above upper = {upper}"
    return "ok", ""


def clean(text: Any) -> str:
    """Text of a stranger as one line of bounded length that every file format can hold."""
    line = " ".join(str(text).encode("utf-8", "replace").decode().split())
    return "".join(c for c in line if c.isprintable())[:_MAX_TEXT]
