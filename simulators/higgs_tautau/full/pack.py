"""Pack blocks of recoil records into a library for the fast simulation.

Make the blocks first (resumable, any number of processes), then::

    fairuniverse simulate --simulator higgs_tautau.recoil --events 64000 --workers 2 --output blocks
    python -m fairuniverse.simulators.higgs_tautau.full.pack blocks library --records 64000

and use it with the option ``recoil=library`` of the simulator.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairuniverse.errors import StorageError
from fairuniverse.seeding import generator

from ..fast import quantised as q
from ..fast.library import DECAY, POLARISATIONS, write_columns
from ..world import PROCESS_NAMES
from . import taus
from .arrays import Booleans, Floats, Integers
from .cards import DetectorCard, digest_of
from .recoil import COLUMNS

N_DECAYS = 8192
"""Hadronic tau decays of a library, and leptonic ones of each polarisation."""

ROOM = 0.98
"""Thresholds of what can be selected are lowered by this factor, for the jitter of a byte."""


def pack(blocks: Path, library: Path, *, n_records: int | None = None) -> dict[str, int]:
    """Write the library of a folder of blocks; returns the number of records of each process.

    Args:
        blocks: Folder of finished blocks.
        library: Folder to write.
        n_records: At most so many records of each process, see `thin`; all if not given.

    Raises:
        StorageError: The folder holds no blocks, or cannot be read; or the library cannot be written.
    """
    manifest = _read_json(blocks / "manifest.json")
    card = DetectorCard.model_validate(manifest["source"]["cards"]["detector"])
    about = {"digest": manifest["digest"], "seed": manifest["seed"], "detector": digest_of(card)}
    about["libraries"] = manifest["source"]["libraries"]
    numbers = {}
    for process in PROCESS_NAMES:
        if (blocks / process).is_dir():
            rows, statistics = _read_blocks(blocks / process)
            path = library / f"{process}.parquet"
            numbers[process] = pack_process(rows, card, path, {**about, **statistics}, n_records)
    if not numbers:
        raise StorageError(f"{blocks} holds no blocks: make them with higgs_tautau.recoil")
    write_columns(library / "decays.parquet", decay_columns(seed=int(manifest["seed"])), about)
    return numbers


def pack_process(
    rows: Floats, card: DetectorCard, path: Path, manifest: Mapping[str, Any], n_records: int | None = None
) -> int:
    """Write the records of one process that can be selected; returns their number.

    Args:
        rows: Records, shape (len(COLUMNS), n_records).
        card: The detector.
        path: File to write.
        manifest: What it says of itself.
        n_records: At most so many.
    """
    bounds, branching = selection_bounds(rows, card)
    weights = thin(rows[0] * bounds * branching, rows.shape[1] if n_records is None else n_records)
    chosen = _alike_together(rows, np.flatnonzero(weights > 0))
    columns = dict(zip(q.BYTES, encode(rows[:, chosen]).T, strict=True))
    extra = {"weight": weights[chosen].astype(np.float32), "bound": bounds[chosen].astype(np.float32)}
    write_columns(path, {**columns, **extra}, manifest)
    return len(chosen)


def thin(weights: Floats, n: int) -> Floats:
    """New weights, of which at most n are not zero, with the same sum and about the same meaning.

    Those below a threshold are kept with a probability in proportion to them, and then have the threshold as
    weight; those above keep theirs (systematic sampling: Madow, Ann. Math. Stat. 20 (1949) 333). A library
    made in this way of more blocks has the same size, and more of the heavy records, each drawn less often.
    """
    if np.count_nonzero(weights) <= n:
        return weights
    low, high = 0.0, float(weights.max()) * len(weights)
    for _ in range(200):  # sum of min(1, w / threshold) is n at the threshold, and falls with it
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.minimum(weights / middle, 1).sum() > n else (low, middle)
    expected = np.cumsum(np.minimum(weights / high, 1))
    kept = np.diff(np.floor(expected + 0.5), prepend=0.0) > 0
    thinned: Floats = np.where(kept, np.maximum(weights, high), 0.0)
    thinned *= weights.sum() / thinned.sum()
    return thinned


def _alike_together(rows: Floats, chosen: Integers) -> Integers:
    """Order by the numbers of jets and objects, which compresses better; the order has no meaning."""
    value = dict(zip(COLUMNS, rows[:, chosen], strict=True))
    n_jets = sum(value[f"jet{i}_raw"] > 0 for i in range(q.N_JETS))
    keys = [*(value[f"object{i}_kind"] for i in range(2)), *(value[f"jet{i}_n_tracks"] for i in range(4))]
    return chosen[np.lexsort([value["jet0_raw"], *keys[::-1], n_jets])]


def encode(rows: Floats) -> NDArray[np.uint8]:
    """Bytes of records, shape (n_records, len(BYTES))."""
    value = dict(zip(COLUMNS, rows, strict=True))
    columns = {name: q.SOFT.encode(value[name]) for name in ("soft_x", "soft_y")}
    for i in range(q.N_OBJECTS):
        columns |= _encode_object({n: value[f"object{i}_{n}"] for n in q.OBJECT_BYTES}, f"object{i}_", i == 0)
    tags = np.zeros((q.N_JETS, rows.shape[1]), np.uint8)
    for i in range(q.N_JETS):
        raw, eta, phi, n_tracks, charge = (
            value[f"jet{i}_{n}"] for n in (*q.JET_BYTES, "n_tracks", "tau_charge")
        )
        exists = raw > 0
        columns[f"jet{i}_raw"] = q.RAW.encode(raw)
        columns[f"jet{i}_eta"] = q.JET_ETA.encode(eta) * exists
        columns[f"jet{i}_phi"] = q.PHI.encode(phi) * exists
        tags[i] = np.minimum(n_tracks, 2) + 4 * (charge != 0) + 8 * (charge > 0)
    columns |= {f"tags{i}": tags[2 * i] | tags[2 * i + 1] << 4 for i in range(q.N_JETS // 2)}
    return np.ascontiguousarray(np.stack([columns[name] for name in q.BYTES], axis=1))


def _encode_object(value: Mapping[str, Floats], prefix: str, is_first: bool) -> dict[str, NDArray[np.uint8]]:
    exists, has_extra = value["kind"] > 0, value["extra"] >= q.EXTRA.low
    needs_axis = (value["kind"].astype(int) % q.POSITIVE) == q.TAU_OF_W  # pairs know theirs from each other
    columns = {
        "kind": value["kind"].astype(np.uint8),
        "pt": q.PT.encode(value["pt"]) * exists,
        "eta": q.OBJECT_ETA.encode(value["eta"]) * exists,
        "phi": q.PHI.encode(value["phi"]) * (exists & (not is_first)),
        "axis_cosine": q.COSINE.encode(value["axis_cosine"]) * needs_axis,
        "axis_phi": q.PHI.encode(value["axis_phi"]) * needs_axis,
        "activity": q.ACTIVITY.encode(value["activity"]),
        "extra": q.EXTRA.encode(value["extra"]),
        "extra_deta": q.EXTRA_REACH.encode(value["extra_deta"]) * has_extra,
        "extra_dphi": q.EXTRA_REACH.encode(value["extra_dphi"]) * has_extra,
        "n_tracks": np.minimum(value["n_tracks"], 255).astype(np.uint8),
    }
    return {prefix + name: column for name, column in columns.items()}


def selection_bounds(rows: Floats, card: DetectorCard) -> tuple[Floats, Floats]:
    """Largest probability of exactly one tag in events of each record, and branching fraction of its decays.

    The bound is zero where no lepton can pass its threshold. Decays without a lepton are not made of a pair
    of taus alone, nor those of a Z boson to two leptons.
    """
    value = dict(zip(COLUMNS, rows, strict=True))
    objects = [
        {n: value[f"object{i}_{n}"] for n in ("kind", "pt", "eta", "extra")} for i in range(q.N_OBJECTS)
    ]
    kinds = [o["kind"].astype(int) % q.POSITIVE for o in objects]
    gives_lepton = [_can_be_lepton(o, card) for o in objects]
    bounds = np.zeros(rows.shape[1])
    for i, o in enumerate(objects):
        has_other = np.any([gives_lepton[j] for j in range(q.N_OBJECTS) if j != i], axis=0)
        bounds += max(card.tau_tag.efficiency) * (_can_be_tau(o, card) & (kinds[i] >= q.TAU_OF_W) & has_other)
        bounds += 0.5 * max(card.tau_tag.mistag) * (o["pt"] + o["extra"] > 0.75 * card.jets.min_raw_pt)
    for i in range(q.N_JETS):
        raw, n_tracks, charge = (value[f"jet{i}_{n}"] for n in ("raw", "n_tracks", "tau_charge"))
        bounds += _tag_probability(raw, n_tracks, charge, card)
    is_alone = (kinds[0] == kinds[1]) & (kinds[0] >= q.TAU_OF_Z) & (kinds[2] == 0)
    at_least_one = 1 - (1 - taus.B_LEPTONIC) ** 2
    branching = np.where(kinds[0] == q.TAU_OF_H, at_least_one, taus.B_LEPTON_HADRON)
    return np.minimum(bounds, 1) * np.any(gives_lepton, axis=0), np.where(is_alone, branching, 1.0)


def _can_be_lepton(o: Mapping[str, Floats], card: DetectorCard) -> Booleans:
    threshold, reach = card.selection.lepton_pt - 2, card.selection.lepton_eta + 0.1
    return (o["kind"] > 0) & (o["pt"] > threshold) & (np.abs(o["eta"]) < reach)


def _can_be_tau(o: Mapping[str, Floats], card: DetectorCard) -> Booleans:
    """Whether the jet of a hadronic tau can pass the threshold; its calorimeters may measure too much."""
    threshold, reach = card.jets.min_raw_pt, card.tau_tag.max_eta + 0.25
    is_hard = (o["pt"] > 0.775 * threshold) | (o["pt"] + o["extra"] > threshold)
    return is_hard & (np.abs(o["eta"]) < reach)


def _tag_probability(raw: Floats, n_tracks: Floats, charge: Floats, card: DetectorCard) -> Floats:
    """Of a jet of the environment, with a charge opposite to the lepton's."""
    tag = card.tau_tag
    true, fake = (np.where(n_tracks == 1, p[0], p[1]) for p in (tag.efficiency, tag.mistag))
    passes = (raw > ROOM * card.jets.min_raw_pt) & (n_tracks > 0)
    p: Floats = np.where(charge != 0, true, 0.5 * fake) * passes
    return p


