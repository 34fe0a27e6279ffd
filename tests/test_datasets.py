"""Tests of fairuniverse.datasets."""

import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import tiny_world
from fairuniverse.datasets import Dataset
from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.production import Sample
from fairuniverse.tables import write_table
from partitions import dataset, numbered, write_parts
from tiny_blocks import TinyBlocks


def test_files_are_read_in_the_order_of_their_names(tmp_path):
    """A folder gives the rows of its files one after the other, at any depth, without hidden ones."""
    parts = [numbered([30, 50], first=1000 * i) for i in range(3)]
    write_parts(tmp_path / "a", parts[:2], row_group_size=7)
    write_parts(tmp_path / "b" / "c", parts[2:])
    for hidden in (".part.partial.parquet", "_old.parquet"):
        shutil.copy(tmp_path / "a" / "part-0.parquet", tmp_path / hidden)
    events = dataset(tmp_path).read_all()
    for name in ("features", "weights", "process"):
        expected = np.concatenate([getattr(p, name) for p in parts], axis=-1)
        np.testing.assert_array_equal(getattr(events, name), expected)


@pytest.mark.parametrize("n_rows", [1, 10, 50, 1000])
def test_units_hold_every_row_group_once_and_in_order(tmp_path, n_rows):
    """Units follow one another, each with at least the rows asked for but the last."""
    parts = [numbered([30, 50], first=1000 * i) for i in range(3)]
    data = dataset(write_parts(tmp_path, parts, row_group_size=7))
    units = data.units(n_rows)
    sizes = [sum(e.n_events for e in data.read(unit)) for unit in units]
    assert all(n_rows <= n for n in sizes[:-1])
    assert sum(sizes) == data.n_rows == 240
    x = np.concatenate([e["x0"] for unit in units for e in data.read(unit)])
    np.testing.assert_array_equal(x, np.concatenate([p["x0"] for p in parts]))


def test_the_fingerprint_tells_contents_and_not_places(tmp_path):
    """A copy elsewhere has the same fingerprint; other rows, or other names of files, have another."""
    write_parts(tmp_path / "a", [numbered([30, 50]), numbered([30, 50], first=100)])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert dataset(tmp_path / "a").fingerprint == dataset(tmp_path / "b").fingerprint
    (tmp_path / "b" / "part-0.parquet").rename(tmp_path / "b" / "part-3.parquet")
    assert dataset(tmp_path / "a").fingerprint != dataset(tmp_path / "b").fingerprint
    write_table(tmp_path / "a" / "part-1.parquet", numbered([30, 50], first=101))
    write_table(tmp_path / "b" / "part-0.parquet", numbered([30, 50]))
    (tmp_path / "b" / "part-3.parquet").unlink()
    assert dataset(tmp_path / "a").fingerprint != dataset(tmp_path / "b").fingerprint


def test_a_simulated_sample_is_its_blocks_scaled_to_the_yields(tmp_path):
    """The first blocks that hold the events asked for count; weights sum to the expected yields."""
    sample = Sample(tmp_path / "s", partial(TinyBlocks), 1)
    sample.produce({"signal": 30, "background": 100})
    events = Dataset(tmp_path / "s", tiny_world.SCHEMA, tiny_world.PROCESSES).read_all()
    assert events.sum_weights() == pytest.approx({"signal": 50.0, "background": 400.0})
    sample.produce({"signal": 200, "background": 100})
    (more,) = (tmp_path / "s" / "manifest.json",)
    more.write_text(json.dumps(sample.manifest | {"n_events": {"signal": 30, "background": 100}}))
    again = Dataset(tmp_path / "s", tiny_world.SCHEMA, tiny_world.PROCESSES).read_all()
    np.testing.assert_array_equal(again.features, events.features)


@pytest.mark.parametrize("half", ["block-000001.parquet", "block-000001_metadata.json"])
def test_an_unfinished_sample_is_refused(tmp_path, half):
    """A block of which either file is missing is named, and what to do."""
    Sample(tmp_path / "s", partial(TinyBlocks), 1).produce({"signal": 30, "background": 100})
    (tmp_path / "s" / "background" / half).unlink()
    with pytest.raises(StorageError, match=r"block-000001\.parquet of background is missing; repeat"):
        Dataset(tmp_path / "s", tiny_world.SCHEMA, tiny_world.PROCESSES)


def frame(**columns):
    """A valid table of two rows with columns replaced or added."""
    good = {"x0": [1.0, 2.0], "x1": [0.0, 1.0], "weights": [1.0, 1.0]}
    return pd.DataFrame(good | {"detailed_labels": ["signal", "background"]} | columns)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame().rename(columns={"x1": "X1"}), r"part-1.*1 missing column\(s\): x1 \(is it 'X1'"),
        (frame().drop(columns="weights"), "part-1.* needs the columns weights .* no weights"),
        (frame(x1=["a", "b"]), "part-1.*column x1 must hold numbers"),
        (frame(x1=[1.0, None]), "part-1.*column x1 has 1 NaN"),
        (frame(weights=[1.0, -1.0]), "part-1.* has 1 negative weights"),
        (frame(detailed_labels=["signal", "higgs"]), "part-1.*unknown process 'higgs'"),
        (frame(detailed_labels=["signal", None]), "part-1.*detailed_labels is empty in 1 rows"),
    ],
)
def test_one_bad_file_is_named(tmp_path, table, message):
    """A file that differs from the others, or holds bad values, is refused by name."""
    write_parts(tmp_path, [numbered([3, 5])])
    table.to_parquet(tmp_path / "part-1.parquet")
    with pytest.raises(InvalidDataError, match=message):
        dataset(tmp_path).read_all()


def test_mixed_records_are_refused(tmp_path):
    """All files carry the detector-level record, or none does."""
    events = tiny_world.Simulator().generate({"signal": 5, "background": 5}, seed=1)
    write_table(tmp_path / "a.parquet", events)
    pq.write_table(pq.read_table(tmp_path / "a.parquet").drop_columns("raw"), tmp_path / "b.parquet")
    make = partial(Dataset, tmp_path, tiny_world.SCHEMA, tiny_world.PROCESSES)
    with pytest.raises(InvalidDataError, match=r"b\.parquet: 1 missing column\(s\): raw"):
        make()
    (tmp_path / "b.parquet").rename(tmp_path / "0.parquet")
    with pytest.raises(
        InvalidDataError, match=r"a\.parquet has the detector-level record, .*0\.parquet has not"
    ):
        make()


def test_damaged_files_are_named(tmp_path):
    """Files cut short or scrambled are errors that name them, and so is a folder without any."""
    with pytest.raises(StorageError, match=r"holds no \.parquet file"):
        dataset(tmp_path)
    with pytest.raises(StorageError, match="no such file or folder"):
        dataset(tmp_path / "no")
    write_parts(tmp_path, [numbered([3000, 5000]) for _ in range(2)])
    content = (tmp_path / "part-1.parquet").read_bytes()
    (tmp_path / "part-1.parquet").write_bytes(content[:-100])
    with pytest.raises(StorageError, match=r"cannot read .*part-1\.parquet.*; replace the file"):
        dataset(tmp_path)
    (tmp_path / "part-1.parquet").write_bytes(content[:50] + bytes(5000) + content[5050:])
    with pytest.raises(StorageError, match=r"cannot read .*part-1\.parquet.*; replace the file"):
        dataset(tmp_path).read_all()
