"""Large samples in blocks: the same whatever the workers, never lost, failures told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fairuniverse.errors import InvalidConfigError, InvalidDataError, StorageError
from fairuniverse.executors import ProcessPool
from fairuniverse.production import MAX_ATTEMPTS, ProductionError, Sample
from tiny_blocks import TinyBlocks

WANTED = {"signal": 15, "background": 30}


def sample(folder, seed=1, **options):
    """A sample of tiny blocks."""
    return Sample(folder, partial(TinyBlocks, **options), seed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A sample made by one worker, with the blocks that hold it and the progress told."""
    made = sample(tmp_path_factory.mktemp("one"))
    told = []
    blocks = made.produce(WANTED, progress=told.append)
    return made, blocks, told


def times(folder):
    """When each finished block was written."""
    paths = [
        Path(str(p).replace("_metadata.json", ".parquet")) for p in Path(folder).rglob("*_metadata.json")
    ]
    return {f"{p.parent.name}/{p.stem}": p.stat().st_mtime_ns for p in paths}


def assert_same_events(made, finished):
    """A sample has the events of the finished one."""
    expected, blocks, _ = finished
    np.testing.assert_array_equal(made.table(blocks).events.features, expected.table(blocks).events.features)


def test_holds_what_was_asked_for(finished):
    """The shortest run of blocks with enough events; progress counts all of them."""
    made, blocks, told = finished
    for process, wanted in WANTED.items():
        sizes = [made.statistics({process: [number]})[process]["total_rows"] for number in blocks[process]]
        assert sum(sizes[:-1]) < wanted <= sum(sizes)
    assert sum(told) == len(made.table(blocks).events)


def test_weights_are_the_expected_yields(finished):
    """Merged weights sum to the yields of the world; the number of the generated event is gone."""
    made, blocks, _ = finished
    table = made.table(blocks)
    assert table.events.sum_weights() == pytest.approx({"signal": 50, "background": 400})
    assert "row" not in table.extra


def test_statistics_are_sums_and_averages(finished):
    """Tried events add up, the acceptance is that of all blocks together."""
    made, blocks, _ = finished
    numbers = made.statistics(blocks)["signal"]
    assert numbers["n_tried"] == 100 * len(blocks["signal"])
    assert numbers["acceptance"] == pytest.approx(numbers["total_rows"] / numbers["n_tried"])
    assert numbers["expected_yield"] == pytest.approx(1000 * numbers["acceptance"])


def test_goes_on_where_it_stopped(finished):
    """Asked again, nothing is made anew; asked for more, blocks are added."""
    made, blocks, _ = finished
    before = times(made.folder)
    again = sample(made.folder)
    assert again.produce(WANTED) == blocks
    assert times(made.folder) == before
    with ProcessPool(2) as pool:
        more = again.produce({"signal": 30}, executor=pool)["signal"]
    assert more[: len(blocks["signal"])] == blocks["signal"]
    assert len(more) == 2


@pytest.fixture
def copied(tmp_path, finished):
    """A copy of the finished sample, to be damaged."""
    shutil.copytree(finished[0].folder, tmp_path / "copy")
    return sample(tmp_path / "copy")


@pytest.mark.parametrize("half", ["block-000000.parquet", "block-000000_metadata.json"])
def test_a_missing_half_of_a_block_is_made_again(copied, finished, half):
    """Whichever of its files is gone."""
    (copied.folder / "signal" / half).unlink()
    assert copied.produce(WANTED) == finished[1]
    assert_same_events(copied, finished)


def cut_off(content):
    """Half of a file."""
    return content[: len(content) // 2]


def scramble(content):
    """A file whose ends are whole."""
    return content[:8] + b"\xff" * 200 + content[208:]


def empty(_):
    """JSON without the numbers of a block."""
    return b"{}"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("block-000000.parquet", cut_off),
        ("block-000000.parquet", scramble),
        ("block-000000_metadata.json", cut_off),
        ("block-000000_metadata.json", empty),
    ],
)
def test_a_damaged_file_is_named_and_made_again_once_deleted(copied, finished, name, damage):
    """Its message says so."""
    path = copied.folder / "signal" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=rf"{path} is damaged \(.*\): delete it, and the same command"):
        copied.table(copied.produce(WANTED))
    path.unlink()
    assert copied.produce(WANTED) == finished[1]
    assert_same_events(copied, finished)


