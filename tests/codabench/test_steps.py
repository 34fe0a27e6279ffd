"""Submissions on an emulated platform: both steps, in containers as the platform's workers start them."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from fairuniverse.scoring import score_card

from codabench import emulation
from fairuniverse.api import bundle, run

CONFIG = """
name: secret
version: "1"
seed: 286543210987654321098765432109876543210
simulator: {name: counting}
nuisances: [bkg_scale]
training:
  n_events: {signal: 2000, background: 2000}
pseudo_experiments: {n_mu: 2, n_toys: 4, mode: fresh}
limits: {fit_timeout_s: 60, predict_timeout_s: 20, memory_mib: 1024}
"""

METHOD = """
import os
import socket
from fairuniverse import Interval

print("imported")

class Model:
    def fit(self, train):
        in_signal_region = train.data["region"] > 0.5
        self.n = train.data["weights"][in_signal_region].sum()

    def predict(self, test):
        n = (test["region"] > 0.5).sum()
        mu_hat = n / self.n
        {deed}
        return Interval(mu_hat, mu_hat - 0.5, mu_hat + 0.5)
"""

HONEST = "pass"

FAILING = "assert n % 2 == 0, 'odd'"

HOSTILE = """
        for folder, _, files in os.walk("/app"):
            for name in files:
                path = os.path.join(folder, name)
                text = open(path, "rb").read() if not path.endswith(".parquet") else b""
                if b"ground_truth" in text or b"2865432109" in text:
                    raise RuntimeError("found the truth at " + path)
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=2)
        except OSError:
            pass
        else:
            raise RuntimeError("there is a network")
        open("/tmp/mine", "w").write("x")
        try:
            open("/app/program/ingestion.py", "w").write("")
        except OSError:
            pass
"""

pytestmark = pytest.mark.skipif(not emulation.is_available(), reason="no bubblewrap to make containers with")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A benchmark with a secret seed."""
    path = tmp_path_factory.mktemp("config") / "secret.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory) -> Path:
    """Its bundle."""
    path = tmp_path_factory.mktemp("bundle") / "bundle"
    findings = bundle(config, path, image="docker.io/somebody/fairuniverse:1", n_threads=1)
    assert not findings
    return path


def zipped(path: Path, deed: str = HONEST, **others: str) -> Path:
    """A submission as uploaded."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.py", METHOD.format(deed=deed))
        for name, text in others.items():
            archive.writestr(name, text)
    return path


def answers(outcome: emulation.Outcome) -> dict[str, str]:
    """Files of the prediction output."""
    with zipfile.ZipFile(outcome.prediction) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_submission_gets_the_scores_it_would_get_at_home(config, folder, tmp_path):
    """Both steps together give what run and score give, to the last digit, and tell no truth on their way.

    Beside its method this submission holds forged results and settings; it looks for the truth and a network.
    """
    forged = {"mu_hats": [0.0] * 8, "p16": [0.0] * 8, "p84": [3.0] * 8, "delta_mu_hats": [3.0] * 8}
    settings = {"ground_truth_mus": [0.0, 0.0], "num_of_sets": 2, "num_pseudo_experiments": 4}
    submission = zipped(
        tmp_path / "mine.zip",
        HOSTILE,
        **{
            "result_0.json": json.dumps(forged),
            "result_1.json": json.dumps(forged),
            "test_settings.json": json.dumps(settings).replace("ground_truth", "ground\\u005ftruth"),
            "scores.json": '{"winkler": 0.0}',
        },
    )
    (tmp_path / "platform").mkdir()
    outcome = emulation.submit(folder, submission, tmp_path / "platform")

    (results,) = run(config, [zipped(tmp_path / "home.zip")], tmp_path / "runs", isolation="none").values()
    expected = score_card(results).to_flat()
    assert outcome.scores.keys() == {c["key"] for c in columns(folder)}
    for key, value in outcome.scores.items():
        assert float(value) == expected[key], key

    files = answers(outcome)
    assert files.keys() == {"metadata", "result_0.json"}
    truth = json.loads((folder / "reference_data/test_settings.json").read_text())
    secrets = [f"{x!r}"[:8] for x in (*truth["ground_truth_mus"], *truth["nuisances"]["bkg_scale"][1])]
    for text in (*files.values(), outcome.page, outcome.log):
        assert not [s for s in secrets if s in text]
    assert "8 of 8 pseudo-experiments answered" in outcome.log


def columns(folder: Path) -> list[dict[str, object]]:
    """Columns of the leaderboard."""
    return yaml.safe_load((folder / "competition.yaml").read_text())["leaderboards"][0]["columns"]


def test_failed_toys_count_and_are_named(folder, tmp_path):
    """Of a method that fails on some toys the others are scored, and the log says what went wrong."""
    outcome = emulation.submit(folder, zipped(tmp_path / "mine.zip", FAILING), tmp_path)
    n_failed = int(outcome.scores["n_failed"])
    assert 0 < n_failed < 8
    assert f"{n_failed} x exception, such as: AssertionError: odd" in outcome.log
    assert "imported" in outcome.log  # what the method prints


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.py": "class Model: pass"}, "8 x fit_failed"),
        ({"result_0.json": '{"mu_hats": [1.0], "p16": [0.0], "p84": [2.0]}'}, "no model.py in it"),
    ],
    ids=["no fit", "results instead of a method"],
)
def test_without_answers_a_submission_fails(folder, tmp_path, files, message):
    """The platform shows it as failed and says why; forged results do not help."""
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with pytest.raises(emulation.FailedError) as failure:
        emulation.submit(folder, tmp_path / "mine.zip", tmp_path)
    assert message in str(failure.value)
    assert "error: no predictions in /app/input/res" in str(failure.value)


def test_the_time_limit_ends_a_step(folder, tmp_path):
    """Too slow a method is stopped by the platform."""
    slow = shutil.copytree(folder, tmp_path / "bundle")
    text = (slow / "competition.yaml").read_text()
    (slow / "competition.yaml").write_text(
        text.replace("execution_time_limit: 600", "execution_time_limit: 2")
    )
    with pytest.raises(emulation.FailedError, match="Limit was 2 seconds"):
        emulation.submit(slow, zipped(tmp_path / "mine.zip", "import time; time.sleep(60)"), tmp_path)
