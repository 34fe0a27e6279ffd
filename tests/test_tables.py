"""Tests of fairuniverse.tables."""

import json
import os
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from fairuniverse.simulators.higgs_tautau.schema import SCHEMA as HIGGS
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES

from fairuniverse.errors import InvalidDataError, StorageError
from fairuniverse.tables import Table, read_events, read_table, write_table
from strategies import PROCESSES, SCHEMA, make_events


@pytest.mark.parametrize("suffix", [".parquet", ".root"])
def test_written_tables_read_back_bit_for_bit(tmp_path, suffix):
    """Features, weights, processes and unknown columns survive a round trip, also of an empty table."""
    for n_events in (100, 0):
        events = make_events(n_events)
        path = tmp_path / f"t{n_events}{suffix}"
        write_table(path, Table(events, {"mine": np.arange(n_events)}), signal=["signal"])
        back = read_table(path, SCHEMA, PROCESSES)
        np.testing.assert_array_equal(back.events.features, events.features)
        np.testing.assert_array_equal(back.events.weights, events.weights)
        np.testing.assert_array_equal(back.events.process, events.process)
        np.testing.assert_array_equal(back.extra["mine"], np.arange(n_events))


def test_metadata_are_in_the_public_layout(tmp_path):
    """The file beside the table tells rows, columns and sums of weights."""
    events = make_events(10)
    write_table(tmp_path / "t.parquet", events)
    metadata = json.loads((tmp_path / "t_metadata.json").read_text())
    assert metadata["total_rows"] == 10
    assert metadata["sum_weights"] == pytest.approx(events.weights.sum())
    assert metadata["sum_weights_by_process"] == pytest.approx(events.sum_weights())


def test_public_sample_is_read_as_it_is(official_sample):
    """The public 31-column file gives 1,000 events whose weights sum to the figure in its metadata."""
    events = read_events(official_sample, HIGGS, PROCESS_NAMES)
    assert len(events) == 1000
    assert events.weights.sum() == pytest.approx(1051433.0, rel=1e-6)
    assert np.bincount(events.process).tolist() == [336, 634, 26, 4]
    assert events["PRI_had_pt"].min() > 20


def frame(**columns) -> pd.DataFrame:
    """A table of two valid rows, with columns replaced or added."""
    return pd.DataFrame({"x": [1.0, 2.0], "n": [0.0, 1.0], "weights": [1.0, 1.0]} | columns)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (frame().rename(columns={"n": "nn"}), r"1 missing column\(s\): n \(is it 'nn'\?\)"),
        (frame().drop(columns=["x", "n"]), r"2 missing column\(s\): x, n"),
        (frame(x=[1.0, np.nan]), "column x has 1 NaN or infinite"),
        (frame(x=[np.inf, -np.inf]), "column x has 2 NaN or infinite"),
        (frame(weights=[1.0, np.nan]), "column weights has 1 NaN"),
        (frame(x=["a", "b"]), "column x must hold numbers"),
        (frame(detailed_labels=["signal", "higgs"]), "unknown process 'higgs' .* known: signal, background"),
    ],
)
def test_bad_tables_are_refused(tmp_path, table, message):
    """Missing, renamed, non-finite and non-numeric columns are named, and so are unknown processes."""
    table.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(InvalidDataError, match=message):
        read_table(tmp_path / "bad.parquet", SCHEMA, PROCESSES)


def test_files_that_cannot_be_read(tmp_path):
    """A missing file, a wrong ending and a damaged file each say what is wrong."""
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(StorageError, match="no such file"):
        read_table(tmp_path / "no.parquet", SCHEMA, PROCESSES)
    with pytest.raises(InvalidDataError, match=r"must end in \.parquet or \.root"):
        read_table(tmp_path / "t.csv", SCHEMA, PROCESSES)
    with pytest.raises(StorageError, match=r"cannot read .*bad.parquet"):
        read_table(tmp_path / "bad.parquet", SCHEMA, PROCESSES)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")  # noqa: PTH110
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    """When the disk is full the error says so, and a file written before is still whole."""
    path = tmp_path / "t.parquet"
    write_table(path, make_events(10))
    before = path.read_bytes()
    monkeypatch.setattr("fairuniverse.files.uuid4", lambda: UUID(int=1))
    (tmp_path / f".t.{UUID(int=1).hex}.unfinished.parquet").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"cannot write .*t\.parquet: .*[Nn]o space left.*free some space"):
        write_table(path, make_events(1_000_000))
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_subset_is_pointed_out(tmp_path, caplog):
    """Weights that do not sum to what the metadata promise are pointed out."""
    path = tmp_path / "t.parquet"
    write_table(path, make_events(10))
    metadata = json.loads((tmp_path / "t_metadata.json").read_text())
    (tmp_path / "t_metadata.json").write_text(json.dumps(metadata | {"sum_weights": 1e6}))
    read_events(path, SCHEMA, PROCESSES)
    assert "is it a subset" in caplog.text
