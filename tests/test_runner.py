"""Whole runs in the tiny world, with real worker processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from fairuniverse import runner, team
from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.isolation.backends import NoIsolation
from fairuniverse.presentation import Presentation
from fairuniverse.runner import run_submission, run_submissions
from fairuniverse.store import read_results
from fairuniverse.submission import load_submission
from processes import running_below

TESTS = Path(__file__).parent
COSTS = ["wall_time_s", "cpu_time_s", "memory_mib"]


def run(benchmark, name, folder, **options):
    """Results of one of the sample submissions."""
    submission = load_submission(TESTS / "submissions" / name)
    return run_submission(benchmark, submission, folder, backend=NoIsolation(), **options)


def answers(results):
    """The table without what differs from run to run: the cost and the name."""
    return results.table.drop(columns=[*COSTS, "submission"], errors="ignore")


@pytest.fixture(scope="module")
def serial(tiny_benchmark, tmp_path_factory):
    """The sound method on twelve toys, with one worker."""
    return run(tiny_benchmark(n_toys=6), "counting", tmp_path_factory.mktemp("serial") / "run", n_threads=1)


def test_a_sound_method_measures(serial, tiny_benchmark):
    """Every toy has an interval, its truth, its cost and the number of its events."""
    table, toys = serial.table, tiny_benchmark(n_toys=6).pseudo_experiments
    assert (table["status"] == "ok").all()
    assert table["mu_true"].tolist() == [t.mu for t in toys.truths()]
    assert table["nuisance_scale"].tolist() == [t.nuisances["scale"] for t in toys.truths()]
    assert table["n_events"].tolist() == [len(toys.draw(t).events) for t in toys.truths()]
    assert (table[COSTS] > 0).all(axis=None)
    # 12 estimates of error 0.25 are all within 5 sigma of mu; false alarm 1e-5
    assert (np.abs(table["mu_hat"] - table["mu_true"]) < 5 * (table["upper"] - table["lower"]) / 2).all()


def test_the_manifest_says_what_was_run(serial):
    """Benchmark, submission, isolation, versions, machine, times and the cost of the fit."""
    manifest = serial.manifest
    assert manifest["benchmark"]["name"] == "tiny"
    assert manifest["submission"]["name"] == "counting"
    assert manifest["isolation"] == {"backend": "none", "is_isolated": False, "gpus": []}
    assert manifest["fit"]["status"] == "ok"
    assert manifest["fit"]["wall_time_s"] > 0
    assert manifest["fit"]["memory_mib"] > 1
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["finished"] >= manifest["sessions"][0]["started"]


def test_answers_do_not_depend_on_the_number_of_workers(serial, tiny_benchmark, tmp_path):
    """Serial and parallel runs agree bit for bit."""
    parallel = run(tiny_benchmark(n_toys=6), "counting", tmp_path / "run", n_workers=3)
    pd.testing.assert_frame_equal(answers(parallel), answers(serial), check_exact=True)


def test_a_model_that_cannot_be_saved_stays_in_its_process(serial, tiny_benchmark, tmp_path):
    """It is fitted once, answers the same, and the manifest says why it had a single worker."""
    results = run(tiny_benchmark(n_toys=6), "unpicklable", tmp_path / "run", n_workers=3)
    pd.testing.assert_frame_equal(answers(results), answers(serial), check_exact=True)
    assert not results.manifest["fit"]["is_saved"]
    assert "pickle" in results.manifest["fit"]["message"]
    assert results.manifest["repeatability"]["status"] == "not_checked"
    assert (tmp_path / "run" / "worker.log").read_text().count("fitting") == 1


def test_a_model_may_save_itself(serial, tiny_benchmark, tmp_path):
    """Its own format is what the run folder keeps."""
    results = run(tiny_benchmark(n_toys=6), "saved", tmp_path / "run")
    pd.testing.assert_frame_equal(answers(results), answers(serial), check_exact=True)
    assert [p.name for p in (tmp_path / "run").glob("model-*/*")] == ["numbers.json"]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_fit_is_told_its_threads(tiny_benchmark, tmp_path, n_threads):
    """What the training set says is what the run was given."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.py").write_text(
        "from fairuniverse import Interval\n"
        "class Model:\n"
        "    def fit(self, train):\n"
        "        self.n = train.n_threads\n"
        "    def predict(self, test):\n"
        "        return Interval(self.n, self.n, self.n)\n"
    )
    submission = load_submission(tmp_path / "mine")
    results = run_submission(
        tiny_benchmark(n_toys=1), submission, tmp_path / "run", backend=NoIsolation(), n_threads=n_threads
    )
    assert set(results.table["mu_hat"]) == {n_threads}


