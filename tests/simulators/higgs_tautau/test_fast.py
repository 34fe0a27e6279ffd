"""The fast generator: streams, tau decays, balance, selection."""

import contextlib
import itertools

import numpy as np
import pytest
from fairuniverse.simulators.higgs_tautau.compiled import INSTRUCTION_SETS
from fairuniverse.simulators.higgs_tautau.fast import BLOCK_EVENTS, blocks, generate_block, generate_records
from fairuniverse.simulators.higgs_tautau.fast.blocks import sample_tau_pairs, use
from fairuniverse.simulators.higgs_tautau.systematics import nominal_features
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES

from fairuniverse.errors import InvalidDataError
from higgs_events import reference_detector

N_PAIRS = 200_000
FOUR_SIGMA = 4.0  # false-alarm rate 6e-5 per look; seeds are fixed, so a passing test stays so


@pytest.fixture(scope="module")
def records():
    """Twenty thousand records of each process."""
    return {p: generate_block(p, 20_000, seed=11) for p in PROCESS_NAMES}


def jets_of(record):
    """Raw pt, eta and phi of the jets, each of shape (8, n_events)."""
    return record[8::3], record[9::3], record[10::3]


def delta_phi(a, b):
    """Difference of azimuths in [-pi, pi]."""
    return (a - b + np.pi) % (2 * np.pi) - np.pi


class TestStreams:
    """What the bytes depend on."""

    @pytest.mark.parametrize("process", PROCESS_NAMES)
    def test_block_is_a_pure_function(self, process):
        """The same arguments give the same bytes."""
        first, second = (generate_block(process, 500, seed=3, block=2) for _ in range(2))
        assert first.tobytes() == second.tobytes()

    @pytest.mark.parametrize("other", [{"seed": 4}, {"purpose": "toys"}, {"block": 1}])
    def test_streams_differ(self, other):
        """Another seed, purpose or block gives other events."""
        key = {"seed": 3, "purpose": "pool", "block": 0}
        a, b = (generate_block("ztautau", 500, **k) for k in (key, key | other))
        assert not np.isin(a[0], b[0]).any()

    def test_prefix(self):
        """The first events of a block do not depend on how many follow."""
        long = generate_block("ttbar", 300, seed=1)
        assert np.array_equal(generate_block("ttbar", 100, seed=1), long[:, :100])

    def test_threads(self):
        """Any number of threads gives the same bytes: those of the blocks, one after the other."""
        numbers = [("ztautau", BLOCK_EVENTS + 700), ("htautau", 300)]
        one, three = (generate_records(numbers, seed=5, n_threads=n) for n in (1, 3))
        assert one.tobytes() == three.tobytes()
        assert np.array_equal(one[:, BLOCK_EVENTS:-300], generate_block("ztautau", 700, seed=5, block=1))
        assert np.array_equal(one[:, -300:], generate_block("htautau", 300, seed=5))

    @pytest.mark.parametrize("process", PROCESS_NAMES)
    def test_instruction_sets(self, process):
        """Every instruction set of this machine gives the same bytes; an unknown one is refused."""
        found = []
        try:
            for name in INSTRUCTION_SETS:
                with contextlib.suppress(InvalidDataError):
                    use(name)
                    found.append(generate_block(process, 3000, seed=8).tobytes())
            with pytest.raises(InvalidDataError, match="no instruction set 'sse9'"):
                use("sse9")
        finally:
            blocks._library.cache_clear()
        assert len(set(found)) == 1

    def test_progress_counts_every_event(self):
        """The progress calls add up to the events asked for."""
        done = []
        generate_records([("htautau", 300), ("ttbar", 200)], seed=5, n_threads=2, progress=done.append)
        assert sum(done) == 500

    def test_nothing_asked(self):
        """No events is a valid number of events."""
        assert generate_block("diboson", 0, seed=1).shape == (32, 0)

    @pytest.mark.parametrize(("process", "n"), [("wjets", 10), ("ztautau", -1)])
    def test_bad_requests(self, process, n):
        """An unknown process and a negative number are refused, whichever function is asked."""
        with pytest.raises(InvalidDataError, match=r"wjets|-1"):
            generate_block(process, n, seed=1)
        with pytest.raises(InvalidDataError, match=r"wjets|-1"):
            generate_records([(process, n)], seed=1)


@pytest.fixture(scope="module", params=[False, True], ids=["z", "higgs"])
def is_scalar(request):
    """Whether the tau pair comes from a Higgs."""
    return request.param


@pytest.fixture(scope="module")
def pairs(is_scalar):
    """Decays of tau pairs."""
    return sample_tau_pairs(is_scalar, 50.0, N_PAIRS, seed=2).astype(np.float64)


