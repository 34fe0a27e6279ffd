"""How far runs are, as somebody else's process sees it."""

import json
import os

import pytest
from click.testing import CliRunner

from fairuniverse.api import run_status
from fairuniverse.cli import main
from fairuniverse.errors import StorageError
from fairuniverse.store import RunStore, read_manifest
from report_inputs import make_results
from run_folders import write_run


@pytest.fixture
def half(tmp_path):
    """A run that ended when half of its toys were answered."""
    results = make_results(("mine",))
    return write_run(tmp_path / "mine", results, "mine", finished=None, n_answered=len(results.table) // 2)


def test_a_stopped_run_tells_what_is_missing(half):
    """Nobody holds the folder, so nothing goes on."""
    (status,) = run_status([half.parent])
    assert (status.name, status.state) == ("mine", "stopped")
    assert status.account.n_answered == status.n_toys // 2
    assert status.account.core_hours > 0


def test_a_running_run_tells_when_it_will_end(half):
    """Four toys came a hundred seconds after the first part of this session."""
    identity = {k: read_manifest(half)[k] for k in ("benchmark_digest", "submission_digest")}
    (first,) = (half / "parts").iterdir()
    (before,) = run_status([half])
    with RunStore(half, identity) as store:
        row = store.rows()[-1]
        missing = json.loads(CliRunner().invoke(main, ["status", str(half), "--json"]).output)[0]
        assert missing["state"] == "running"
        later = [
            {**row, "i_mu": row["i_mu"] + 1, "i_toy": i, "place": row["place"] + 1 + i} for i in range(4)
        ]
        store.write_part(later)
        second = next(p for p in (half / "parts").iterdir() if p != first)
        os.utime(first, (2e9, 2e9))
        os.utime(second, (2e9 + 100, 2e9 + 100))
        (status,) = run_status([half])
        line = CliRunner().invoke(main, ["status", str(half)]).output
    assert status.account.n_answered == before.account.n_answered + 4
    assert status.toys_per_s == pytest.approx(0.04)
    assert status.remaining_s == pytest.approx((status.n_toys - status.account.n_answered) / 0.04)
    assert "0.04 a second" in line
    assert "left" in line


def test_a_finished_run_is_finished(tmp_path):
    """With failures by kind."""
    write_run(tmp_path / "mine", make_results(("mine",)), "mine")
    (status,) = run_status([tmp_path / "mine"])
    assert status.state == "finished"
    assert status.account.n_answered == status.n_toys
    assert "finished" in CliRunner().invoke(main, ["status", str(tmp_path)]).output


def test_no_run_is_an_error(tmp_path):
    """And not an empty list."""
    with pytest.raises(StorageError, match="no run at"):
        run_status([tmp_path])