def test_a_model_may_keep_its_training_set(tiny_benchmark, tmp_path):
    """Shifting works in a process that only loaded the model, and one dict may be returned twice."""
    results = run(tiny_benchmark(), "keeps_training", tmp_path / "run")
    assert (results.table["status"] == "ok").all()
    assert results.table["mu_hat"].nunique() > 4
    assert 0 < sum(p.stat().st_size for p in (tmp_path / "run").glob("model-*/*")) < 1000


def test_every_odd_answer_has_its_status(tiny_benchmark, tmp_path):
    """One odd answer never touches the next toy, and the worker goes on."""
    results = run(tiny_benchmark(n_mu=1, n_toys=15), "odd_answers", tmp_path / "run")
    assert results.table["status"].value_counts().to_dict() == {
        "ok": 3,
        "non_finite": 2,
        "swapped": 1,
        "invalid_type": 5,
        "missing_key": 1,
        "exception": 2,
        "out_of_memory": 1,
    }
    raised = results.table.loc[results.table["status"] == "exception", "message"]
    assert sorted(m.split(":")[0] for m in raised) == ["SystemExit", "ValueError"]
    assert raised.str.contains(r"\(model\.py, line \d+\)").all()


def test_a_dying_worker_costs_one_toy(tiny_benchmark, tmp_path):
    """Toys on which the method dies or raises have their status; all others have the sound answer."""
    benchmark = tiny_benchmark(n_toys=10, seed=4)
    table = run(benchmark, "dies_sometimes", tmp_path / "dying", n_workers=2).table
    expected = np.select(
        [table["n_events"] % 8 == 0, table["n_events"] % 4 == 1], ["crashed", "exception"], "ok"
    )
    assert table["status"].tolist() == expected.tolist()
    assert set(expected) == {"crashed", "exception", "ok"}
    sound = run(benchmark, "counting", tmp_path / "sound").table
    is_ok = table["status"] == "ok"
    pd.testing.assert_series_equal(table["mu_hat"][is_ok], sound["mu_hat"][is_ok], check_exact=True)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_after_some_deaths_in_a_row_nothing_more_is_tried(tiny_benchmark, tmp_path, monkeypatch, n_workers):
    """No toy is lost: those not tried say so, and they are the same ones however many workers there are."""
    monkeypatch.setattr(team, "MAX_DEATHS", 2)
    benchmark = tiny_benchmark(n_toys=5)
    table = run(benchmark, "always_dies", tmp_path / "run", n_workers=n_workers).table.set_index(
        ["i_mu", "i_toy"]
    )
    assert (table["status"] == "crashed").all()
    order = [
        (t.i_mu, t.i_toy) for t in Presentation(benchmark.pseudo_experiments, benchmark.config.seed).toys
    ]
    assert (table.loc[order[:2], "message"] == "the worker process ended with exit code 3").all()
    not_tried = "not tried after 2 deaths in a row, the last: the worker process ended with exit code 3"
    assert (table.loc[order[2:], "message"] == not_tried).all()


