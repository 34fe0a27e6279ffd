"""What counts as an answer."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairuniverse import Interval
from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.answers import Answer, check, clean, pack
from fairuniverse.results import STATUSES


def answered(answer):
    """The host's record of what predict returned, through JSON as in reality."""
    try:
        reply = pack(answer)
    except SubmissionError as error:
        reply = {"status": error.status, "message": str(error)}
    return check(json.loads(json.dumps(reply)))


@pytest.mark.parametrize(
    "number", [1, 1.0, np.float32(1), np.int8(1), np.array(1.0), Fraction(1), np.float16(1)]
)
def test_numbers_of_any_library_are_accepted(number):
    """A NumPy scalar is as good as a Python number."""
    assert answered({"mu_hat": number, "lower": number, "upper": number}) == Answer("ok", "", 1.0, 1.0, 1.0)


def test_intervals_and_their_likes_are_accepted():
    """An Interval, or anything with the same three attributes."""
    assert answered(Interval(1.0, 0.5, 2.0)) == Answer("ok", "", 1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("1", "a str"),
        (None, "None"),
        (True, "a bool"),
        (np.bool_(1), "a bool"),
        (np.array([1.0]), "shape (1,)"),
        (1j, "a complex"),
    ],
)
def test_anything_else_is_refused(value, found):
    """Nothing is guessed from text, None, booleans or arrays; the message says what was found."""
    answer = answered({"mu_hat": value, "lower": 0.0, "upper": 2.0})
    assert answer.status == "invalid_type"
    assert found in answer.message
    assert math.isnan(answer.mu_hat)


@pytest.mark.parametrize(
    ("answer", "found"),
    [((1.0, 0.0, 2.0), "a tuple"), (None, "None"), ("1 +- 1", "a str"), (1.0, "a float"), (1, "an int")],
)
def test_other_shapes_of_answers_say_what_to_return(answer, found):
    """The message tells the two accepted forms."""
    refused = answered(answer)
    assert refused.status == "invalid_type"
    assert f"returned {found}; return fairuniverse.Interval(mu_hat, lower, upper) or a" in refused.message


def test_missing_keys_are_named():
    """What there is and what is missing are both in the message."""
    answer = answered({"mu_hat": 1.0, "p16": 0.5, "p84": 1.5})
    assert answer.status == "missing_key"
    assert "has mu_hat, p16, p84 but no lower, upper" in answer.message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), 10**400])
def test_non_finite_numbers_have_a_status(value):
    """NaN and infinity arrive as they are."""
    assert answered({"mu_hat": 1.0, "lower": 0.0, "upper": value}).status == "non_finite"


def test_swapped_bounds_are_kept_as_given():
    """They are neither sorted nor made to cover."""
    answer = answered({"mu_hat": 1.0, "lower": 2.0, "upper": 0.0})
    assert (answer.status, answer.lower, answer.upper) == ("swapped", 2.0, 0.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["mu_hat", "lower", "upper", "status", "message", "id"]), JSON))
def test_the_host_survives_any_reply(reply):
    """A forged reply gives a row of a known status, and "ok" only with an interval."""
    answer = check(reply)
    assert answer.status in STATUSES
    assert answer.status != "ok" or -math.inf < answer.lower <= answer.upper < math.inf
    answer.message.encode("utf-8")


@given(st.text())
def test_messages_become_one_short_line(text):
    """Text of strangers can be written to any file and printed on any terminal."""
    line = clean(text + "\n\x1b[31m\ud800")
    assert len(line) <= 500
    assert line.isprintable()
    line.encode("utf-8")