def test_a_damaged_manifest_is_named(copied):
    """Without it nobody knows whose blocks these are."""
    (copied.folder / "manifest.json").write_text("[")
    with pytest.raises(StorageError, match=r"manifest\.json .*restore it, or choose another output"):
        sample(copied.folder)


def test_other_samples_are_refused(finished):
    """Blocks of another seed do not mix."""
    with pytest.raises(InvalidConfigError, match=r"seed.*\(1, now 2\)"):
        sample(finished[0].folder, seed=2)


@pytest.mark.parametrize("wanted", [{"wjets": 10}, {"signal": 0}, {}])
def test_impossible_requests_are_refused(tmp_path, wanted):
    """An unknown process, and no events at all."""
    with pytest.raises(InvalidDataError):
        sample(tmp_path).produce(wanted)


def test_killed_workers_are_replaced(tmp_path, finished):
    """Three workers, one of them killed: a repetition that the manifest tells, and the same events."""
    made = sample(tmp_path / "sample", trouble="die once", marks=str(tmp_path))
    with ProcessPool(3) as pool:
        blocks = made.produce(WANTED, executor=pool)
    assert blocks == finished[1]
    assert_same_events(made, finished)
    (failure,) = json.loads((tmp_path / "sample" / "manifest.json").read_text())["failures"]
    assert (failure["process"], failure["block"]) == ("background", 1)
    assert "signal 9" in failure["message"]
    assert made.manifest["n_workers_lost"] == 1


def test_blocks_that_always_fail_end_the_production(tmp_path):
    """After three attempts the error names the block and the reason; what is finished stays."""
    made = sample(tmp_path, trouble="raise")
    with pytest.raises(ProductionError, match=r"block 1 of background failed 3 times.*generator is stuck"):
        made.produce({"background": 30})
    assert len(made.manifest["failures"]) == MAX_ATTEMPTS
    assert list(times(tmp_path)) == ["background/block-000000"]


@pytest.mark.parametrize(
    ("trouble", "error", "words"),
    [("refuse", InvalidDataError, "card is wrong"), ("no disk", StorageError, "cannot write")],
)
def test_what_repeating_cannot_cure_is_not_repeated(tmp_path, trouble, error, words):
    """A wrong card and a full disk (a limit on the size of files) end the production at once."""
    made = sample(tmp_path, trouble=trouble, at=0)
    with pytest.raises(error, match=words):
        made.produce({"background": 30})
    assert len(made.manifest["failures"]) == 1
    assert not times(tmp_path)


@contextmanager
def production(folder, root, **options):
    """A program that makes a sample, to be killed."""
    script = (
        "from functools import partial; from pathlib import Path; from tiny_blocks import TinyBlocks\n"
        "from fairuniverse.production import Sample\n"
        f"if __name__ == '__main__': Sample(Path({str(folder)!r}), partial(TinyBlocks, **{options!r}), 1)"
        f".produce({WANTED!r})"
    )
    (folder / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(root / "tests")}
    with subprocess.Popen(
        [sys.executable, str(folder / "script.py")], env=environment, start_new_session=True
    ) as program:
        try:
            yield program
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


def wait_for(condition):
    """Wait until something is true, or fail."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_production_goes_on(tmp_path, finished, root):
    """Killed in the middle, then started again: the same events, the finished blocks as they were."""
    with production(tmp_path, root, wait_s=0.1):
        wait_for(lambda: list(tmp_path.rglob("*_metadata.json")))
    before = times(tmp_path)
    assert before
    made = sample(tmp_path)
    made.produce(WANTED)
    assert before.items() <= times(tmp_path).items()
    assert_same_events(made, finished)


def test_a_folder_has_one_production_at_a_time(tmp_path, finished, root):
    """A second one is told who makes blocks there, and begins once that process is gone, even if killed."""
    with production(tmp_path, root, wait_s=60) as program:
        wait_for((tmp_path / "manifest.json").exists)
        second = sample(tmp_path)
        with pytest.raises(StorageError, match=rf"process {program.pid} on .* is making blocks.*wait for it"):
            second.produce(WANTED)
        program.kill()
        program.wait()
        assert second.produce(WANTED) == finished[1]
