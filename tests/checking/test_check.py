"""The command `fairuniverse check`, on submissions with one fault each and on sound ones."""

import json

import pytest
from click.testing import CliRunner

from fairuniverse.cli import main

SOUND = """
class Model:
    def fit(self, train):
        self.n = float(train.data["weights"].sum())
    def predict(self, test):
        mu = len(test) / self.n
        return {"mu_hat": mu, "lower": mu - 0.1, "upper": mu + 0.1}
"""


def checked(path, config, *options):
    """Exit status and parsed output of a check."""
    arguments = ["check", str(path), "--config", str(config), "--isolation", "none", "--json", *options]
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, json.loads(result.output)


@pytest.fixture
def submission(tmp_path):
    """Writes a submission of this source."""

    def write(source):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "model.py").write_text(source)
        return folder

    return write


def test_a_sound_submission_passes(submission, tiny_config):
    """Nothing found, exit status 0, and every cost measured, the import's among them, and estimated."""
    code, report = checked(submission("import time\ntime.sleep(0.3)\n" + SOUND), tiny_config)
    assert (code, report["findings"]) == (0, [])
    assert all(cost >= 0 for cost in report["costs"].values())
    assert report["costs"]["import_s"] >= 0.3
    assert report["isolation"] == "none"


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        (("class Model:", "import not_installed\nclass Model:"), "missing_package", "model.py, line 2"),
        (
            ("class Model:", "from .helper import f\nclass Model:"),
            "missing_module",
            "no module helper beside",
        ),
        (("class Model:", "class Method:"), "no_model_class", "no class Model"),
        (("def predict(self, test):", "def predict(self):"), "signature", "def predict(self)"),
        (("class Model:", "1 / 0\nclass Model:"), "import_failed", "ZeroDivisionError"),
        (("self.n =", "self.n = train.nothing + "), "fit_failed", "has no attribute 'nothing'"),
        (('"lower": mu - 0.1', '"lower": mu + 1'), "swapped", "7 of 7 answers"),
        (
            ("mu = len(test) / self.n", "self.n += 1; mu = len(test) / self.n"),
            "not_repeatable",
            "asked twice",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) and " " not in v else "",
)
def test_problems_are_found(submission, tiny_config, change, code, found):
    """Each fault by its code, with what was seen and what to do; exit status 4."""
    exit_code, report = checked(submission(SOUND.replace(*change)), tiny_config)
    (finding,) = report["findings"]
    assert (exit_code, finding["severity"], finding["code"]) == (4, "problem", code)
    assert found in finding["found"]
    assert finding["remedy"]


REMEMBERS = """
    def predict(self, test):
        if len(test) not in vars(self).setdefault("seen", [len(test)]):
            self.seen = [*self.seen, len(test)]
        mu = len(test) / self.n + 0.01 * len(self.seen)
"""


def test_answers_that_depend_on_other_toys(submission, tiny_config):
    """The same toy asked again after others: the answer has changed."""
    source = SOUND.replace("\n    def predict(self, test):\n        mu = len(test) / self.n\n", REMEMBERS)
    exit_code, report = checked(submission(source), tiny_config)
    assert (exit_code, [f["code"] for f in report["findings"]]) == (4, ["order_dependent"])


def test_answers_that_depend_on_the_process(submission, tiny_config):
    """A model that keeps something outside of what is saved answers otherwise in a new process."""
    source = SOUND.replace("mu = len", "mu = SHIFT + len").replace(
        "class Model:", "import os\nSHIFT = os.getpid() * 1e-3\nclass Model:"
    )
    exit_code, report = checked(submission(source), tiny_config)
    assert (exit_code, [f["code"] for f in report["findings"]]) == (4, ["process_dependent"])


def test_warnings_have_an_exit_status_of_their_own(submission, tiny_config):
    """A model that cannot be saved runs, but worse: exit status 3."""
    source = SOUND.replace("self.n =", "self.kept = lambda: 0; self.n =")
    exit_code, report = checked(submission(source), tiny_config)
    assert (exit_code, [f["code"] for f in report["findings"]]) == (3, ["not_saved"])
    assert report["costs"]["whole_predict_s"] is not None


def test_a_death_in_predict_is_named(submission, tiny_config):
    """A process that ends in predict: how many answers, and how it ended."""
    source = SOUND.replace("mu = len", "import os; os._exit(3); mu = len")
    exit_code, report = checked(submission(source), tiny_config)
    assert (exit_code, report["findings"][0]["code"]) == (4, "crashed")
    assert "exit code 3" in report["findings"][0]["found"]


def test_text_for_people(submission, tiny_config):
    """Problem, remedy, the traceback without control characters, and one line at the end that sums up."""
    source = SOUND.replace("self.n =", "print('\\x1b[31mred'); self.n = 1 / 0 #")
    result = CliRunner().invoke(
        main, ["check", str(submission(source)), "--config", str(tiny_config), "--isolation", "none"]
    )
    assert result.exit_code == 4
    lines = result.output.splitlines()
    assert lines[0].startswith("problem: fit failed: ZeroDivisionError")
    assert lines[1].startswith("  to do: ")
    assert "  [31mred" in lines
    assert "\x1b" not in result.output
    assert "for tiny: 1 problem, no warnings; checked in" in lines[-1]


def test_what_cannot_be_checked_is_no_finding(submission, tiny_config):
    """A configuration that is not there: exit status 1, as for every other command."""
    result = CliRunner().invoke(main, ["check", str(submission(SOUND)), "--config", "nothing"])
    assert (result.exit_code, "no configuration" in result.output) == (1, True)
