"""The command line, as its users meet it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fairuniverse.cli import main
from partitions import numbered, write_parts

CONFIG = """
name: tiny
version: "1"
seed: 3
nuisances: [tes, ttbar_scale]
training:
  n_events: {htautau: 4000, ztautau: 8000, ttbar: 4000, diboson: 4000}
pseudo_experiments:
  n_mu: 2
  n_toys: 2
  n_events: {htautau: 4000, ztautau: 8000, ttbar: 4000, diboson: 4000}
"""

METHOD = """
from fairuniverse import Interval

class Model:
    def fit(self, train):
        data = train.data
        self.expected = data["weights"].sum()

    def predict(self, test):
        mu_hat = len(test) / self.expected
        return Interval(mu_hat, mu_hat - 1, mu_hat + 1)
"""

TRUSTED = ("--isolation", "none")

FULL = ("--simulator", "higgs_tautau.full", "--events", "3", "-o", "x.parquet")


def invoke(*arguments: object) -> str:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refuse(*arguments: object) -> str:
    """Message of a command that must fail, without a traceback."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    return result.output


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Folder with a tiny benchmark, a submission and its run."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "tiny.yaml").write_text(CONFIG)
    (folder / "mine").mkdir()
    (folder / "mine" / "model.py").write_text(METHOD)
    invoke("run", folder / "tiny.yaml", folder / "mine", "--output", folder / "runs", *TRUSTED)
    return folder


def test_commands_stand_in_pipeline_order():
    """--help lists the commands in the order of the work."""
    lines = invoke("--help").split("Commands:")[1].splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert names == [
        "init",
        "simulate",
        "shift",
        "prepare",
        "toys",
        "check",
        "run",
        "status",
        "compact",
        "score",
        "table",
        "export",
        "report",
        "leaderboard",
        "bundle",
        "compare",
        "closure",
        "list",
    ]


def test_list_is_readable_by_machines():
    """List --json names what can be named."""
    names = json.loads(invoke("list", "--json"))
    assert names["configurations"] == ["counting", "gaussian-2d", "higgs-tautau", "inferno-toy", "quick"]
    assert names["simulators"] == ["counting", "gaussian_2d", "higgs_tautau", "inferno_toy"]
    assert {"counting", "exact_likelihood", "profile_likelihood"} <= set(names["baselines"])


def test_simulated_tables_are_reproducible(tmp_path):
    """The same seed gives the same bytes of events for any number of threads; another seed others."""
    frames = []
    for name, seed, threads in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        path = tmp_path / f"{name}.parquet"
        invoke(
            "simulate",
            "--events",
            "htautau=500,ztautau=7e2",
            "--seed",
            seed,
            "--threads",
            threads,
            "-o",
            path,
        )
        frames.append(pd.read_parquet(path))
    pd.testing.assert_frame_equal(frames[0], frames[1])
    assert not frames[0]["PRI_lep_pt"].equals(frames[2]["PRI_lep_pt"])
    assert frames[0]["detailed_labels"].value_counts().to_dict() == {"ztautau": 700, "htautau": 500}
    assert frames[0].groupby("labels")["weights"].sum().to_dict() == pytest.approx({0.0: 1002395, 1.0: 1015})


