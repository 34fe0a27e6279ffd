"""Run folders on disk."""

import json
import resource

import pandas as pd
import pytest

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.results import COLUMNS
from fairuniverse.store import (
    LocalPlace,
    RunFolder,
    RunStore,
    compact,
    find_runs,
    open_place,
    read_manifest,
    read_results,
    runs_below,
)
from small_runs import IDENTITY, make_run, row


def test_rows_come_back_sorted_with_documented_types(tmp_path):
    """Whatever the order in which toys were finished."""
    make_run(tmp_path / "run", [(1, 2), (0, 1), (1, 0), (0, 0), (0, 2), (1, 1)])
    results = read_results(tmp_path / "run")
    assert results.table[["i_mu", "i_toy"]].values.tolist() == [[i, j] for i in range(2) for j in range(3)]
    assert {c: str(results.table[c].dtype) for c in COLUMNS} == dict(COLUMNS)
    assert results.nuisance_names == ("tes",)
    assert (results.mu_range, results.confidence_level) == ((0.1, 3.0), 0.6827)


@pytest.mark.parametrize("keys", [[], [(0, 1)]], ids=["none", "one"])
def test_toys_without_an_answer_are_rows(tmp_path, keys):
    """An interrupted run has a row for every toy, with its truth."""
    table = read_results(make_run(tmp_path / "run", keys)).table
    assert len(table) == 6
    assert (table["status"] == "missing").sum() == 6 - len(keys)
    assert table["mu_true"].tolist() == [1, 1, 1, 2, 2, 2]
    assert table["nuisance_tes"].tolist() == pytest.approx([1, 1.01, 1.02] * 2)


def test_finished_toys_are_known_to_the_next_session(tmp_path):
    """What is on disk is skipped."""
    make_run(tmp_path / "run", [(1, 2), (0, 1)])
    with RunStore(tmp_path / "run", IDENTITY) as store:
        assert store.finished() == {(1, 2), (0, 1)}
        store.write_part([row(0, 0)])
        assert len(store.finished()) == 3


@pytest.mark.parametrize("key", IDENTITY)
def test_a_folder_belongs_to_one_benchmark_and_submission(tmp_path, key):
    """Results of two things are never mixed; the message says which and what to do."""
    make_run(tmp_path / "run", [(0, 0)])
    kind = {"benchmark_digest": "configuration", "submission_digest": "submission"}[key]
    with pytest.raises(InvalidDataError, match=f"the {kind} has changed .*--overwrite"):
        RunStore(tmp_path / "run", IDENTITY | {key: "other"})
    with RunStore(tmp_path / "run", IDENTITY) as store:
        assert store.finished() == {(0, 0)}


def test_a_run_is_overwritten_when_asked(tmp_path):
    """Nothing of the earlier run is left, whether or not it was the same."""
    for name, identity in (("same", IDENTITY), ("other", IDENTITY | {"submission_digest": "other"})):
        run = make_run(tmp_path / name, [(0, 0)])
        (run / f"model-{read_manifest(open_place(run))['run']}").mkdir()
        with RunStore(run, identity, overwrite=True) as store:
            assert store.finished() == set()
            assert not store.model_folder.exists()
            store.update(started=True)


def test_a_run_without_answers_does_not_stand_in_the_way(tmp_path):
    """A run that never got anywhere is replaced; one with the same identity keeps its fitted model."""
    make_run(tmp_path / "run", [])
    (tmp_path / "run" / f"model-{read_manifest(open_place(tmp_path / 'run'))['run']}").mkdir()
    with RunStore(tmp_path / "run", IDENTITY) as store:
        assert store.model_folder.exists()
    with RunStore(tmp_path / "run", IDENTITY | {"submission_digest": "other"}) as store:
        assert store.manifest["submission_digest"] == "other"
        assert not store.model_folder.exists()


def test_a_late_worker_of_another_run_leaves_its_model_to_itself(tmp_path):
    """As after a client was killed in a fit, and the configuration changed: the new run fits its own."""
    make_run(tmp_path / "run", [])
    late = RunFolder(tmp_path / "run", read_manifest(open_place(tmp_path / "run"))["run"])
    with RunStore(tmp_path / "run", IDENTITY | {"benchmark_digest": "other"}) as store:
        (candidate := late.new_candidate_folder()).mkdir()
        late.keep_model(candidate, {"status": "ok"})
        assert not store.model_folder.exists()
        assert store.kept_fit() is None