def test_a_hopeless_run_stays_hopeless_when_resumed(tiny_benchmark, tmp_path, monkeypatch):
    """The deaths before an interruption count: a resumed run says what an uninterrupted one would."""
    monkeypatch.setattr(team, "MAX_DEATHS", 2)
    benchmark = tiny_benchmark(n_toys=3)
    whole = run(benchmark, "always_dies", tmp_path / "run")
    part = next((tmp_path / "run" / "parts").iterdir())
    rows = pd.read_parquet(part)
    for n_kept in (4, 1):  # after the end, and before it
        for file in (tmp_path / "run" / "parts").iterdir():
            file.unlink()
        rows.iloc[:n_kept].to_parquet(part)
        resumed = run(benchmark, "always_dies", tmp_path / "run")
        pd.testing.assert_frame_equal(answers(resumed), answers(whole), check_exact=True)


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ("raise ValueError('no luck')", r"ValueError: no luck \(model\.py, line 3\)"),
        ("import os; os._exit(1)", "exit code 1"),
        ("while True: pass", "fit took more than 4 s"),
    ],
    ids=["raises", "dies", "endless"],
)
def test_a_failed_fit_is_the_status_of_every_toy(tiny_benchmark, tmp_path, fit, message):
    """The run ends in order, and a second call does not try again."""
    folder = tmp_path / "method"
    folder.mkdir()
    (folder / "model.py").write_text(
        f"class Model:\n    def fit(self, train):\n        {fit}\n    def predict(self, test): return None\n"
    )
    benchmark = tiny_benchmark(fit_timeout_s=4.0)
    for _ in range(2):
        table = run(benchmark, folder, tmp_path / "run").table
        assert (table["status"] == "fit_failed").all()
        assert table["message"].str.contains(message).all()
    assert len(read_results(tmp_path / "run").manifest["sessions"]) == 1


def test_a_worker_never_holds_the_truth(tiny_benchmark, tmp_path):
    """A search through memory, environment, arguments, mounts and open files finds no mu and no seed."""
    benchmark = tiny_benchmark(n_mu=1, n_toys=1, seed=365018247091, mu_values=[1.72453901234567])
    table = run(benchmark, "spy", tmp_path / "run-folder").table
    assert table["message"].tolist() == [""]


def test_presentation_says_nothing(tiny_benchmark):
    """All toys come, in an order of their own stream."""
    benchmark = tiny_benchmark(n_mu=5, n_toys=20)
    keys = [(t.i_mu, t.i_toy) for t in Presentation(benchmark.pseudo_experiments, benchmark.config.seed).toys]
    assert keys != sorted(keys)
    assert sorted(keys) == [(i, j) for i in range(5) for j in range(20)]


def run_together(benchmark, names, folder, **options):
    """Results of several sample submissions by name, and the toys that were drawn."""
    drawn = []
    draw = benchmark.pseudo_experiments.draw

    def counted(truth, **keywords):
        drawn.append((truth.i_mu, truth.i_toy))
        return draw(truth, **keywords)

    benchmark.pseudo_experiments.draw = counted
    loaded = [(load_submission(TESTS / "submissions" / name), folder / Path(name).name) for name in names]
    results = run_submissions(benchmark, loaded, backend=NoIsolation(), **options)
    return dict(zip(names, results, strict=True)), drawn


@pytest.mark.parametrize("n_workers", [1, 3])
def test_submissions_of_one_run_do_not_meet(tiny_benchmark, tmp_path, monkeypatch, n_workers):
    """Each answers as it does alone, beside slow, dying and unsaved ones; each toy is drawn once for all."""
    monkeypatch.setattr(team, "MAX_DEATHS", 2)
    monkeypatch.setattr("fairuniverse.repeatability.N_AGAIN", 1)
    names = ["counting", "slow", "always_dies", "unpicklable"]
    together, drawn = run_together(tiny_benchmark(n_toys=5), names, tmp_path, n_workers=n_workers)
    n_again = 1  # the last, for both submissions that have a saved model and an answer
    assert len(drawn) == 10 + n_again
    assert len(set(drawn[:10])) == 10
    for name in names:
        alone = run(tiny_benchmark(n_toys=5), name, tmp_path / "alone" / name)
        pd.testing.assert_frame_equal(answers(together[name]), answers(alone), check_exact=True)