@pytest.mark.parametrize("suffix", [".parquet", ".root"])
def test_shift_carries_extra_columns(tmp_path, suffix):
    """The record, and columns that the schema does not know, follow their events through the selection."""
    source, output = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    invoke("simulate", "--events", 300, "-o", tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet").drop(columns=["detailed_labels"])
    frame["mine"] = frame["PRI_lep_pt"] * 2
    if suffix == ".root":
        import uproot

        with uproot.recreate(source) as file:
            file.mktree("events", dict(frame.dtypes))
            file["events"].extend({c: frame[c].to_numpy() for c in frame})
    else:
        frame.to_parquet(source)
    assert "of 1,200 events" in invoke("shift", source, output, "--tes", 1.01, "--compat", "detector")
    if suffix == ".root":
        shifted = pd.DataFrame(uproot.open(output)["events"].arrays(library="np"))
    else:
        shifted = pd.read_parquet(output)
    assert 0 < len(shifted) < 1200
    np.testing.assert_array_equal(shifted["REC_lep_pt"], shifted["PRI_lep_pt"])  # of the same event
    np.testing.assert_array_equal(shifted["mine"], shifted["PRI_lep_pt"] * 2)


def test_shift_says_that_it_selects(tmp_path):
    """Tables reach below the threshold, so events go even without a shift; from selected ones none does."""
    tables = [tmp_path / f"{name}.parquet" for name in "abc"]
    invoke("simulate", "--events", 300, "-o", tables[0])
    n_below = int((pd.read_parquet(tables[0])["PRI_had_pt"] < 26).sum())
    assert n_below > 0
    assert f"b.parquet; {n_below} are outside the selection (see --help)" in invoke("shift", *tables[:2])
    assert invoke("shift", *tables[1:]).endswith("c.parquet\n")
    assert "PRI_had_pt = 26 GeV" in invoke("shift", "--help")


def test_shift_reproduces_the_public_package(root, tmp_path):
    """--compat official with given noise returns the golden values of HiggsML 0.1.5."""
    folder = root / "tests" / "golden" / "systematics"
    case = json.loads((folder / "cases.json").read_text())[6]
    options = [f"--{name.replace('_', '-')}={value}" for name, value in case.items()]
    output = tmp_path / "shifted.parquet"
    noise = folder / "unit_noise.parquet"
    invoke("shift", folder / "events.parquet", output, "--compat", "official", "--noise", noise, *options)
    ours, golden = pd.read_parquet(output), pd.read_parquet(folder / "case_6.parquet")
    assert ours["event_index"].tolist() == golden["event_index"].tolist()
    for name in golden:
        np.testing.assert_allclose(ours[name], golden[name], rtol=1e-4, atol=1.001e-3, err_msg=name)


def test_a_world_without_modes_is_shifted(tmp_path):
    """Shift has the options of the chosen world; a mode it does not have is refused."""
    source, output = tmp_path / "a.parquet", tmp_path / "b.parquet"
    invoke("simulate", "--simulator", "inferno_toy", "--events", 200, "-o", source)
    chosen = ("shift", source, output, "--simulator", "inferno_toy", "--r", 0.25, "--bkg-scale", 1.1)
    assert "wrote 400 of 400 events" in invoke(*chosen)
    before, after = (
        pd.read_parquet(path).query("detailed_labels == 'background'") for path in (source, output)
    )
    np.testing.assert_allclose(after["x0"], before["x0"] + 0.25, atol=1e-6)
    assert after["weights"].sum() == pytest.approx(1100)
    assert "inferno_toy has no compat mode 'official'" in refuse(*chosen, "--compat", "official")


def test_prepare_names_what_it_made(tmp_path, monkeypatch):
    """Large data sets of a configuration are shuffled, and their folders printed; others need nothing."""
    monkeypatch.setattr("fairuniverse.api.large_data.MAX_ROWS_IN_MEMORY", 100)
    write_parts(tmp_path / "data", [numbered([60, 90])])
    for folder, words in (("data", "ready: .*data.shuffled/pool-"), ("", "nothing to prepare")):
        source = "{file: data}" if folder else "{n_events: {signal: 9, background: 9}}"
        (tmp_path / "c.yaml").write_text(
            "name: c\nversion: '1'\nsimulator: {name: gaussian_2d}\nnuisances: [z]\n"
            f"training: {{n_events: {{signal: 9, background: 9}}}}\npseudo_experiments: {source}\n"
        )
        assert re.search(words, invoke("prepare", tmp_path / "c.yaml"))


def test_toys_keep_the_truth_apart(world, tmp_path):
    """Files of toys hold features only; the truth stands in another folder, readable by score."""
    invoke("toys", world / "tiny.yaml", "--sets", 1, "--toys", 1, "-o", tmp_path)
    toy = pd.read_parquet(tmp_path / "input" / "toy_0_0.parquet")
    assert all(name.startswith(("PRI_", "DER_")) for name in toy)
    assert 900_000 < len(toy) < 1_100_000
    settings = json.loads((tmp_path / "reference" / "test_settings.json").read_text())
    assert settings["num_pseudo_experiments"] == 1
    assert 0.1 <= settings["ground_truth_mus"][0] <= 3
    assert 0.9 <= settings["nuisances"]["tes"][0][0] <= 1.1
    # Asking for other toys in the same folder would pair events with truths that are not theirs.
    assert "holds something else" in refuse(
        "toys", world / "tiny.yaml", "--sets", 2, "--toys", 1, "-o", tmp_path
    )
    assert "the configuration has 2 x 2" in refuse(
        "toys", world / "tiny.yaml", "--toys", 3, "-o", tmp_path / "more"
    )
    assert sorted(p.name for p in (tmp_path / "input").iterdir()) == [
        "toy_0_0.parquet",
        "toy_0_0_metadata.json",
    ]


def test_a_finished_run_is_not_done_again(world):
    """The same command on a finished run only reads it."""
    parts = world / "runs" / "mine" / "parts"
    before = {p.name: p.stat().st_mtime_ns for p in parts.iterdir()}
    assert "4 of 4 toys" in invoke(
        "run", world / "tiny.yaml", world / "mine", "--output", world / "runs", *TRUSTED
    )
    assert {p.name: p.stat().st_mtime_ns for p in parts.iterdir()} == before


def test_truths_of_a_finished_run_are_written_again(world, tmp_path):
    """Missing or damaged, the message tells how, and that works."""
    shutil.copytree(world / "runs", tmp_path / "runs")
    truths = tmp_path / "runs" / "mine" / "truths.parquet"
    before = truths.read_bytes()
    again = ("run", world / "tiny.yaml", world / "mine", "--output", tmp_path / "runs", *TRUSTED)
    truths.write_bytes(before[:50])
    for command in (("status", tmp_path / "runs"), ("score", tmp_path / "runs"), again):
        assert "delete it and give the command of the run again" in refuse(*command)
    truths.unlink()
    assert "is missing: give the command of the run again" in refuse("status", tmp_path / "runs")
    assert "4 of 4 toys" in invoke(*again)
    assert truths.read_bytes() == before
    invoke("score", tmp_path / "runs")


def test_strangers_are_not_run_without_a_sandbox(world, tmp_path, monkeypatch):
    """Without bubblewrap a folder is refused, with the remedies; our own baselines run, and are marked."""
    monkeypatch.setenv("PATH", str(tmp_path))
    output = tmp_path / "runs"
    message = refuse("run", world / "tiny.yaml", world / "mine", "--output", output)
    assert "mine cannot be isolated: the program bwrap is not here" in message
    assert "apt-get install bubblewrap" in message
    assert "If it is your own code, add --isolation none" in message
    assert "cannot be isolated" in refuse(
        "run", world / "tiny.yaml", "counting", world / "mine", "-o", output
    )
    assert "bwrap is not here" in refuse(
        "run", world / "tiny.yaml", "counting", "--isolation", "bubblewrap", "-o", output
    )
    assert not output.exists()
    assert "4 of 4 toys answered (run without isolation)" in invoke(
        "run", world / "tiny.yaml", "counting", "-o", output
    )


def test_scores_are_flat_finite_numbers(world, tmp_path):
    """Score --json and scores.json hold the official keys, finite."""
    output = invoke("score", world / "runs", "--output", tmp_path, "--json")
    (card,) = json.loads(output, parse_constant=pytest.fail)
    assert card["submission"] == "mine"
    flat = json.loads((tmp_path / "mine" / "scores.json").read_text(), parse_constant=pytest.fail)
    assert {"quantiles_score", "interval", "coverage", "rmse", "mae"} <= flat.keys()
    assert all(isinstance(v, int | float) for v in flat.values())
    assert flat["interval"] == pytest.approx(2.0)
    assert (tmp_path / "mine" / "detailed_results.html").stat().st_size > 1000


def test_report_is_one_file(world, tmp_path):
    """Report writes one page with every submission in it."""
    shutil.copytree(world / "runs" / "mine", tmp_path / "runs" / "again")
    page = tmp_path / "report.html"
    invoke("report", world / "runs", "--output", page)
    text = page.read_text()
    assert "mine" in text
    assert "DER_mass_vis" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quik", "mine", "-o", "x"], "did you mean 'quick'"),
        (["run", "quick", "no-such-method", "-o", "x"], "no baseline 'no-such-method'"),
        (["simulate", "--events", "many", "-o", "x.parquet"], "neither a number nor a list"),
        (
            ["simulate", "--events", "higgs=3", "-o", "x.parquet"],
            "there are htautau, ztautau, ttbar, diboson",
        ),
        (["simulate", "--events", "3", "-o", "x.csv"], "must end in .parquet or .root"),
        (["simulate", "--events", "3", "--option", "yields=big", "-o", "x.parquet"], "yields"),
        (["simulate", "--events", "3", "--option", "yields", "-o", "x.parquet"], "not of the form KEY=VALUE"),
        (
            ["simulate", "--events", "3", "--workers", "2", "-o", "x.parquet"],
            "no blocks for --workers: it uses --threads",
        ),
        (["simulate", *FULL, "--threads", "2"], "--workers takes the place of --threads"),
        (["simulate", *FULL, "--purpose", "test"], "--seed of --purpose"),
        (["score", "--predictions", "."], "needs --reference and --output"),
        (["score"], "give either RUN folders"),
        (["score", "."], "no run at"),
    ],
)
def test_mistakes_get_one_clear_message(arguments, message, tmp_path, monkeypatch):
    """A mistake is answered by one message that names it, not by a traceback."""
    monkeypatch.chdir(tmp_path)
    assert message in refuse(*arguments)