@pytest.mark.parametrize("is_compact", [False, True])
def test_forgotten_toys_can_be_answered_again(tmp_path, is_compact):
    """The others stay, whatever parts they are in."""
    keys = [(i, j) for i in range(2) for j in range(3)]
    run = make_run(tmp_path / "run", keys)
    if is_compact:
        compact(run)
    with RunStore(run, IDENTITY) as store:
        places = {row["place"]: (row["i_mu"], row["i_toy"]) for row in store.rows()}
        store.forget([1, 2, 5])
        assert store.finished() == {key for place, key in places.items() if place not in (1, 2, 5)}


def test_folders_that_hold_something_else_are_left_alone(tmp_path):
    """A folder of the user's is refused, and nothing in it is touched."""
    (tmp_path / "model.experiment").mkdir()
    (tmp_path / "model.py").write_text("x = 1")
    for overwrite in (False, True):
        with pytest.raises(InvalidDataError, match="is not empty and holds no run"):
            RunStore(tmp_path, IDENTITY, overwrite=overwrite)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.experiment", "model.py"]


def test_one_writer_at_a_time(tmp_path):
    """A second process is told to wait."""
    with (
        RunStore(tmp_path / "run", IDENTITY),
        pytest.raises(StorageError, match="another process"),
    ):
        RunStore(tmp_path / "run", IDENTITY)


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    """Half-written files count for nothing."""
    run = make_run(tmp_path / "run", [(0, 0)])
    (run / "parts" / ".part-000001.0f.unfinished.parquet").write_bytes(b"PAR1 half")
    (run / "model.candidate").mkdir()
    with RunStore(run, IDENTITY) as store:
        assert store.finished() == {(0, 0)}
    assert not list(run.glob("parts/.*"))
    assert not (run / "model.candidate").exists()


def test_a_full_disk_loses_nothing_that_was_written(tmp_path):
    """The error says what to do, earlier parts are intact, and the run goes on later."""
    run = make_run(tmp_path / "run", [(0, 0)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunStore(run, IDENTITY) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(StorageError, match="free space, get permission, or give another run folder"):
                store.write_part([row(0, 1)])
            with pytest.raises(StorageError):
                store.update(note="x" * 1000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert store.finished() == {(0, 0)}
        store.write_part([row(0, 1)])
    assert (read_results(run).table["status"] == "ok").sum() == 2


def test_a_folder_that_cannot_be_made(tmp_path):
    """The reason and the remedy are in the message."""
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StorageError, match=r"cannot write to .*file/run: .*, is a file; give another run folder"
    ):
        RunStore(tmp_path / "file" / "run", IDENTITY)


def test_damaged_files_are_named(tmp_path):
    """A damaged part can be deleted, and the message says so."""
    run = make_run(tmp_path / "run", [(0, 0)])
    (part,) = (run / "parts").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"part-[0-9a-f-]+\.parquet .*delete it and run again"):
        read_results(run)
    (run / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match=r"cannot read .*manifest\.json"):
        read_results(run)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "3", '{"format": 2}', '{"format": 2, "run": "r"', "\udcff"]
)
def test_damaged_manifests_have_a_remedy(tmp_path, content):
    """They are named, and the command with --overwrite, which the message tells, makes the run anew."""
    run = make_run(tmp_path / "run", [(0, 0)])
    (run / "manifest.json").write_bytes(content.encode(errors="surrogateescape"))
    for ask in (read_results, compact, lambda folder: RunStore(folder, IDENTITY)):
        with pytest.raises(StorageError, match=r"run/manifest\.json .*from a copy, .* with --overwrite"):
            ask(run)
    with RunStore(run, IDENTITY, overwrite=True) as store:
        assert store.finished() == set()
    assert read_results(make_run(tmp_path / "run", [(0, 0)])).table["status"].eq("ok").sum() == 1


@pytest.mark.parametrize(
    "entry", ["run", "benchmark_digest", "benchmark", "submission", "mu_range", "confidence_level"]
)
def test_entries_that_readers_need_are_there(tmp_path, entry):
    """One that is missing or something else is named."""
    run = make_run(tmp_path / "run", [])
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {entry: None}))
    with pytest.raises(StorageError, match=f"no valid entry '{entry}': put it back"):
        read_results(run)


