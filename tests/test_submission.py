"""Reading submissions without running them."""

import stat
import zipfile

import pytest

from fairuniverse import submission as module
from fairuniverse.errors import InvalidDataError, SubmissionError
from fairuniverse.submission import load_submission

MODEL = "class Model: ...\n"


@pytest.fixture
def folder(tmp_path):
    """A submission of two files."""
    folder = tmp_path / "method"
    (folder / "data").mkdir(parents=True)
    (folder / "model.py").write_text(MODEL)
    (folder / "data" / "numbers.txt").write_text("1 2 3")
    return folder


def write_zip(path, entries):
    """A zip with these names and contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_folder_and_zip_of_it_are_the_same_submission(folder, tmp_path):
    """The digest is one of contents, whatever they come in; what macOS and Python add does not count."""
    packed = write_zip(
        tmp_path / "method.zip",
        {"data/numbers.txt": "1 2 3", "model.py": MODEL, "__MACOSX/._model.py": "junk", ".DS_Store": "junk"},
    )
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"junk")
    one, two = load_submission(folder), load_submission(packed)
    assert (one.name, one.digest) == (two.name, two.digest) == ("method", one.digest)


def test_digest_depends_on_names_and_contents(folder):
    """A renamed or changed file makes another submission."""
    first = load_submission(folder).digest
    (folder / "data" / "numbers.txt").write_text("1 2 4")
    second = load_submission(folder).digest
    (folder / "data" / "numbers.txt").rename(folder / "data" / "other.txt")
    assert len({first, second, load_submission(folder).digest}) == 3


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_unpacking_copies_the_files(folder, tmp_path, kind):
    """The worker gets every file, empty ones too, and nothing else."""
    (folder / "empty.py").write_text("")
    path = folder
    if kind == "zip":
        files = {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}
        path = write_zip(tmp_path / "method.zip", files)
    load_submission(path).unpack(tmp_path / "copy")
    copied = {
        p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*") if p.is_file()
    }
    assert copied == {"model.py", "data/numbers.txt", "empty.py"}
    assert (tmp_path / "copy" / "model.py").read_text() == MODEL


def test_a_submission_edited_while_it_runs_is_noticed(folder, tmp_path):
    """A restarted worker never runs other code than the first one did."""
    submission = load_submission(folder)
    (folder / "model.py").write_text("class Model: changed = True\n")
    with pytest.raises(InvalidDataError, match="changed while it was being run"):
        submission.unpack(tmp_path / "copy")


def test_zipped_folder_is_explained(tmp_path):
    """The novice's mistake is answered with the command that avoids it."""
    path = write_zip(tmp_path / "mine.zip", {"mine/model.py": MODEL, "__MACOSX/mine/._model.py": ""})
    with pytest.raises(SubmissionError, match=r"cd mine && zip -r \.\./mine\.zip \."):
        load_submission(path)


def test_model_in_a_folder_inside_is_explained(tmp_path):
    """The message names the folder to give instead."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "inner" / "model.py").write_text(MODEL)
    with pytest.raises(SubmissionError, match=r"give .*outer/inner"):
        load_submission(tmp_path / "outer")


def test_missing_model_is_explained(tmp_path):
    """An empty folder says what to add."""
    with pytest.raises(SubmissionError, match=r"no model\.py in it; add model\.py with a class Model"):
        load_submission(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "no submission at"), ("text", "neither a folder nor a zip")]
)
def test_other_paths_are_refused(tmp_path, name, message):
    """A missing path and a file of another kind are not submissions."""
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InvalidDataError, match=message):
        load_submission(tmp_path / name)


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py", "..\\out.py"])
def test_zip_entries_that_lead_out_are_refused(tmp_path, name):
    """Nothing is ever written outside the private copy."""
    path = write_zip(tmp_path / "bad.zip", {"model.py": MODEL, name: "x"})
    with pytest.raises(SubmissionError, match="leads out of the folder"):
        load_submission(path)


def test_links_are_refused(folder, tmp_path):
    """A link in a folder or a zip could show the worker a file of the host."""
    link = zipfile.ZipInfo("link.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = write_zip(tmp_path / "bad.zip", {"model.py": MODEL, link: "/etc/passwd"})
    (folder / "data" / "link.txt").symlink_to("/etc/passwd")
    for submission in (path, folder):
        with pytest.raises(SubmissionError, match=r"link\.\w+ is a link"):
            load_submission(submission)


def test_zip_bombs_are_refused_by_what_comes_out(tmp_path, monkeypatch):
    """The size is counted while unpacking, not believed."""
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    path = write_zip(tmp_path / "bomb.zip", {"model.py": MODEL, "zeros": b"\0" * (8 << 20)})
    assert path.stat().st_size < 1 << 20
    with pytest.raises(SubmissionError, match="more than 1 MiB unpacked"):
        load_submission(path)


def test_too_many_files_are_refused(folder, monkeypatch):
    """An environment zipped by mistake is noticed."""
    monkeypatch.setattr(module, "MAX_FILES", 1)
    with pytest.raises(SubmissionError, match="more than 1 files"):
        load_submission(folder)


def test_damaged_zip_is_refused(tmp_path):
    """A wrong checksum inside is an error of the submission, not a crash of ours."""
    path = write_zip(tmp_path / "bad.zip", {"model.py": MODEL * 100})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SubmissionError, match="cannot be read"):
        load_submission(path)
