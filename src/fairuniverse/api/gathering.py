"""Finished runs of many submissions, gathered for tables and leaderboards."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairuniverse import registry
from fairuniverse.errors import FairUniverseError, StorageError

if TYPE_CHECKING:
    from fairuniverse.protocols import ScoreValue
    from fairuniverse.reporting.standings import Block, Standing
    from fairuniverse.results import Results
    from fairuniverse.scoring.card import ScoreCard
    from fairuniverse.store import Place, Where


@dataclass(frozen=True)
class Run:
    """A run folder that could be read."""

    folder: Place
    results: Results

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Its provenance."""
        return self.results.manifest

    @property
    def submission(self) -> str:
        """Name of the submission."""
        return str(self.manifest["submission"]["name"])

    @property
    def finished(self) -> str:
        """When it ended; empty if it did not."""
        return str(self.manifest.get("finished", ""))


def write_table(paths: Sequence[Where], *, output: Path | None = None, update: Path | None = None) -> str:
    """One table of finished runs, written to a file or into a file that has the two markers.

    Args:
        paths: Run folders, or folders with run folders anywhere below them; of any benchmarks, by path or
            URL.
        output: File to write, ``.md``, ``.csv`` or ``.json``.
        update: Markdown file in which the table stands between two markers (see
            `fairuniverse.reporting.standings`).

    Returns:
        The table as Markdown.

    Raises:
        InvalidDataError: The file's name ends otherwise, or the markers are not there.
        StorageError: There is no run, or a file cannot be read or written.
    """
    from fairuniverse.reporting.standings import render, to_markdown, updated

    blocks, problems = gather(paths)
    table = to_markdown(blocks, problems)
    if output is not None:
        _write(output, render(blocks, output.suffix))
    if update is not None:
        _write(update, updated(_read(update), table))
    return table


def gather(paths: Sequence[Where]) -> tuple[list[Block], list[str]]:
    """Blocks of finished runs on the same toys, and what could not be read.

    Raises:
        StorageError: There is no run at any of the paths.
    """
    runs, problems = read_runs(paths)
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.manifest["benchmark_digest"], toys_digest(run.results)), []).append(run)
    public = _public_configs()
    return [_block(toys, group, public.get(digest)) for (digest, toys), group in groups.items()], problems


def read_runs(paths: Sequence[Where]) -> tuple[list[Run], list[str]]:
    """Runs at or anywhere below the paths, and the messages of those that cannot be read.

    Raises:
        StorageError: There is no run.
    """
    from fairuniverse.store import naming_damage, read_results, runs_below

    folders = list(dict.fromkeys(folder for path in paths for folder in runs_below(path)))
    if not folders:
        raise StorageError(f"no run at {', '.join(map(str, paths))}: expected folders with manifest.json")
    runs, problems = [], []
    for folder in folders:
        try:
            with naming_damage(folder):
                runs.append(Run(folder, read_results(folder)))
        except FairUniverseError as error:
            problems.append(str(error))
    return runs, problems


def toys_digest(results: Results) -> str:
    """SHA-256 of the true values of all toys: equal digests mean the same pseudo-experiments."""
    from fairuniverse.results import NUISANCE_PREFIX

    columns = ["i_mu", "i_toy", "mu_true", *(NUISANCE_PREFIX + n for n in sorted(results.nuisance_names))]
    values = results.table[columns].to_numpy(dtype="float64")
    return hashlib.sha256(f"{columns}".encode() + values.tobytes()).hexdigest()


def _public_configs() -> dict[str, str]:
    """Names of the configurations whose seeds everybody knows, by digest."""
    from fairuniverse.config import load_config

    return {load_config(registry.find_config(name)).digest(): name for name in registry.configs()}