def test_manifests_of_something_else_are_passed_over(tmp_path):
    """Below a folder they are no runs; named itself, the folder is refused, and never written to."""
    make_run(tmp_path / "run", [])
    other = tmp_path / "other"
    make_run(other / "inner", [])
    (other / "manifest.json").write_text('{"n_sets": 1}')
    assert [place.name for place in find_runs(tmp_path)] == ["run"]
    assert sorted(place.name for place in runs_below(tmp_path)) == ["inner", "run"]
    with pytest.raises(StorageError, match="something else than a run: give a folder"):
        read_results(other)
    for overwrite in (False, True):
        with pytest.raises(InvalidDataError, match="holds no run"):
            RunStore(other, IDENTITY, overwrite=overwrite)
    assert sorted(path.name for path in other.iterdir()) == ["inner", "manifest.json"]


@pytest.mark.parametrize("keys", [[(0, 0)], []], ids=["answers", "none"])
def test_answers_without_a_manifest_are_thrown_away_only_when_asked(tmp_path, keys):
    """As after an --overwrite that was interrupted; a folder without answers is as good as new."""
    run = make_run(tmp_path / "run", keys)
    (run / "manifest.json").unlink()
    if keys:
        with pytest.raises(StorageError, match=r"has answers .* no manifest\.json: .* with --overwrite"):
            RunStore(run, IDENTITY)
        assert len(list((run / "parts").iterdir())) == 1
    with RunStore(run, IDENTITY, overwrite=bool(keys)) as store:
        assert store.finished() == set()
    assert not list((run / "parts").iterdir())


def test_runs_of_other_formats_are_refused(tmp_path):
    """A later layout is not misread."""
    run = make_run(tmp_path / "run", [])
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(StorageError, match="has format 99"):
        read_results(run)


def test_several_runs_are_one_table(tmp_path):
    """A folder of runs, or several paths, are read together."""
    make_run(tmp_path / "runs" / "a", [(0, 0)], name="a")
    make_run(tmp_path / "runs" / "b", [(0, 0)], name="b", submission_digest="s2")
    together = read_results(tmp_path / "runs")
    assert together.submissions == ("a", "b")
    assert list(together.manifest["runs"]) == ["a", "b"]
    assert together.manifest["benchmark_digest"] == "b1"
    pd.testing.assert_frame_equal(
        together.table, read_results([tmp_path / "runs" / "a", tmp_path / "runs" / "b"]).table
    )


def test_submissions_of_the_same_name_are_told_apart(tmp_path):
    """Two versions of one method keep their rows apart, by the names of their folders."""
    make_run(tmp_path / "runs" / "old", [(0, 0)])
    make_run(tmp_path / "runs" / "new", [(0, 0)])
    assert read_results(tmp_path / "runs").submissions == ("method [new]", "method [old]")


def test_runs_of_different_benchmarks_are_not_mixed(tmp_path):
    """Methods can only be compared on the same toys."""
    make_run(tmp_path / "a", [])
    make_run(tmp_path / "b", [], benchmark_digest="b2")
    with pytest.raises(InvalidDataError, match="different benchmarks"):
        read_results([tmp_path / "a", tmp_path / "b"])


def test_no_run(tmp_path):
    """The message says what a run looks like."""
    with pytest.raises(StorageError, match=r"no run at .*manifest\.json"):
        find_runs(tmp_path)


def test_rows_from_one_place_to_another(tmp_path, monkeypatch):
    """Only parts that may have them are opened."""
    run = make_run(tmp_path / "run", [(i, j) for i in range(2) for j in range(3)])
    opened = []
    read_all = LocalPlace.read_all
    monkeypatch.setattr(LocalPlace, "read_all", lambda p, names: opened.extend(names) or read_all(p, names))
    with RunStore(run, IDENTITY) as store:
        assert [r["place"] for r in store.rows(1, 100)] == [1, 2, 100]
    assert len(opened) == 3


def test_parts_that_vanish_while_they_are_read_are_looked_for_again(tmp_path, monkeypatch):
    """Somebody merges them: the merged one has the rows. For ever, it is an error."""
    run = make_run(tmp_path / "run", [(0, 0), (0, 1)])
    before, files = read_results(run).table, LocalPlace.files

    def merged_meanwhile(place, folder=""):
        names = files(place, folder)
        if folder == "parts" and len(names) > 1:
            with monkeypatch.context() as patch:
                patch.setattr(LocalPlace, "files", files)
                compact(run)
        return names

    with monkeypatch.context() as patch:
        patch.setattr(LocalPlace, "files", merged_meanwhile)
        pd.testing.assert_frame_equal(read_results(run).table, before)
    ghost = f"parts/part-{read_manifest(run)['run']}-0000000-0000002.parquet"
    monkeypatch.setattr(LocalPlace, "files", lambda place, folder="": [ghost, *files(place, folder)])
    with pytest.raises(StorageError, match=r"vanish while they are read .*nobody merges"):
        read_results(run)
