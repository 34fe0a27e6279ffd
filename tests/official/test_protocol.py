"""Challenge submissions from the command line: the official protocol, its board and its files."""

import json

import pytest
from click.testing import CliRunner

from fairuniverse.cli import main
from fairuniverse.config import BenchmarkConfig
from fairuniverse.official import protocol
from fairuniverse.store import read_results


def invoke(*arguments) -> str:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def official_run(small_config, root, tmp_path_factory):
    """Run folder of a challenge submission under the official protocol, and what the command printed."""
    output = tmp_path_factory.mktemp("runs")
    submission = root / "tests" / "submissions" / "official"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "N_TOYS", 20)  # of 100, for time
        printed = invoke("run", small_config, submission, "--official", "--isolation", "none", "-o", output)
    return output / "official", printed


def test_protocol_of_the_challenge(official_run):
    """Ten sets, all six nuisance parameters, events shifted as in the public package."""
    results = read_results(official_run[0])
    assert results.table.groupby("i_mu").size().tolist() == [20] * 10
    assert results.is_ok.all(), results.table["message"].unique()
    assert results.table.filter(like="nuisance_").nunique().min() > 150
    config = results.manifest["benchmark"]["config"]
    assert config["simulator"]["options"]["systematics"] == "official"
    assert config["mu_range"] == [0.1, 3.0]


def test_board_is_printed_and_exported_files_give_it_again(official_run, tmp_path):
    """The five official numbers, and the same to 1e-9 from the files in the official layout."""
    run, printed = official_run
    invoke("export", run, "-o", tmp_path)
    answers, truth = tmp_path / "predictions", tmp_path / "reference"
    assert sorted(p.name for p in answers.iterdir()) == sorted(f"result_{i}.json" for i in range(10))
    invoke("score", "--predictions", answers, "--reference", truth, "-o", tmp_path / "a")
    invoke("score", run, "-o", tmp_path / "b")
    of_files = json.loads((tmp_path / "a" / "scores.json").read_text())
    of_run = json.loads((tmp_path / "b" / "official" / "scores.json").read_text())
    for name in ("rmse", "mae", "interval", "coverage", "quantiles_score"):
        assert of_files[name] == pytest.approx(of_run[name], rel=1e-9)
        assert f"{name} {of_run[name]:.4f}" in printed


def test_stated_uncertainties_reach_the_files(official_run, tmp_path):
    """delta_mu_hat, which only the official errors look at, is what the submission said: twice the half."""
    invoke("export", official_run[0], "-o", tmp_path)
    answers = json.loads((tmp_path / "predictions" / "result_3.json").read_text())
    width = [high - low for low, high in zip(answers["p16"], answers["p84"], strict=True)]
    assert answers["delta_mu_hats"] == pytest.approx(width)
    assert answers["p16s"] == answers["p16"]


def test_native_submissions_run_by_the_protocol_too():
    """The protocol changes sets, toys, priors and systematics, and leaves the rest of a configuration."""
    config = BenchmarkConfig(name="mine", version="3", seed=7, mu_range=(0.5, 2.0), nuisances=["tes"])
    official = protocol.with_official_protocol(config)
    assert (official.name, official.version, official.seed) == ("mine-official", "3", 7)
    assert official.pseudo_experiments.n_mu * official.pseudo_experiments.n_toys == 1000
    assert official.limits == config.limits