def _block(toys: str, runs: Sequence[Run], public: str | None) -> Block:
    from fairuniverse.reporting.standings import Block, by_quality

    finished = [run for run in runs if not _unfinished(run)]
    standings = by_quality(_with_ratios(finished, is_public=public is not None))
    first = runs[0]
    benchmark = first.manifest["benchmark"]
    submissions = list(dict.fromkeys(s.submission for s in standings))
    table = first.results.table
    return Block(
        benchmark=str(benchmark["name"]),
        version=str(benchmark["version"]),
        digest=str(first.manifest["benchmark_digest"]),
        toys=toys,
        seed=benchmark["config"].get("seed") if public else None,
        n_sets=int(table["i_mu"].nunique()),
        n_toys=len(table),
        mu_range=first.results.mu_range,
        confidence_level=first.results.confidence_level,
        software=tuple(sorted({str(run.manifest["versions"]["fairuniverse"]) for run in runs})),
        command=shlex.join(["fairuniverse", "run", public or "CONFIG", *submissions, "--output", "runs"])
        + " && fairuniverse table runs",
        standings=standings,
        left_out=tuple(filter(None, map(_unfinished, runs))),
    )


def _unfinished(run: Run) -> str:
    """Why a run is no finished one; empty if it is."""
    n_missing = int((run.results.table["status"] == "missing").sum())
    if n_missing:
        return f"{run.submission}, {n_missing:,} of {len(run.results.table):,} toys have no answer yet"
    return "" if run.finished else f"{run.submission}, stopped before its end"


def _with_ratios(runs: Sequence[Run], *, is_public: bool) -> list[Standing]:
    """Standings of runs on the same toys, with their widths over those of the reference methods."""
    from fairuniverse.reporting.standings import EXACT, ORACLE
    from fairuniverse.scoring.matched_width import matched_width_ratio

    references = {
        column: max(named, key=lambda run: run.finished)
        for column, name in (("width_over_oracle", ORACLE), ("width_over_exact", EXACT))
        if (named := [run for run in runs if run.submission == name and _is_reference(run)])
    }
    standings = []
    for run, name in zip(runs, _distinct_names(runs), strict=True):
        ratios = {c: matched_width_ratio(run.results, ref.results) for c, ref in references.items()}
        standing = _standing(run, name, is_public)
        standings.append(replace(standing, scores={**standing.scores, **ratios}))
    return standings


def _distinct_names(runs: Sequence[Run]) -> list[str]:
    names = [run.submission for run in runs]
    return [
        f"{n} [{run.folder.name}]" if names.count(n) > 1 else n for n, run in zip(names, runs, strict=True)
    ]


def _standing(run: Run, name: str, is_public: bool) -> Standing:
    from fairuniverse.reporting.standings import Standing
    from fairuniverse.scoring.card import score_card

    card = score_card(run.results)
    return Standing(
        name=name,
        submission=run.submission,
        run=str(run.folder),
        finished=run.finished,
        is_isolated=bool(run.manifest.get("isolation", {}).get("is_isolated", False)),
        is_reference=_is_reference(run),
        failures={status: n for status, n in card.failures.items() if n},
        scores={**card.scores, **_costs(run, card), **_worst_mu(card, is_public)},
    )


def _is_reference(run: Run) -> bool:
    """Whether a run is a line to compare with; who is told the truth, only if it was told it."""
    from fairuniverse.reporting.standings import BLIND, EXACT

    is_told = bool(run.manifest["submission"].get("is_reference"))
    return is_told or run.submission in (EXACT, BLIND)


def _costs(run: Run, card: ScoreCard) -> dict[str, ScoreValue]:
    """Processor time of the fit, and the largest memory of fit and predictions."""
    fit = run.manifest.get("fit", {})
    memories = [m for m in (fit.get("memory_mib"), card["peak_memory"].value) if m is not None]
    return {
        "fit_cpu_time": replace(card["cpu_time_median"], name="fit_cpu_time", value=fit.get("cpu_time_s")),
        "memory": replace(card["peak_memory"], name="memory", value=max(memories, default=None)),
    }


def _worst_mu(card: ScoreCard, is_public: bool) -> dict[str, ScoreValue]:
    """Coverage at the mu where it is least compatible with the confidence level; that mu only if public."""
    worst = min(card.by_mu, key=lambda r: (r["p_value"], -abs(r["coverage"] - card.confidence_level)))
    error = (worst["upper"] - worst["lower"]) / 2
    return {
        "coverage_worst_mu": replace(
            card["coverage"],
            name="coverage_worst_mu",
            value=float(worst["coverage"]),
            error=float(error),
            n_toys=int(worst["n_toys"]),
            n_failed=int(worst["n_failed"]),
            meaning=f"mu = {worst['mu_true']:.3g}" if is_public else "",
        )
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    from fairuniverse.files import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