def decay_columns(*, seed: int) -> dict[str, NDArray[Any]]:
    """Decays of a tau- at rest in float16: charged hadrons first, then neutral pions; and leptons."""
    rng = generator(seed, "recoil:decays")
    templates = taus.hadronic_templates(N_DECAYS, rng=rng)
    decays = np.zeros(N_DECAYS, DECAY)
    decays["polarimeter"] = templates.polarimeter
    for k in range(N_DECAYS):
        photons = templates.products[k, templates.pdg[k] == 22, :3]
        charged = templates.products[k, (templates.pdg[k] != 22) & (templates.pdg[k] != 0), :3]
        visible = np.concatenate([charged, photons[::2] + photons[1::2]])
        decays["n_charged"][k], decays["n_visible"][k] = len(charged), len(visible)
        decays["p"][k, : len(visible)] = visible
    momenta = {f"p{i}_{axis}": decays["p"][:, i, k] for i in range(4) for k, axis in enumerate("xyz")}
    columns = {"polarimeter": decays["polarimeter"], **momenta}
    for name, polarisation in zip(POLARISATIONS, (-1, 1), strict=True):
        columns[f"{name}_x"], columns[f"{name}_cosine"] = leptons(N_DECAYS, polarisation, rng=rng)
    counts = {n: decays[n].astype(np.uint8) for n in ("n_charged", "n_visible")}
    return {n: c.astype(np.float16) for n, c in columns.items()} | counts