def test_a_submission_may_join_later(tiny_benchmark, tmp_path, monkeypatch):
    """A run with one more submission asks only that one, and one whose fit fails does not hold up others."""
    monkeypatch.setattr("fairuniverse.repeatability.N_AGAIN", 1)
    method = tmp_path / "methods" / "no_luck"
    method.mkdir(parents=True)
    (method / "model.py").write_text("class Model:\n    fit = predict = None\n")
    first, _ = run_together(tiny_benchmark(), ["counting"], tmp_path)
    three, drawn = run_together(tiny_benchmark(), ["counting", method, "saved"], tmp_path)
    pd.testing.assert_frame_equal(three["counting"].table, first["counting"].table, check_exact=True)
    assert len(three["counting"].manifest["sessions"]) == 1
    assert (three[method].table["status"] == "fit_failed").all()
    assert three["saved"].is_ok.all()
    assert len(drawn) == len(three["saved"].table) + 1


def test_what_others_had_answered_is_kept_when_one_run_ends_badly(tiny_benchmark, tmp_path, monkeypatch):
    """A disk that fills up for one submission ends the session, and every one goes on from where it was."""
    write_part = runner.RunStore.write_part

    def full_for_slow(store, rows):
        if store.folder.name == "slow":
            raise StorageError("no space left")
        write_part(store, rows)

    monkeypatch.setattr(team, "PART_TOYS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(runner.RunStore, "write_part", full_for_slow)
        with pytest.raises(StorageError, match="no space left"):
            run_together(tiny_benchmark(n_toys=6), ["counting", "slow"], tmp_path)
    n_kept = (read_results(tmp_path / "counting").table["status"] == "ok").sum()
    assert 1 <= n_kept < 12
    results, _ = run_together(tiny_benchmark(n_toys=6), ["counting", "slow"], tmp_path)
    assert all(r.is_ok.all() for r in results.values())


RANDOM = """
import random
class Model:
    def fit(self, train): pass
    def predict(self, test):
        mu_hat = 1e9 * random.random()
        return {"mu_hat": mu_hat, "lower": mu_hat - 0.5, "upper": mu_hat + 0.5}
"""


def test_answers_from_remembered_toys_are_found(tiny_benchmark, tmp_path):
    """A method that averages over the toys of one mu would win; a fresh process tells what it is worth."""
    found = run(tiny_benchmark(n_mu=1), "hostile_remembers", tmp_path / "run").manifest["repeatability"]
    assert found["status"] == "order_dependent"
    assert found["largest_difference"] > 0.01
    assert "has seen no other toys gives other answers, by " in found["message"]


def test_answers_by_chance_are_not_called_remembered(tiny_benchmark, tmp_path):
    """A method without a seed has different answers in two fresh processes. False alarm 2e-12."""
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "model.py").write_text(RANDOM)
    found = run(tiny_benchmark(n_mu=1), tmp_path / "method", tmp_path / "run").manifest["repeatability"]
    assert found["status"] == "not_repeatable"


def test_a_process_of_its_own_for_every_toy_forgets(tiny_benchmark, tmp_path):
    """With state "fresh", a method that remembers has nothing to remember."""
    fresh = run(tiny_benchmark(n_toys=2, state="fresh"), "hostile_remembers", tmp_path / "fresh")
    honest = run(tiny_benchmark(n_toys=2), "counting", tmp_path / "honest")
    pd.testing.assert_frame_equal(answers(fresh), answers(honest), check_exact=True)
    assert fresh.manifest["repeatability"]["status"] == "fresh"
    assert honest.manifest["repeatability"]["status"] == "ok"


def test_a_fresh_process_needs_a_saved_model(tiny_benchmark, tmp_path):
    """Where it cannot be saved, the message says why, and every toy has it."""
    table = run(tiny_benchmark(n_mu=1, state="fresh"), "unpicklable", tmp_path / "run").table
    assert (table["status"] == "fit_failed").all()
    assert table["message"].str.contains("each toy has a process of its own, .*pickle").all()