class TestTauDecays:
    """Tau pairs before any cut, against closed forms."""

    def test_polarisations(self, is_scalar, pairs):
        """Equal for both taus of a Z, -0.147 on average; opposite and symmetric for a Higgs."""
        assert np.array_equal(pairs[3], -pairs[0] if is_scalar else pairs[0])
        expected = 0.0 if is_scalar else -0.147
        assert abs(pairs[0].mean() - expected) < FOUR_SIGMA / np.sqrt(N_PAIRS)

    @pytest.mark.parametrize("polarisation", [-1, 1])
    def test_lepton_direction(self, pairs, polarisation):
        """The mean cosine of the lepton is -P/9 (Michel: x^2 (3 - 2x + P c (1 - 2x)))."""
        cosine = pairs[1][pairs[0] == polarisation]
        assert abs(cosine.mean() + polarisation / 9) < FOUR_SIGMA * cosine.std() / np.sqrt(len(cosine))

    @pytest.mark.parametrize("polarisation", [-1, 1])
    def test_lepton_energy(self, pairs, polarisation):
        """A tau of polarisation P gives its lepton (7 - P) / 20 of its energy on average, up to (m/E)^2."""
        share = pairs[2][pairs[0] == polarisation]
        expected = (7 - polarisation) / 20
        assert abs(share.mean() - expected) < FOUR_SIGMA * share.std() / np.sqrt(len(share)) + 1e-3

    def test_hadron_direction(self, pairs):
        """Hadrons follow the spin with the analysing power of 0.18 pions (1) and 0.42 rhos (0.42)."""
        up, down = (pairs[4][pairs[3] == p].mean() for p in (1, -1))
        assert up == pytest.approx(-down, abs=0.01)
        assert up == pytest.approx((0.183 + 0.42 * 0.42) / 3, abs=0.02)

    def test_energies_are_correlated(self, is_scalar, pairs):
        """Lepton and hadron energies are anticorrelated in Z decays, correlated in Higgs decays."""
        correlation = np.corrcoef(pairs[2], pairs[5])[0, 1] * (1 if is_scalar else -1)
        assert correlation > 2 * FOUR_SIGMA / np.sqrt(N_PAIRS)

    def test_energies_are_physical(self, pairs):
        """No product has more energy than its tau, and none has less than nothing."""
        assert pairs[[2, 5]].min() >= 0
        assert pairs[[2, 5]].max() <= 1 + 1e-5


@pytest.mark.parametrize("process", PROCESS_NAMES)
class TestSelection:
    """Every event is one that the selection accepts."""

    def test_lepton_and_tau(self, records, process):
        """Lepton pt >= 20 GeV, raw tau pt > 20 GeV, both central, apart from each other."""
        r = records[process]
        assert r[0].min() >= 19.9999
        assert r[3].min() > 20
        assert np.abs(r[1]).max() <= 2.5
        assert np.abs(r[4]).max() < 2.75
        assert np.hypot(r[1] - r[4], delta_phi(r[2], r[5])).min() >= 0.4

    def test_jets(self, records, process):
        """Jets have raw pt > 18 GeV, |eta| < 4.9, keep away from lepton and tau, fall in calibrated pt."""
        r = records[process]
        pt, eta, phi = jets_of(r)
        exists = pt > 0
        assert pt[exists].min() > 18
        assert np.abs(eta).max() < 4.9
        assert not eta[~exists].any()
        assert not phi[~exists].any()
        distance = [np.hypot(eta - r[i], delta_phi(phi, r[i + 1]))[exists].min() for i in (1, 4)]
        assert distance[0] > 0.499
        assert distance[1] > 0.599
        calibrated = np.sqrt(pt**2 + (3 - 0.2 * np.abs(eta)) ** 2 * pt)
        assert (np.diff(calibrated, axis=0) < 1e-3).all()

    def test_jets_are_apart(self, records, process):
        """Two jets are never closer than the radius of a jet: they would be one."""
        pt, eta, phi = jets_of(records[process])
        for i, j in itertools.combinations(range(len(pt)), 2):
            both = (pt[i] > 0) & (pt[j] > 0)
            assert np.hypot(eta[i] - eta[j], delta_phi(phi[i], phi[j]))[both].min(initial=9) > 0.599

    def test_values(self, records, process):
        """All values are finite, all azimuths in [-pi, pi]."""
        r = records[process]
        assert np.isfinite(r).all()
        assert np.abs(r[[2, 5, *range(10, 32, 3)]]).max() <= np.float32(np.pi) + 1e-6

    def test_symmetry(self, records, process):
        """No direction is preferred in azimuth, none in eta; no handedness."""
        r = records[process].astype(np.float64)
        for values in (np.cos(r[2]), np.sin(r[2]), r[1], r[4], np.sin(delta_phi(r[2], r[5])), r[6], r[7]):
            assert abs(values.mean()) < FOUR_SIGMA * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("process", PROCESS_NAMES)
def test_features_follow_from_record(records, process):
    """The nominal features of a record are those of an independent double-precision calculation."""
    record = records[process][:, :4000]
    expected = reference_detector(record, apply_selection=False)[0]
    assert np.abs(nominal_features(record) - expected).max() < 0.02


def test_missing_momentum_balances_the_jets(records):
    """The sum of everything visible and missing is small: far smaller than with another event's momentum."""
    record = records["ztautau"]
    has_jets = jets_of(record)[0][0] > 60
    own = record[:, has_jets]
    swapped = own.copy()
    swapped[6:8] = np.roll(own[6:8], 1, axis=1)
    pt_tot = [np.median(nominal_features(r)[23]) for r in (own, swapped)]
    assert pt_tot[0] < 0.5 * pt_tot[1]


def test_z_peak(records):
    """The visible mass of Z events lies below the Z mass, that of Higgs events higher."""
    z, h = (np.median(nominal_features(records[p])[17]) for p in ("ztautau", "htautau"))
    assert 64 < z < 72
    assert 78 < h < 86
