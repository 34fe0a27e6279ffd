"""Events from records of the full chain: streams, symmetries, agreement with the full chain, files."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau
from fairuniverse.simulators.higgs_tautau.fast import Library, fill_block, generate_block, generate_records
from fairuniverse.simulators.higgs_tautau.fast import library as files
from fairuniverse.simulators.higgs_tautau.fast import quantised as q
from fairuniverse.simulators.higgs_tautau.full import FullChain, RecoilChain
from fairuniverse.simulators.higgs_tautau.full.cards import digest_of, read_cards
from fairuniverse.simulators.higgs_tautau.full.pack import leptons
from fairuniverse.simulators.higgs_tautau.schema import SCHEMA
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES
from scipy import stats

from fairuniverse.comparison import compare
from fairuniverse.errors import InvalidConfigError, StorageError
from fairuniverse.seeding import Streams
from fairuniverse.tables import read_events

N_EVENTS = 20_000
MIN_RECORDS = 60_000
FOUR_SIGMA = 4.0  # false-alarm rate 6e-5 per look; seeds are fixed, so a passing test stays so

LOOSE = {"PRI_met", "PRI_jet_leading_pt", "PRI_jet_leading_eta", "DER_pt_tot"}
STRICT = {
    *("PRI_lep_pt", "PRI_lep_eta", "PRI_had_pt", "PRI_had_eta"),
    *("DER_mass_vis", "DER_mass_transverse_met_lep", "DER_pt_h", "DER_deltar_had_lep"),
    *("DER_sum_pt", "DER_pt_ratio_lep_had", "DER_met_phi_centrality"),
}
"""Features whose distributions should be within 0.05 and 0.03 of those of the full chain."""


@pytest.fixture(scope="module")
def library():
    """The library that comes with the package."""
    return Library()


@pytest.fixture(scope="module")
def records(library):
    """Events of each process."""
    return {p: generate_block(p, N_EVENTS, seed=11, recoils=library) for p in PROCESS_NAMES}


@pytest.fixture(scope="module")
def world():
    """The world made of the library, at a thousandth of the luminosity."""

    class SmallWorld(HiggsTauTau):
        @property
        def processes(self):
            return tuple(replace(p, expected_yield=p.expected_yield / 1000) for p in super().processes)

    return SmallWorld(recoil="library")


@pytest.fixture(scope="module")
def sample():
    """The sample of the full chain that comes with the package."""
    return read_events(FullChain().sample, SCHEMA, PROCESS_NAMES)


class TestStreams:
    """What the bytes depend on."""

    @pytest.mark.parametrize("process", PROCESS_NAMES)
    def test_block_is_a_pure_function(self, library, process):
        """The same arguments give the same bytes, from files read anew, too; fewer events the first ones."""
        long, short = (generate_block(process, n, seed=3, recoils=library) for n in (500, 100))
        np.testing.assert_array_equal(short, long[:, :100])
        np.testing.assert_array_equal(generate_block(process, 500, seed=3, recoils=Library()), long)

    @pytest.mark.parametrize("other", [{"seed": 4}, {"purpose": "toys"}, {"block": 1}, {"recoils": None}])
    def test_streams_differ(self, library, other):
        """Another seed, purpose or block gives other events, and so do the tables."""
        key = {"seed": 3, "purpose": "pool", "block": 0, "recoils": library}
        a, b = (generate_block("ztautau", 500, **k) for k in (key, key | other))
        assert not np.isin(a[0], b[0]).any()

    def test_threads(self, library):
        """Any number of threads gives the same bytes."""
        numbers = [(p, 700) for p in PROCESS_NAMES]
        one, three = (generate_records(numbers, seed=5, recoils=library, n_threads=n) for n in (1, 3))
        assert one.tobytes() == three.tobytes()


class TestSimulator:
    """The option ``recoil``."""

    def test_generate(self, world, library):
        """Samples consist of the library's blocks."""
        events = world.generate({"ttbar": 300}, seed=2)
        np.testing.assert_array_equal(events.record, generate_block("ttbar", 300, seed=2, recoils=library))

    def test_prescaled_and_fresh_events(self, world):
        """Prescaled samples and pseudo-experiments are made of it, too, and differ from the tables'."""
        tables = HiggsTauTau().generate({"ztautau": 3000}, seed=2, prescale=5)
        prescaled = world.generate({"ztautau": 3000}, seed=2, prescale=5)
        assert not np.isin(prescaled["PRI_lep_pt"], tables["PRI_lep_pt"]).any()
        one, two = (world.fresh_sampler().sample(1.0, {}, streams=Streams(1, 0), n_threads=n) for n in (1, 2))
        assert one.features.tobytes() == two.features.tobytes()
        assert 700 < len(one) < 1100

    def test_a_folder_of_ones_own(self, library, tmp_path):
        """A folder is a library; one that does not exist is refused."""
        shutil.copytree(library.folder, tmp_path / "mine")
        mine = HiggsTauTau(recoil=str(tmp_path / "mine")).generate({"diboson": 200}, seed=2)
        packaged = HiggsTauTau(recoil="library").generate({"diboson": 200}, seed=2)
        np.testing.assert_array_equal(mine.record, packaged.record)
        with pytest.raises(InvalidConfigError, match=r"no library of recoils at .*nothing"):
            HiggsTauTau(recoil=str(tmp_path / "nothing"))


