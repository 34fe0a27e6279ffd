"""What pages and score cards do not tell, because toys are still in use."""

from dataclasses import replace

import pytest

from fairuniverse.api.scores import public
from interval_toys import failing, gaussian_results


def told(status, message, **config):
    """The message of a failed toy as everybody may see it."""
    results = failing(gaussian_results(n_mu=1, n_toys=3), [1])
    table = results.table.assign(message="", status="ok")
    table.loc[1, ["status", "message"]] = [status, message]
    manifest = {"benchmark": {"config": {"seed": 1, **config}}}
    return public(replace(results, table=table, manifest=manifest)).table["message"].tolist()


@pytest.mark.parametrize("status", ["exception", "invalid_type", "missing_key", "out_of_memory"])
def test_words_of_strangers_are_withheld(status):
    """An exception may be raised with the data of a toy in it."""
    assert told(status, "ValueError: 0.123 0.456", show_messages=False) == [
        "",
        "withheld; the organizer's results have it",
        "",
    ]


def test_our_own_words_are_not():
    """How a worker died is said by the host."""
    assert told("timeout", "predict took more than 1 s", show_messages=False)[1].startswith("predict took")


@pytest.mark.parametrize("config", [{"show_messages": True}, {}], ids=["shown", "older run"])
def test_words_are_shown_where_the_organizer_says_so(config):
    """Practice has no secret toys."""
    assert told("exception", "ValueError: 0.123", **config)[1] == "ValueError: 0.123"
