"""What every kind of place has to do, on a file system, in memory and in a real object store."""

import io
import sys
import tarfile
import threading
import time
from contextlib import suppress
from uuid import uuid4

import pytest

from fairuniverse.errors import InvalidDataError, MissingDependencyError, StorageError
from fairuniverse.store import is_url, open_place
from fairuniverse.store.places import reading, writing


@pytest.fixture
def place(where):
    """A place with a folder for parts."""
    opened = open_place(where)
    opened.make("parts")
    return opened


def test_a_new_place_is_empty(where):
    """And does not exist on the way."""
    place = open_place(where)
    assert list(place.files()) == list(place.files("parts")) == []
    assert list(place.folders()) == []
    assert not place.is_file("manifest.json")
    with pytest.raises(FileNotFoundError):
        place.read("manifest.json")


def test_what_is_written_is_read(place):
    """Also when it replaces something, by itself and among others."""
    for name, content in (("a", b"1"), ("parts/b", b"2"), ("parts/c", b""), ("a", b"3")):
        place.write(name, content)
    assert sorted(place.files()) == ["a"]
    assert sorted(place.files("parts")) == ["parts/b", "parts/c"]
    assert list(place.folders()) == ["parts"]
    assert [place.is_file(name) for name in ("a", "parts/b", "parts", "b")] == [True, True, False, False]
    assert list(place.read_all(["parts/b", "a", "parts/c"])) == [b"2", b"3", b""]
    assert abs(place.times()["a"] - time.time()) < 60


def test_one_of_many_that_is_gone_is_an_error(place):
    """Nothing is left out in silence."""
    place.write("a", b"1")
    with pytest.raises(FileNotFoundError):
        list(place.read_all(["a", "gone"]))


def test_what_is_removed_is_gone(place):
    """Once or twice."""
    for name in ("a", "parts/b", "parts/c"):
        place.write(name, b"1")
    for _ in range(2):
        place.remove(["gone", "a", "parts/b"])
        assert list(place.files()) == []
        assert list(place.files("parts")) == ["parts/c"]
    for _ in range(2):
        place.remove_folder("parts")
        assert list(place.files("parts")) == []


def test_places_below(place):
    """A folder in a place is a place, which its name opens again."""
    below = place / "mine"
    below.make("parts")
    below.write("a", b"1")
    assert below.name == "mine"
    assert open_place(str(below)).read("a") == b"1"
    assert open_place(str(below)) == below
    assert "mine" in place.folders()


def test_a_folder_is_kept_once(place, where):
    """The first one that is complete stays; any machine gets its files."""
    for content in ("first", "second"):
        source = place.scratch / f"model.candidate-{content}"
        (source / "deep").mkdir(parents=True)
        (source / "deep" / "weights").write_text(content)
        place.keep_folder(source, "model")
        assert not source.exists()
    for seen in (place, open_place(where)):
        assert (seen.kept_folder("model") / "deep" / "weights").read_text() == "first"
    place.remove_folder("model")
    assert not place.kept_folder("model").exists()
    assert not open_place(where).kept_folder("model").exists()


@pytest.mark.parametrize(
    "member", [tarfile.TarInfo("model/../../evil"), tarfile.TarInfo("/evil")], ids=lambda m: m.name
)
def test_a_model_stays_in_its_folder(member):
    """Whoever can write to a store cannot write elsewhere with it."""
    place, packed = open_place(f"memory://evil-{uuid4().hex}"), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member)
    place.write("model.tar", packed.getvalue())
    with pytest.raises(StorageError, match=r"model\.tar holds .*evil, which no model does"):
        place.kept_folder("model")


def test_what_is_printed_is_seen_by_others(place, where):
    """As far as it was when something was written."""
    for text in ("one", "one two"):
        (place.scratch / "worker.log").write_text(text)
        place.publish()
        assert open_place(where).read("worker.log") == text.encode()


def test_a_place_has_one_holder(place, where):
    """Others are refused as long as it lives, and welcome after it."""
    lock = place.lock()
    other = open_place(where)
    assert other.is_locked()
    with pytest.raises(StorageError, match=r"another process is writing to .*wait for it"), writing(other):
        other.lock()
    assert lock.is_held
    lock.close()
    assert not other.is_locked()
    other.lock().close()


def test_a_lease_that_nobody_renews_ends(s3):
    """Its holder was killed, and another process goes on; if it was only asleep, the holder notices."""
    place = open_place(f"{s3}/abandoned")
    killed = place.lock()
    killed._ended.set()
    killed._thread.join()
    lock = open_place(f"{s3}/abandoned").lock()
    assert lock.is_held
    killed._ended.clear()
    killed._renew()
    assert not killed.is_held
    killed.close()
    assert place.is_locked()
    lock.close()


def test_one_of_many_gets_a_lease(s3):
    """All at the same moment, on a lease that was left behind."""
    place = open_place(f"{s3}/contested")
    place.write(".lock", b"somebody\n")
    held = []

    def try_it():
        with suppress(BlockingIOError):
            held.append(open_place(str(place)).lock())

    threads = [threading.Thread(target=try_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.5)
    (lock,) = [lock for lock in held if lock.is_held]
    for other in held:
        other.close()
    assert lock is not None


def test_a_file_url_is_a_path(tmp_path):
    """With everything that a file system can do."""
    assert str(open_place(f"file://{tmp_path}")) == str(tmp_path.resolve())
    assert is_url("s3://bucket/runs")
    assert not is_url(tmp_path)
    assert not is_url("runs/s3")


def test_an_unknown_kind_of_url_is_named():
    """With what to give instead."""
    with pytest.raises(InvalidDataError, match=r"xyz://y is no address of a run .*give a path"):
        open_place("xyz://y")


def test_a_library_that_is_missing_is_named(monkeypatch):
    """Whether it is fsspec or the part of it for this kind of store."""
    with pytest.raises(MissingDependencyError, match=r"gs://bucket/runs needs one more package .*gcsfs"):
        open_place("gs://bucket/runs")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match="pip install fsspec"):
        open_place("memory://runs")


def test_a_bucket_that_is_not_there(s3):
    """It is not made by mistake, and the message names it."""
    place = open_place("s3://misspelt/runs")
    place.make("parts")
    message = r"cannot write to s3://misspelt/runs \(.*bucket does not exist"
    with pytest.raises(StorageError, match=message), writing(place):
        place.write("a", b"")


def test_a_store_that_cannot_be_reached_is_not_an_empty_one(s3, monkeypatch):
    """A fault of the network must never look like a run that is not there."""
    place = open_place("s3://bucket/runs")
    place._fs = type(place._fs)(
        endpoint_url="http://127.0.0.1:9",
        config_kwargs={"retries": {"max_attempts": 1}},
        skip_instance_cache=True,
    )
    place._fs.retries = 1
    for ask in (lambda: place.is_file("manifest.json"), place.files, lambda: place.read("a")):
        with (
            pytest.raises(StorageError, match=r"cannot read s3://bucket/runs .*can be reached"),
            reading(place),
        ):
            ask()


def test_links_to_folders(tmp_path):
    """They are runs where they are asked for, and no way around in circles."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert open_place(tmp_path).folders() == ["link", "real"]
    assert open_place(tmp_path).folders(follow=False) == ["real"]