def test_a_run_folder_is_not_shared(serial, tiny_benchmark, tmp_path):
    """Another submission or benchmark is refused before anything is started."""
    folder = tmp_path / "run"
    run(tiny_benchmark(n_mu=1, n_toys=1), "saved", folder)
    with pytest.raises(InvalidDataError, match="the configuration has changed"):
        run(tiny_benchmark(n_mu=1, n_toys=2), "saved", folder)
    with pytest.raises(InvalidDataError, match="the submission has changed"):
        run(tiny_benchmark(n_mu=1, n_toys=1), "counting", folder)


def test_a_run_folder_is_not_part_of_the_submission(tiny_benchmark):
    """Results inside the submission would change it while it runs."""
    submission = TESTS / "submissions" / "counting"
    before = sorted(p.name for p in submission.iterdir())
    for inside in (submission / "run", submission):
        with pytest.raises(InvalidDataError, match="is inside the submission"):
            run(tiny_benchmark(), "counting", inside)
    assert sorted(p.name for p in submission.iterdir()) == before


HOST = """
import sys
sys.path.insert(0, sys.argv[1])
from conftest import make_tiny
from fairuniverse import runner, team
from fairuniverse.isolation.backends import NoIsolation
from fairuniverse.submission import load_submission
team.PART_TOYS = 10
submission = load_submission(sys.argv[2])
runner.run_submission(make_tiny(n_toys=40), submission, sys.argv[3], backend=NoIsolation(), n_workers=2)
"""


@pytest.fixture(scope="module")
def uninterrupted(tiny_benchmark, tmp_path_factory):
    """The slow method on eighty toys without a disturbance."""
    return run(tiny_benchmark(n_toys=40), "slow", tmp_path_factory.mktemp("whole") / "run", n_workers=2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
def test_an_interrupted_run_goes_on(uninterrupted, tiny_benchmark, tmp_path, number):
    """Killed in the middle and started again: the same table, no second fit, no toy done twice."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOST, TESTS, TESTS / "submissions" / "slow", folder]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as host:
        while not list(folder.glob("parts/part-*.parquet")):
            assert host.poll() is None
            time.sleep(0.02)
        os.kill(host.pid, signal.SIGSTOP)  # or it may have ended before it is killed
        below = psutil.Process(host.pid).children(recursive=True)
        os.kill(host.pid, number)
        os.kill(host.pid, signal.SIGCONT)
    assert host.returncode != 0
    assert not psutil.wait_procs(below, timeout=10)[1]
    n_before = (read_results(folder).table["status"] != "missing").sum()
    assert 10 <= n_before < 80
    resumed = run(tiny_benchmark(n_toys=40), "slow", folder)
    pd.testing.assert_frame_equal(answers(resumed), answers(uninterrupted), check_exact=True)
    assert (folder / "worker.log").read_text().count("fitting") == 1
    rows = pd.concat([pd.read_parquet(p) for p in folder.glob("parts/part-*.parquet")])
    assert len(rows) == 80


def test_a_disk_that_fills_up_stops_the_run_in_order(uninterrupted, tiny_benchmark, tmp_path, monkeypatch):
    """What was written is kept, no process is left, and the run goes on when there is room."""
    monkeypatch.setattr(team, "PART_TOYS", 10)
    write_part, written = runner.RunStore.write_part, []

    def fill_up(store, rows):
        if len(written) == 2:
            raise StorageError("no space left")
        written.append(len(rows))
        write_part(store, rows)

    with monkeypatch.context() as patch:
        patch.setattr(runner.RunStore, "write_part", fill_up)
        with pytest.raises(StorageError, match="no space left"):
            run(tiny_benchmark(n_toys=40), "slow", tmp_path / "run")
    assert not running_below("fairuniverse")
    resumed = run(tiny_benchmark(n_toys=40), "slow", tmp_path / "run")
    pd.testing.assert_frame_equal(answers(resumed), answers(uninterrupted), check_exact=True)
