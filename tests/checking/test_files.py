"""What a check says of files, without running them: each fault is found, and a sound submission has none."""

import zipfile

import pytest

from fairuniverse.checking import files
from fairuniverse.checking.files import check_files, check_source

GOOD = {"model.py": "import numpy\nimport helper\n\nclass Model: ...\n", "helper.py": "import systematics\n"}


def written(folder, content):
    """A folder with these files."""
    for name, text in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def zipped(path, content):
    """A zip with these files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return path


def codes(findings):
    """Severity and code of each finding."""
    return [(f.severity, f.code) for f in findings]


def test_a_sound_folder_and_its_zip_have_no_findings(tmp_path):
    """Neither the layout nor the sources of a sound submission are found fault with."""
    folder = written(tmp_path / "mine", GOOD)
    for path in (folder, zipped(tmp_path / "mine.zip", GOOD)):
        submission, findings = check_files(path)
        assert (submission.name, findings) == ("mine", [])
    assert check_source(folder) == []


def test_the_novices_mistake_is_explained_in_one_line(tmp_path):
    """A folder zipped by macOS instead of its content: one line says so, another the command that helps."""
    path = zipped(
        tmp_path / "mine.zip", {"mine/model.py": "class Model: ...", "__MACOSX/mine/._model.py": "x"}
    )
    submission, findings = check_files(path)
    assert submission is None
    assert codes(findings) == [("problem", "folder_zipped"), ("warning", "rubbish")]
    assert findings[0].found == (
        "the folder mine was zipped instead of its content: model.py is not at the top of the zip"
    )
    assert findings[0].remedy.startswith("cd mine && zip -r ../mine.zip .")
    assert "\n" not in findings[0].found + findings[0].remedy
    assert findings[1].remedy == "zip -d mine.zip '*__MACOSX*'"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"inner/model.py": "class Model: ..."}, ("problem", "nested")),
        ({"Model.py": "class Model: ..."}, ("problem", "wrong_name")),
        ({"readme.txt": "nothing"}, ("problem", "no_model_py")),
        ({"__MACOSX/model.py": "x"}, ("problem", "no_model_py")),
        ({"model.py": "class Model: ...", "venv/pyvenv.cfg": "home = /usr/bin"}, ("problem", "environment")),
    ],
)
def test_layouts_that_cannot_work(tmp_path, content, found):
    """A folder without model.py at its top, or with an environment in it, is not run."""
    submission, findings = check_files(written(tmp_path / "mine", content))
    assert submission is None
    assert codes(findings) == [found]
    assert findings[0].remedy


def test_paths_that_are_no_submission(tmp_path):
    """A path that is not there, and a file that is no zip."""
    (tmp_path / "notes.txt").write_text("x")
    for name, state in (("nowhere", "not there"), ("notes.txt", "neither a folder nor a zip")):
        submission, (finding,) = check_files(tmp_path / name)
        assert submission is None
        assert finding.code == "no_submission"
        assert state in finding.found


def test_files_that_no_runner_takes(tmp_path):
    """Links are refused before anything runs, with the reason."""
    folder = written(tmp_path / "mine", GOOD)
    (folder / "data.parquet").symlink_to("/etc/hostname")
    submission, (finding,) = check_files(folder)
    assert submission is None
    assert (finding.code, "data.parquet is a link" in finding.found) == ("refused", True)


def test_large_submissions(tmp_path, monkeypatch):
    """The largest file is named."""
    monkeypatch.setattr(files, "LARGE_BYTES", 1 << 20)
    content = GOOD | {"train.csv": b"0" * (2 << 20)}
    submission, findings = check_files(written(tmp_path / "mine", content))
    assert submission is not None
    assert codes(findings) == [("warning", "large")]
    assert "train.csv has 2 MiB" in findings[0].found


def test_syntax_errors_name_file_and_line(tmp_path):
    """A problem in model.py; a warning elsewhere, where it may never be read."""
    folder = written(tmp_path, {"model.py": "class Model:\n  def fit(self\n", "old.py": "print 'x'\n"})
    entry, other = check_source(folder)
    assert codes([entry, other]) == [("problem", "syntax"), ("warning", "syntax")]
    assert "model.py, line 2" in entry.found
    assert "old.py, line 1" in other.found


def test_missing_packages_are_named_wherever_they_are_imported(tmp_path):
    """Also inside functions; not where the import is guarded, or the submission's own or a challenge's."""
    source = """
import os.path
from HiggsML.systematics import systematics
try:
    import not_installed_but_guarded
except ImportError:
    pass

def fit():
    from not_installed.at_all import anything
"""
    (finding,) = check_source(written(tmp_path, {"model.py": source}))
    assert (finding.severity, finding.code) == ("warning", "missing_package")
    assert "model.py: the package not_installed is not installed" in finding.found
