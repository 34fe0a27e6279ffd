"""Merging the parts of a run: the same results, whatever happens on the way."""

import itertools
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fairuniverse.cli import main
from fairuniverse.errors import StorageError
from fairuniverse.store import (
    LocalPlace,
    RunFolder,
    RunStore,
    compact,
    open_place,
    read_manifest,
    read_results,
)
from sample_runs import assert_same, run
from small_runs import IDENTITY, make_run, row

KEYS = [(i, j) for i in range(2) for j in range(3)]


def assert_unchanged(folder, before):
    """The same table to the last bit, costs included."""
    pd.testing.assert_frame_equal(read_results(folder).table, before, check_exact=True)


def parts(folder):
    """Names of the parts."""
    return sorted(name for name in open_place(folder).files("parts"))


def test_parts_become_one(where):
    """With the same rows, bit for bit, wherever the run is; once more changes nothing."""
    make_run(where, KEYS)
    before = read_results(where).table
    merged = compact(where)
    assert (merged.n_toys, merged.n_before, merged.n_after) == (6, 6, 1)
    assert_unchanged(where, before)
    (name,) = parts(where)
    assert name.endswith("-0000000-0000102.parquet")
    again = compact(where)
    assert (again.n_before, again.n_after) == (1, 1)
    assert parts(where) == [name]


def test_the_command_tells_what_is_compact_already(tmp_path):
    """Instead of one file made of one."""
    make_run(tmp_path / "run", KEYS)
    first, again = (CliRunner().invoke(main, ["compact", str(tmp_path)]).output for _ in range(2))
    assert first.endswith("run: 6 toys, 6 files -> 1\n")
    assert again.endswith("run: 6 toys, compact already\n")


def test_rows_of_any_kind_stay_as_they_are(tmp_path):
    """Also a column that some parts lack, or that has no value in them."""
    folder = make_run(tmp_path / "run", [(0, 0)])
    with RunStore(folder, IDENTITY) as store:
        store.write_part([row(0, 1, status="crashed", mu_hat=float("nan"), message="died", wall_time_s=None)])
        store.write_part([row(0, 2, cpu_time_s=0.1 + 0.2), row(1, 1, cpu_time_s=None)])
    before = read_results(folder).table
    assert compact(folder).n_before == 3
    assert_unchanged(folder, before)


def test_a_run_without_answers_has_nothing_to_merge(tmp_path):
    """And stays as it is."""
    folder = make_run(tmp_path / "run", [])
    assert compact(folder).n_after == 0


def test_toys_in_two_parts_keep_their_first_row(tmp_path):
    """A worker that had been given up may have done them again; their costs differ."""
    folder = make_run(tmp_path / "run", [])
    with RunStore(folder, IDENTITY) as store:
        store.write_part([row(0, 0, wall_time_s=1.0), row(0, 1, wall_time_s=2.0)])
        store.write_part([row(0, 1, wall_time_s=3.0), row(0, 2, wall_time_s=4.0)])
        store.write_part([row(0, 2, wall_time_s=5.0)])
    before = read_results(folder).table
    assert before["wall_time_s"].tolist()[:3] == [1.0, 2.0, 4.0]
    assert compact(folder).n_toys == 3
    assert_unchanged(folder, before)


def test_a_run_that_is_worked_on_is_refused(where):
    """Nothing is touched."""
    make_run(where, KEYS)
    names = parts(where)
    with RunStore(where, IDENTITY), pytest.raises(StorageError, match="another process is writing"):
        compact(where)
    assert parts(where) == names
    assert compact(where).n_after == 1


def test_what_a_late_worker_writes_meanwhile_stays(tmp_path, monkeypatch):
    """Its part is read after the merged one, and merged the next time."""
    folder = make_run(tmp_path / "run", KEYS[:-1])
    late = RunFolder(folder, read_manifest(folder)["run"])
    remove = LocalPlace.remove

    def after_a_late_worker(place, names):
        late.write_part([row(*KEYS[-1])])
        remove(place, names)

    with monkeypatch.context() as patch:
        patch.setattr(LocalPlace, "remove", after_a_late_worker)
        compact(folder)
    assert len(parts(folder)) == 2
    assert (read_results(folder).table["status"] == "ok").all()
    assert compact(folder).n_toys == 6


def with_doubles(folder):
    """A run of which some toys are in two parts, with different costs."""
    make_run(folder, [])
    with RunStore(folder, IDENTITY) as store:
        store.write_part([row(0, 0, wall_time_s=1.0), row(0, 1, wall_time_s=2.0)])
        store.write_part([row(0, 1, wall_time_s=3.0), row(0, 2, wall_time_s=4.0), row(1, 0, wall_time_s=5.0)])
        store.write_part([row(1, 0, wall_time_s=6.0), row(1, 1, wall_time_s=7.0)])
    return folder


def test_any_old_parts_may_be_left(tmp_path):
    """Stores remove many objects in any order: the merged part is the one that counts."""
    folder = with_doubles(tmp_path / "run")
    before = read_results(folder).table
    old = {path.name: path.read_bytes() for path in (folder / "parts").iterdir()}
    compact(folder)
    for n_left in range(len(old) + 1):
        for left in itertools.combinations(old, n_left):
            for name in left:
                (folder / "parts" / name).write_bytes(old[name])
            assert_unchanged(folder, before)
            assert compact(folder).n_after == 1
            assert_unchanged(folder, before)


KILLED = """
import os, signal, sys
from pathlib import Path
from fairuniverse.store import compact

n_left = int(sys.argv[2])

def fatal(name, function):
    def call(*arguments, **options):
        global n_left
        if not n_left:
            os.kill(os.getpid(), signal.SIGKILL)
        n_left -= 1
        return function(*arguments, **options)
    return call

os.fsync = fatal("fsync", os.fsync)
for name in ("replace", "unlink"):
    setattr(Path, name, fatal(name, getattr(Path, name)))
compact(sys.argv[1])
"""


def test_a_kill_at_any_moment_loses_nothing(tmp_path):
    """Before each flush, renaming and removal: the table stays, and once more works."""
    whole = with_doubles(tmp_path / "whole")
    before = read_results(whole).table
    for n_steps in range(20):
        folder = shutil.copytree(whole, tmp_path / f"killed-{n_steps}")
        ended = subprocess.run([sys.executable, "-c", KILLED, folder, str(n_steps)])
        assert_unchanged(folder, before)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        with RunStore(folder, IDENTITY) as store:
            assert len(store.finished()) == 5
        assert compact(folder).n_after == 1
        assert_unchanged(folder, before)
        assert not list((folder / "parts").glob(".*"))
    assert n_steps == 5  # one flush, one renaming, three removals


def test_a_run_goes_on_after_it_was_merged(tmp_path):
    """What is forgotten of the merged part is written again."""
    names = ["counting"]
    whole = run(tmp_path / "whole", names, n_toys=6)
    again = tmp_path / "again"
    run(again, names, n_toys=6)
    for name in names:
        keep_half(again / name)
        compact(again / name)
        assert len(parts(again / name)) == 1
    assert_same(run(again, names, n_toys=6), whole)


def keep_half(folder: Path) -> None:
    """Undo the second half of a run."""
    with RunStore(folder, {}) as store:
        n_rows = len(store.rows())
        store.forget(range(n_rows // 2 + 1, n_rows))
        assert len(store.rows()) == n_rows // 2 + 1