def leptons(n: int, polarisation: int, *, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Energy over the largest, and cosine in the helicity frame, of leptons from polarised taus.

    With x and c distributed as 2 x^2 (3 - 2 x) (1 + P c (1 - 2 x) / (3 - 2 x)) / 2, the part z = x (1 + c) /
    2 of the momentum of a fast tau has density (5 - 9 z^2 + 4 z^3 + P (1 - 9 z^2 + 8 z^3)) / 3. One z is
    drawn in each of n parts of equal probability, then x given z.
    """
    grid = np.linspace(0, 1, 4097)
    cumulative = (5 * grid - 3 * grid**3 + grid**4 + polarisation * (grid - 3 * grid**3 + 2 * grid**4)) / 3
    z = np.interp((np.arange(n) + rng.random(n)) / n, cumulative, grid)

    def area(x: Floats) -> Floats:
        """Integral of the density of x given z, without its norm."""
        even = 1.5 * x**2 - 2 / 3 * x**3
        odd = 2 * z * x - (0.5 + 2 * z) * x**2 + 2 / 3 * x**3
        total: Floats = even + polarisation * odd
        return total

    low, high = z.copy(), np.ones(n)
    target = area(low) + rng.random(n) * (area(high) - area(low))
    for _ in range(40):
        middle = 0.5 * (low + high)
        is_below = area(middle) < target
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    x = 0.5 * (low + high)
    return x, np.clip(2 * z / x - 1, -1, 1)


def _read_blocks(folder: Path) -> tuple[Floats, dict[str, Any]]:
    """Records of all finished blocks, their numbers, and sums of what they say of themselves."""
    import pyarrow.parquet as pq

    parts: list[Floats] = []
    statistics: dict[str, Any] = {"blocks": [], "n_tried": 0.0, "cpu_s": 0.0}
    for path in sorted(folder.glob("block-*_metadata.json")):
        numbers = _read_json(path)
        table = pq.read_table(path.with_name(f"block-{numbers['block']:06d}.parquet"), columns=list(COLUMNS))
        parts.append(np.stack([table[name].to_numpy() for name in COLUMNS]).astype(np.float64))
        statistics["blocks"].append(numbers["block"])
        statistics["cross_section_fb"] = numbers["cross_section_fb"]
        for name in ("n_tried", "cpu_s"):
            statistics[name] += numbers[name]
    if not parts:
        raise StorageError(f"{folder} has no finished block: make some with higgs_tautau.recoil")
    return np.concatenate(parts, axis=1), statistics


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path} ({error}): give a folder of finished blocks") from error
    return content


def _positive(text: str) -> int:
    """A whole number above zero of the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="pack", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("blocks", type=Path, help="folder of blocks of higgs_tautau.recoil")
    parser.add_argument("library", type=Path, help="folder to write")
    parser.add_argument("--records", type=_positive, help="at most so many of each process; default all")
    options = parser.parse_args()
    for process, n in pack(options.blocks, options.library, n_records=options.records).items():
        size = (options.library / f"{process}.parquet").stat().st_size
        print(f"{process}: {n:,} records, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
