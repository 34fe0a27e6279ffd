"""Random Higgs-world events, and what the nuisance parameters do to them written again in plain NumPy."""

import numpy as np
from fairuniverse.simulators.higgs_tautau.schema import SCHEMA
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES

from fairuniverse.events import Events

MISSING = -25.0
SHAPES = {"tes": 1.02, "jes": 0.97, "soft_met": 2.0}


def _direction(rng, n, width):
    return rng.normal(0, width, n), rng.uniform(-np.pi, np.pi, n)


def random_record(n_events, seed=0):
    """Records, shape (32, n_events): leptons from 18 GeV, taus and jets around their thresholds."""
    rng = np.random.default_rng(seed)
    record = np.zeros((32, n_events))
    record[0] = 18 + rng.exponential(20, n_events)
    record[1:3] = _direction(rng, n_events, 1.1)
    record[3] = 20 + rng.exponential(15, n_events)
    record[4:6] = _direction(rng, n_events, 1.1)
    record[6:8] = rng.normal(0, 20, (2, n_events))
    n_jets = np.minimum(rng.poisson(1.3, n_events), 8)
    for i in range(8):
        exists = n_jets > i
        record[8 + 3 * i] = np.where(exists, 18 + rng.exponential(20, n_events), 0)
        record[9 + 3 * i : 11 + 3 * i] = np.where(exists, _direction(rng, n_events, 1.9), 0)
    return record.astype(np.float32)


def random_table(n_events, seed=0):
    """Primary features, shape (16, n_events), with consistent jet counts."""
    return reference_detector(random_record(n_events, seed), apply_selection=False)[0][:16].astype(np.float32)


def events_of(primary, record=None, weights=None, process=None):
    """Events with these primary features; the derived ones are zero, no mode reads them."""
    features = np.zeros((28, np.shape(primary)[1]), dtype=np.float32)
    features[:16] = primary
    return Events(SCHEMA, features, weights, process, PROCESS_NAMES if process is not None else (), record)


def simulated(n_events, seed=0):
    """Events with a record and its nominal features."""
    record = random_record(n_events, seed)
    return events_of(reference_detector(record, apply_selection=False)[0][:16], record)


def pool_of(counts, yields, seed=0, spread=0.0):
    """Labelled pool: a number of rows per process, weights that sum to the yields, with a relative spread."""
    rng = np.random.default_rng(seed)
    process = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    weights = rng.uniform(1 - spread, 1 + spread, len(process))
    sums = np.bincount(process, weights, len(counts))
    weights *= (np.asarray(yields) / np.where(sums > 0, sums, 1))[process]
    record = random_record(len(process), seed)
    return events_of(random_table(len(process), seed), record, weights, process)


def _calibrated(raw, eta):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(raw > 0, raw * np.sqrt((3 - 0.2 * np.abs(eta)) ** 2 / raw + 1), 0.0)


def with_derived(primary):
    """The 28 features, from the 16 primary ones."""
    lep, had, jet1, jet2 = (primary[i : i + 3] for i in (0, 3, 6, 9))
    n_jets, all_pt, met, met_phi = primary[12:]

    def xy(obj, exists=True):
        pt = np.where(exists, obj[0], 0.0)
        return np.stack([pt * np.cos(obj[-1]), pt * np.sin(obj[-1])])

    def mass(a, b):
        return np.sqrt(2 * np.abs(a[0] * b[0] * (np.cosh(a[1] - b[1]) - np.cos(a[2] - b[2]))))

    missing = np.stack([met * np.cos(met_phi), met * np.sin(met_phi)])
    higgs = xy(lep) + xy(had) + missing
    pair = n_jets >= 2
    delta_phi = np.abs((lep[2] - had[2] + np.pi) % (2 * np.pi) - np.pi)
    sign = np.sign(np.sin(had[2] - lep[2]))
    a, b = np.sin(met_phi - lep[2]) * sign, np.sin(had[2] - met_phi) * sign
    gap = np.where(pair & (jet1[1] != jet2[1]), jet1[1] - jet2[1], 1.0)
    centre = 0.5 * (jet1[1] + jet2[1])
    derived = [
        np.sqrt(2 * lep[0] * met * (1 - np.cos(lep[2] - met_phi))),
        mass(lep, had),
        np.hypot(*higgs),
        np.where(pair, np.abs(jet1[1] - jet2[1]), MISSING),
        np.where(pair, mass(jet1, jet2), MISSING),
        np.where(pair, jet1[1] * jet2[1], MISSING),
        np.hypot(lep[1] - had[1], delta_phi),
        np.hypot(*(higgs + xy(jet1, n_jets >= 1) + xy(jet2, pair))),
        lep[0] + had[0] + all_pt,
        lep[0] / had[0],
        (a + b) / np.hypot(a, b),
        np.where(pair, np.exp(-4 * ((lep[1] - centre) / gap) ** 2), MISSING),
    ]
    return np.concatenate([primary, derived])