class TestSymmetries:
    """Nothing tells one direction around or along the beams from the other."""

    @pytest.mark.parametrize("process", PROCESS_NAMES)
    def test_mirrors(self, records, process):
        """Both signs of pseudorapidity and both senses of rotation from lepton to tau are as frequent."""
        record = records[process]
        turn = np.sin(record[5] - record[2])
        for values in (record[1], record[4], record[9][record[8] > 0], turn):
            n_positive = np.count_nonzero(values > 0)
            assert abs(2 * n_positive - len(values)) < FOUR_SIGMA * np.sqrt(len(values))

    @pytest.mark.parametrize("process", PROCESS_NAMES)
    def test_turns(self, records, process):
        """Azimuths of the lepton and of the missing momentum are uniform (p > 1e-4 in eight looks)."""
        record = records[process]
        for phi in (record[2], np.arctan2(record[7], record[6])):
            assert stats.kstest(phi / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-4

    @pytest.mark.parametrize("process", PROCESS_NAMES)
    def test_no_event_twice(self, records, process):
        """Events of one record differ in every number."""
        record = records[process]
        leptons_and_taus = {tuple(column) for column in record[:6].T}
        assert len(leptons_and_taus) == N_EVENTS


class TestAgreement:
    """The full chain's own sample, of other seeds and with decays of its own, is the measure."""

    def test_distances(self, sample):
        """No feature is farther off than its target, or 1.7 times the floor of equal samples (1e-4 each)."""
        fast = HiggsTauTau(recoil="library").generate(dict.fromkeys(PROCESS_NAMES, 60_000), seed=1)
        limits = dict.fromkeys(LOOSE, 0.05) | dict.fromkeys(STRICT, 0.03)
        far = {
            (d.process, d.feature): d.ks
            for d in compare(fast, sample, with_classifier=False).distances
            if d.feature in limits and d.ks > max(limits[d.feature], 1.7 * d.ks_floor)
        }
        assert far == {}

    @pytest.mark.parametrize("process", PROCESS_NAMES)
    def test_acceptance(self, library, sample, process):
        """It is the full chain's within 5 % and three standard errors of the latter (false alarms: 0.3 %)."""
        metadata = FullChain().sample.with_name("events_metadata.json")
        full = json.loads(metadata.read_text())["production"][process]["acceptance"]
        weights = sample.of_process(process).weights
        error = 1 / np.sqrt(weights.sum() ** 2 / (weights**2).sum())
        out = np.empty((32, N_EVENTS), np.float32)
        key = {"seed": 1, "purpose": "acceptance", "block": 0}
        n_candidates = fill_block(out, 0, N_EVENTS, process, **key, recoils=library)
        assert abs(library.share(process) * N_EVENTS / n_candidates / full - 1) < 0.05 + 3 * error

    def test_selection(self, records):
        """Every event has a lepton and a tau above threshold and in reach, and jets in order."""
        for record in records.values():
            assert record[0].min() > 20
            assert np.abs(record[1]).max() < 2.5
            assert record[3].min() > 20
            assert np.abs(record[4]).max() < 2.7
            raw, eta = record[8::3].astype(np.float64), record[9::3]
            pt = np.where(raw > 0, np.sqrt(raw * (raw + (3 - 0.2 * np.abs(eta)) ** 2)), 0)
            assert (np.diff(pt, axis=0) < 1e-3).all()
            assert raw[raw > 0].min() > 18


class TestDecays:
    """Leptons of polarised taus."""

    @pytest.mark.parametrize("polarisation", [-1, 1])
    def test_densities(self, polarisation):
        """Energies follow Michel's spectrum, mean 0.7; the tau's momentum is shared as the formula has it."""
        x, c = leptons(50_000, polarisation, rng=np.random.default_rng(1))
        assert stats.kstest(x, lambda x: 2 * x**3 - x**4).pvalue > 1e-4
        a = polarisation * (1 - 2 * x) / (3 - 2 * x)
        assert stats.kstest((c + 1) / 2 + a * (c * c - 1) / 4, "uniform").pvalue > 1e-4

    def test_their_order(self, library):
        """The generator gets them in the order of that share."""
        decays = files.read_decays(library.folder / "decays.parquet")
        assert (np.diff(decays.shares, axis=1) >= 0).all()
        assert decays.shares.mean(axis=1) == pytest.approx([0.4, 0.3], abs=0.002)


class TestBytes:
    """Values as steps."""

    @pytest.mark.parametrize(
        ("scale", "values", "step"),
        [
            (q.PT, np.geomspace(5.01, 1000, 500), 0.022),
            (q.RAW, np.geomspace(16.01, 1500, 500), 0.019),
        ],
    )
    def test_logarithmic(self, scale, values, step):
        """A value lies within the step of its byte; below the lowest there is none."""
        codes = scale.encode(values).astype(float)
        assert (np.abs(np.log(values / scale.low) / step - codes + 0.5) <= 0.5 + 1e-9).all()
        assert scale.encode(np.array([0.0, 0.99 * scale.low])).tolist() == [0, 0]

    def test_signed(self):
        """Signed values lie within their steps, too; larger ones have the last."""
        values = np.linspace(-150, 150, 501)
        edges = q.SOFT.low * np.sinh(
            q.SOFT.step * (q.SOFT.encode(values).astype(float)[:, None] - [128, 127])
        )
        assert ((edges[:, 0] <= values + 1e-9) & (values <= edges[:, 1] + 1e-9)).all()
        assert q.JET_ETA.encode(np.array([-9.0, -4.9, 0.0, 4.8999, 9.0])).tolist() == [0, 0, 128, 255, 255]


class TestFiles:
    """What the package holds, and what is refused."""

    def test_the_packaged_library(self, library):
        """It was made with the packaged cards, holds records enough for each process, and is small."""
        for process in PROCESS_NAMES:
            found = files.read_records(library.folder / f"{process}.parquet")
            assert found.manifest["digest"] == RecoilChain().digest
            assert len(found) > MIN_RECORDS
            assert (found.bounds > 0).all()
            assert (found.bounds <= 1).all()
        assert sum(p.stat().st_size for p in library.folder.iterdir()) < 5e6

    def test_the_detector(self):
        """The response in the generator is that of the packaged card; after a change of it, change both."""
        assert digest_of(read_cards().detector) == files.DETECTOR

    def test_damage(self, library, tmp_path):
        """Damaged, foreign and missing files are told apart, and nothing is made of them."""
        columns, manifest = files.read_columns(library.folder / "diboson.parquet")
        path = tmp_path / "diboson.parquet"
        with pytest.raises(StorageError, match="cannot read"):
            files.read_records(path)
        files.write_columns(path, columns, {**manifest, "detector": "another"})
        with pytest.raises(InvalidConfigError, match="another detector card"):
            files.read_records(path)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(StorageError, match="cannot read"):
            files.read_records(path)

    def test_content(self, library, tmp_path, monkeypatch):
        """A file whose content is not what its manifest says is refused, and so is one of another format."""
        columns, manifest = files.read_columns(library.folder / "decays.parquet")
        path = tmp_path / "decays.parquet"
        with monkeypatch.context() as patched:
            patched.setattr(files, "content_digest", lambda *arrays: "0" * 32)
            files.write_columns(path, columns, manifest)
        with pytest.raises(StorageError, match="damaged"):
            files.read_decays(path)
        monkeypatch.setattr(files, "FORMAT", 2)
        with pytest.raises(StorageError, match="has format 1, this version reads 2"):
            files.read_decays(library.folder / "decays.parquet")

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        """The message names the file."""
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match=r"cannot write .*ztautau\.parquet"):
            files.write_columns(tmp_path / "file" / "ztautau.parquet", {"a": np.zeros(3, np.uint8)}, {})
