"""How challenge submissions are told from ours, constructed, asked, saved and loaded."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fairuniverse.errors import SubmissionError
from fairuniverse.official.adapter import OfficialModel, is_official, working_folder
from fairuniverse.official.systematics import systematics as our_systematics
from fairuniverse.official.train_set import OfficialTrainSet

ANSWER = {"mu_hat": 1.0, "delta_mu_hat": 0.4, "p16": 0.8, "p84": 1.2}
TEST = pd.DataFrame({"x": [1.0, 2.0]})


class ByName:
    """As in the 2024 challenge."""

    def __init__(self, get_train_set=None, systematics=None):
        """Keep what is given."""
        self.given = (get_train_set, systematics)
        self.answer = ANSWER

    def fit(self):
        """Nothing to learn."""

    def predict(self, test_set):
        """Change the events, and answer."""
        test_set["data"]["x"] = test_set["weights"]
        return self.answer


class WithModelType(ByName):
    """As in HiggsML 0.1.5."""

    def __init__(self, get_train_set, systematics, model_type="BDT"):
        """Keep what is given."""
        super().__init__(get_train_set, systematics)


class ByPosition(ByName):
    """With names of its own."""

    def __init__(self, train, shift):
        """Keep what is given."""
        super().__init__(train, shift)


class Native:
    """Ours, with settings."""

    def __init__(self, depth=3, rate=0.1):
        """Settings have default values."""

    def fit(self, train):
        """Learn."""

    def predict(self, test):
        """Answer."""


@pytest.mark.parametrize("cls", [ByName, WithModelType, ByPosition])
def test_constructed_by_name_or_position(cls, tmp_path):
    """Both functions arrive; a class that knows model types gets its training events as a table."""
    assert is_official(cls)
    model = OfficialModel(cls, tmp_path)
    model.fit(None)
    get_train_set, systematics = model._model.given
    assert isinstance(get_train_set, OfficialTrainSet)
    assert get_train_set.is_table == (cls is WithModelType)
    assert systematics is our_systematics


def test_ours_are_not_taken_for_theirs():
    """A constructor with two optional settings is none of theirs if fit takes the training set."""
    assert not is_official(Native)


def test_answers_under_our_names(tmp_path):
    """p16 and p84 are the ends, delta_mu_hat is kept if stated, the host's events are not changed."""
    model = OfficialModel(ByName, tmp_path)
    model.fit(None)
    assert model.predict(TEST) == {"mu_hat": 1.0, "lower": 0.8, "upper": 1.2, "delta_mu_hat": 0.4}
    assert TEST["x"].tolist() == [1.0, 2.0]
    model._model.answer = {k: v for k, v in ANSWER.items() if k != "delta_mu_hat"}
    assert "delta_mu_hat" not in model.predict(TEST)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ({"mu_hat": 1.0, "p16": 0.8}, "missing_key", "has mu_hat, p16 but no p84"),
        ((1.0, 0.8, 1.2), "invalid_type", "predict returned a tuple"),
    ],
)
def test_answers_of_another_form(answer, status, message, tmp_path):
    """The status of our own, the names of theirs."""
    model = OfficialModel(ByName, tmp_path)
    model.fit(None)
    model._model.answer = answer
    with pytest.raises(SubmissionError, match=message) as caught:
        model.predict(TEST)
    assert caught.value.status == status


def test_methods_that_are_missing_or_take_something_else(tmp_path):
    """The message gives the form of the challenge."""

    class NoFit:
        def __init__(self, get_train_set, systematics):
            pass

    class TwoSets(ByName):
        def predict(self, test_set, other):
            pass

    for cls, message in ((NoFit, r"add: def fit\(self\)"), (TwoSets, r"it is def predict\(self, test_set\)")):
        assert is_official(cls)
        with pytest.raises(SubmissionError, match=message):
            OfficialModel(cls, tmp_path)


def test_saved_with_the_files_it_wrote(tmp_path):
    """What fit writes beside model.py is there when another process loads the model."""
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
        (home / "model.py").write_text("pass")
    model = OfficialModel(ByName, homes[0])
    model.fit(None)
    (homes[0] / "saved").mkdir()
    np.save(homes[0] / "saved" / "yields.npy", [1.0, 2.0])
    saved = tmp_path / "model"
    saved.mkdir()
    model.save(saved)
    assert sorted(p.name for p in saved.rglob("*") if p.is_file()) == ["model.pickle", "yields.npy"]
    other = OfficialModel(ByName, homes[1])
    other.load(saved)
    assert np.load(homes[1] / "saved" / "yields.npy").tolist() == [1.0, 2.0]
    assert other.predict(TEST)["mu_hat"] == 1.0


def test_theirs_may_write_into_their_folder(tmp_path):
    """A copy to write into, also of read-only files, for challenge submissions; ours stay where they are."""
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "model.py").write_text(
        "class Model:\n    def __init__(self, get_train_set, systematics): ...\n"
    )
    (folder / "cuts.json").write_text(json.dumps({"pt": 1}))
    (folder / "cuts.json").chmod(0o444)
    home = working_folder(folder, tmp_path / "scratch")
    assert home != folder
    assert json.loads((home / "cuts.json").read_text()) == {"pt": 1}
    assert (home / "cuts.json").stat().st_mode & 0o200
    (folder / "model.py").write_text("class Model:\n    def fit(self, train): ...\n")
    assert working_folder(folder, tmp_path / "elsewhere") == folder


IMPORTS = """
from fairuniverse.official.modules import install_modules
install_modules(); install_modules()
import sys
sys.path.insert(0, sys.argv[1])
import datasets, HiggsML.visualization as pictures
from systematics import systematics
from HiggsML import derived_quantities
from HiggsML.systematics import systematics as packaged
assert datasets.is_own
assert packaged is systematics and systematics.__module__ == "fairuniverse.official.systematics"
assert pictures.stacked_histogram(1, label=2) is None
assert derived_quantities.DER_data
try:
    import HiggsML.nothing
except ModuleNotFoundError:
    print("fine")
"""


def test_modules_are_found_where_nothing_else_is(tmp_path):
    """Each name under which they are imported, but a submission's own module of that name comes first."""
    (tmp_path / "datasets.py").write_text("is_own = True\n")
    command = [sys.executable, "-c", IMPORTS, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "fine\n"