def reference_detector(record, tes=1.0, jes=1.0, soft_met=0.0, noise=None, apply_selection=True):
    """Features and surviving rows in ``detector`` mode, in double precision."""
    record = record.astype(np.float64)
    n = record.shape[1]
    had_pt = _calibrated(record[3] * tes, record[4])
    met = record[6:8].copy()
    change = (tes - 1) * _calibrated(record[3], record[4])
    met -= change * np.stack([np.cos(record[5]), np.sin(record[5])])
    raw, eta, phi = record[8::3], record[9::3], record[10::3]
    passes = raw * jes > 20
    change = np.where(passes, (jes - 1) * _calibrated(raw, eta), 0)
    met -= np.stack([(change * np.cos(phi)).sum(0), (change * np.sin(phi)).sum(0)])
    if noise is not None:
        met += soft_met * noise
    pt = np.where(passes, _calibrated(raw * jes, eta), 0)
    pt = np.where(pt > (26 if apply_selection else 0), pt, 0)
    order = np.argsort(-pt, axis=0, kind="stable")[:2]
    listed = np.stack([np.take_along_axis(x, order, 0) for x in (pt, eta, phi)], axis=1)
    listed = np.where(listed[:, :1] > 0, listed, MISSING).reshape(6, n)
    primary = np.concatenate(
        [
            record[:3],
            [had_pt],
            record[4:6],
            listed,
            [(pt > 0).sum(0), pt.sum(0), np.hypot(*met)],
            [np.arctan2(*met[::-1])],
        ]
    )
    rows = np.arange(n)
    if apply_selection:
        rows = np.flatnonzero((had_pt > 26) & (record[0] >= 20))
    return with_derived(primary[:, rows]), rows


def reference_posthoc(primary, tes=1.0, jes=1.0, soft_met=0.0, noise=None):
    """Features and surviving rows in ``posthoc`` mode, in double precision."""
    p = primary.astype(np.float64)
    met = np.stack([p[14] * np.cos(p[15]), p[14] * np.sin(p[15])])
    for obj, exists, scale in ((3, True, tes), (6, p[12] >= 1, jes), (9, p[12] >= 2, jes)):
        change = np.where(exists, (scale - 1) * p[obj], 0)
        met -= change * np.stack([np.cos(p[obj + 2]), np.sin(p[obj + 2])])
        p[obj] = np.where(exists, p[obj] * scale, p[obj])
    if noise is not None:
        met += soft_met * noise
    has1 = (p[12] >= 1) & (p[6] > 26)
    has2 = has1 & (p[12] >= 2) & (p[9] > 26)
    p[13] = np.where(has2, p[13] * jes, np.where(has1, p[6], 0))
    p[12] = np.where(has2, p[12], has1)
    p[6:9] = np.where(has1, p[6:9], MISSING)
    p[9:12] = np.where(has2, p[9:12], MISSING)
    p[14], p[15] = np.hypot(*met), np.arctan2(*met[::-1])
    rows = np.flatnonzero((p[3] > 26) & (p[0] >= 20))
    return with_derived(p[:, rows]), rows
