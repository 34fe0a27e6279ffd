"""How far runs are, as somebody else's process sees it."""

import json
import os

import pandas as pd
import pytest
from click.testing import CliRunner

from fairuniverse.api import run_status, score_runs
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


@pytest.mark.parametrize(
    ("entries", "n_answered", "phase"),
    [
        ({}, 1, "fitting"),
        ({"fit": {"status": "ok"}}, 3, "answering"),
        ({"fit": {"status": "ok"}}, None, "asking again"),
    ],
)
def test_what_a_running_run_does(tmp_path, entries, n_answered, phase):
    """From its manifest and its answers; the line names what is not seen from the numbers."""
    results = make_results(("mine",))
    folder = write_run(tmp_path / "mine", results, "mine", finished=None, n_answered=n_answered)
    identity = {k: read_manifest(folder)[k] for k in ("benchmark_digest", "submission_digest")}
    assert run_status([folder])[0].phase is None
    with RunStore(folder, identity) as store:
        store.manifest.pop("fit", None)
        store.update(**entries)
        (status,) = run_status([folder])
        line = CliRunner().invoke(main, ["status", str(folder)]).output
    assert (status.state, status.phase) == ("running", phase)
    assert (phase in line) == (phase != "answering")
    assert run_status([folder])[0].phase is None


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


@pytest.fixture
def three(tmp_path):
    """Two good runs, one with a truncated part, and a simulated sample."""
    for name in ("bad", "good", "mine"):
        write_run(tmp_path / "runs" / name, make_results((name,)), name)
    (part,) = (tmp_path / "runs" / "bad" / "parts").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    write_sample(tmp_path / "runs" / "sample")
    return tmp_path / "runs"


def write_sample(folder):
    """What a full simulation leaves, as far as readers of runs see it."""
    folder.mkdir()
    manifest = {"format": 1, "digest": "d", "seed": 1, "world": "higgs_tautau", "source": {}, "failures": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("command", ["status", "score", "compact"])
def test_a_bad_run_hides_no_other(three, command):
    """The others are shown; the bad one is one line on standard error, and the exit status tells it."""
    result = CliRunner().invoke(main, [command, str(three)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "good" in result.stdout
    assert "mine" in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Error: cannot read {three}/bad/parts/")


@pytest.mark.parametrize("command", ["status", "score"])
def test_machines_read_the_good_runs(three, command):
    """Standard output is JSON whatever is wrong with one run."""
    result = CliRunner().invoke(main, [command, str(three), "--json"])
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)) == 2


@pytest.mark.parametrize("command", ["status", "score", "compact"])
def test_a_bad_run_alone_is_one_error(three, command):
    """Nothing is added to what is wrong with it."""
    result = CliRunner().invoke(main, [command, str(three / "bad")])
    assert (result.exit_code, result.stdout, result.stderr.count("Error")) == (1, "", 1)


@pytest.mark.parametrize("ask", [run_status, score_runs])
def test_a_bad_run_is_raised_to_programs(three, ask):
    """Unless they want to be told of it and go on."""
    with pytest.raises(StorageError, match="bad/parts"):
        ask([three])
    errors = []
    assert len(ask([three], on_error=errors.append)) == 2
    assert len(errors) == 1


def test_a_sample_is_an_error_where_it_is_named(three):
    """Where folders are searched it is passed over."""
    result = CliRunner().invoke(main, ["status", str(three / "good"), str(three / "sample")])
    assert result.exit_code == 1
    assert "good" in result.stdout
    assert "sample is a sample of simulated events, not a run: give a folder" in result.stderr


@pytest.mark.parametrize("columns", [["i_mu"], ["i_mu", "i_toy", "mu_true"]], ids=["truths", "answers"])
def test_tables_of_something_else_are_damage(tmp_path, columns):
    """Columns that are missing are told with the folder and the remedy, not by a traceback."""
    folder = write_run(tmp_path / "mine", make_results(("mine",)), "mine")
    name = folder / "truths.parquet" if columns == ["i_mu"] else next((folder / "parts").iterdir())
    pd.read_parquet(name)[columns].to_parquet(name)
    result = CliRunner().invoke(main, ["status", str(folder)])
    assert isinstance(result.exception, SystemExit)
    assert str(folder) in result.stderr
    assert "the command of the run again" in result.stderr
