"""Errors on their way from workers to whoever waits for them."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from fairuniverse import errors
from fairuniverse.errors import FairUniverseError, SubmissionError
from raising import fail

CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, FairUniverseError)
]


def make(kind):
    """One of its kind, with a message that has everything that could go wrong on the way."""
    message = "cannot write to /x: 3 of 5 'toys' – free space, or\nchoose another"
    return kind("timeout", message) if issubclass(kind, SubmissionError) else kind(message)


def test_there_are_such_classes():
    """All that the package raises on purpose."""
    assert {FairUniverseError, SubmissionError, errors.StorageError} < set(CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_errors_stay_what_they_are(kind, protocol):
    """Their type, message and attributes."""
    error = make(kind)
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is kind
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_errors_come_back_from_another_process():
    """As they were raised there."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for kind in CLASSES:
            with pytest.raises(kind) as caught:
                pool.submit(fail, make(kind)).result()
            assert type(caught.value) is kind
            assert str(caught.value) == str(make(kind))