@pytest.mark.parametrize("url", ["s3://bucket/q2", "s3://bucket/q2.parquet", "file:///tmp/q2"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "--events", "3", "--output"],
        ["simulate", *FULL[:4], "--output"],
        ["shift", "x.parquet"],
        ["compare", "x.parquet", "x.parquet", "--output"],
        ["closure", "--output"],
        ["toys", "quick", "--output"],
        ["init"],
        ["score", "x.parquet", "--output"],
        ["table", "x.parquet", "--output"],
        ["export", "x.parquet", "--output"],
        ["report", "x.parquet", "--picture"],
        ["leaderboard", "x.parquet", "--output"],
        ["bundle", "quick", "--output"],
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_a_url_is_no_output_on_this_machine(arguments, url, tmp_path, monkeypatch):
    """Commands that write paths only refuse a URL at once, and leave nothing behind."""
    monkeypatch.chdir(tmp_path)
    Path("x.parquet").touch()
    message = " ".join(refuse(*arguments, url).split())
    assert f"'{url}' is a URL, and this command writes to this machine only: give a path" in message
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "[tes, ttbar_scale]",
            "[tes, ttbar_scal]",
            "bad.yaml:5: nuisances: .*'ttbar_scal'; did you mean 'ttbar_scale'",
        ),
        (
            "n_events: {htautau: 4000",
            "n_events: {htautaau: 4000",
            "bad.yaml:7: training: .*did you mean 'htautau'",
        ),
        (
            "nuisances:",
            "simulator:\n  options:\n    yields: physics\n    systematics: detectr\nnuisances:",
            "bad.yaml:8: simulator higgs_tautau: systematics = 'detectr' is not allowed: "
            "did you mean 'detector'",
        ),
        (
            "nuisances:",
            "simulator:\n  options: {sistematics: detector}\nnuisances:",
            "bad.yaml:6: .*'systematics'",
        ),
        ("nuisances:", "simulator:\n  name: higs_tautau\nnuisances:", "bad.yaml:6: .*'higgs_tautau'"),
        ("nuisances:", "simulator:\n  options:\n    recoil: libary\nnuisances:", "bad.yaml:7: .*libary"),
    ],
)
def test_names_the_simulator_does_not_have_are_refused_with_their_line(right, wrong, message, tmp_path):
    """Options, nuisances and processes are checked against the simulator, at their line of the file."""
    (tmp_path / "bad.yaml").write_text(CONFIG.replace(right, wrong, 1))
    output = refuse("run", tmp_path / "bad.yaml", "counting", "-o", tmp_path / "runs")
    assert re.search(message, output)
    assert not (tmp_path / "runs").exists()


def test_the_method_in_the_readme_runs(world, tmp_path, root):
    """A newcomer may paste the README's method into model.py."""
    code = (root / "README.md").read_text().split("```python\n")[1].split("```")[0]
    folder = tmp_path / "pasted"
    folder.mkdir()
    (folder / "model.py").write_text(code)
    output = invoke("run", world / "tiny.yaml", folder, "--output", tmp_path / "runs", *TRUSTED)
    assert "4 of 4 toys" in output


def test_the_reason_of_a_failure_is_told(world, tmp_path):
    """A method that fails says why on the terminal, and the command fails if it answered nothing."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.py").write_text(METHOD.replace("train.data", "train.shift(tess=1)"))
    output = refuse("run", world / "tiny.yaml", broken, "--output", tmp_path / "runs", *TRUSTED)
    assert "0 of 4 toys answered" in output
    assert "4 x fit_failed, such as: " in output
    assert "did you mean 'tes'" in output
    assert str(Path("runs") / "broken" / "worker*.log") in output
    (broken / "model.py").write_text(METHOD)
    changed = refuse("run", world / "tiny.yaml", broken, "--output", tmp_path / "runs", *TRUSTED)
    assert "--overwrite" in changed
    again = invoke("run", world / "tiny.yaml", broken, "--output", tmp_path / "runs", "--overwrite", *TRUSTED)
    assert "4 of 4 toys" in again


def test_pages_withhold_the_seed(world, tmp_path):
    """What is published does not give away the toys: no seed in the page nor in the scores."""
    (tmp_path / "secret.yaml").write_text(CONFIG.replace("seed: 3", "seed: 987654321987"))
    invoke("run", tmp_path / "secret.yaml", world / "mine", "--output", tmp_path / "runs", *TRUSTED)
    card = invoke("score", tmp_path / "runs", "--output", tmp_path / "scores", "--json")
    invoke("report", tmp_path / "runs", "--output", tmp_path / "report.html")
    pages = [p.read_text() for p in (tmp_path / "report.html", *tmp_path.glob("scores/mine/*"))]
    assert len(pages) == 3
    assert "withheld" in pages[0]
    assert not any("987654321987" in text for text in (*pages, card))


def test_init_scaffolds_a_method_that_runs(world, tmp_path):
    """What init writes answers every toy, and is not written over something else."""
    folder = tmp_path / "scaffolded"
    invoke("init", folder)
    assert "4 of 4 toys" in invoke(
        "run", world / "tiny.yaml", folder, "--output", tmp_path / "runs", *TRUSTED
    )
    assert "not an empty folder" in refuse("init", folder)


def test_official_results_are_scored_with_a_read_only_root(tmp_path):
    """Score reads the public layout and writes only to its output folder, whatever HOME is."""
    predictions, reference, output = (tmp_path / n for n in ("res", "ref", "out"))
    predictions.mkdir()
    reference.mkdir()
    answers = {"mu_hats": [1.0, 2.0], "delta_mu_hats": [1, 1], "p16": [0.5, 1.5], "p84": [1.5, 2.5]}
    (predictions / "result_0.json").write_text(json.dumps(answers))
    (predictions / "test_settings.json").write_text(json.dumps({"ground_truth_mus": [9.0]}))
    (reference / "test_settings.json").write_text(json.dumps({"ground_truth_mus": [1.0]}))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "fairuniverse", "score"),
            *("--predictions", predictions, "--reference", reference, "--output", output),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/proc",
        env={"PATH": "/usr/bin", "HOME": "/proc/nowhere", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads((output / "scores.json").read_text())
    assert scores["coverage"] == 0.5
    assert scores["interval"] == 1.0
    assert sorted(p.name for p in output.iterdir()) == ["detailed_results.html", "scores.json"]
