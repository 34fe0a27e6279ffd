"""Writing what is in a bundle beside its data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from fairuniverse.errors import StorageError

if TYPE_CHECKING:
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.protocols import Simulator

INPUT, REFERENCE = "input_data", "reference_data"
INGESTION, SCORING = "ingestion_program", "scoring_program"
KIT, PAGES, LOGO = "starting_kit", "pages", "logo.png"

TITLES: Mapping[str, str] = {
    "overview": "Overview",
    "data": "Data",
    "evaluation": "Evaluation",
    "submitting": "How to submit",
}
"""Pages in their order and their titles; the terms have a place of their own."""

COLUMNS: tuple[Mapping[str, Any], ...] = (
    {"title": "Winkler score", "key": "winkler", "sorting": "asc", "precision": 4},
    {"title": "official score", "key": "quantiles_score", "sorting": "desc", "precision": 3},
    {"title": "coverage", "key": "coverage", "sorting": "desc", "precision": 4},
    {"title": "width", "key": "interval", "sorting": "asc", "precision": 4},
    {"title": "width at matched coverage", "key": "width_matched", "sorting": "asc", "precision": 4},
    {"title": "failed toys", "key": "n_failed", "sorting": "asc", "precision": 0},
)
"""Columns of the leaderboard, the one that ranks first; keys of ``scores.json``."""

_INGESTION = '''"""Prediction step: run a submission on the toys. No truth is within its reach."""

import sys

from fairuniverse.api.platforms import ingest

sys.exit(ingest("/app/input_data", "/app/ingested_program", "/app/output"))
'''

_SCORING = '''"""Scoring step: hold the answers against the truth."""

import sys

from fairuniverse.api.platforms import score

sys.exit(score("/app/input/res", "/app/input/ref", "/app/output"))
'''


@dataclass(frozen=True)
class Competition:
    """What an organizer decides about a competition.

    Attributes:
        title: Its name.
        image: Container image with the package installed, as the platform's workers pull it.
        start: When submissions are taken, UTC.
        end: When not any more, UTC; None for never.
        time_limit_s: Wall time of each of the two steps, seconds.
        max_submissions: Of one participant.
        max_submissions_per_day: Of one participant.
    """

    title: str
    image: str
    start: datetime
    end: datetime | None = None
    time_limit_s: int = 600
    max_submissions: int = 100
    max_submissions_per_day: int = 5


def write_competition(
    competition: Competition,
    config: BenchmarkConfig,
    simulator: Simulator,
    folder: Path,
    *,
    kit: Mapping[str, str],
) -> None:
    """Write everything but the input and reference data.

    Args:
        competition: What the organizer decides.
        config: The benchmark.
        simulator: Its world.
        folder: The bundle.
        kit: Files of the starting kit, by name.

    Raises:
        StorageError: A file cannot be written.
    """
    import yaml

    texts = {
        "competition.yaml": yaml.safe_dump(
            competition_yaml(competition, config), sort_keys=False, allow_unicode=True
        ),
        f"{INGESTION}/ingestion.py": _INGESTION,
        f"{INGESTION}/metadata.yaml": "command: python3 /app/program/ingestion.py\n",
        f"{SCORING}/scoring.py": _SCORING,
        f"{SCORING}/metadata.yaml": "command: python3 /app/program/scoring.py\n",
        **{f"{PAGES}/{name}.md": text for name, text in _pages(competition, config, simulator).items()},
        **{f"{KIT}/{name}": text for name, text in kit.items()},
    }
    logo = (resources.files("fairuniverse.codabench") / LOGO).read_bytes()
    contents = {name: text.encode() for name, text in texts.items()} | {LOGO: logo}
    for name, content in contents.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error


def competition_yaml(competition: Competition, config: BenchmarkConfig) -> dict[str, Any]:
    """Content of ``competition.yaml``; times are texts, because the platform cuts YAML's own to midnight."""
    end = {} if competition.end is None else {"end": f"{competition.end:%Y-%m-%d %H:%M:%S}"}
    return {
        "version": 2,
        "title": competition.title,
        "description": config.description,
        "image": LOGO,
        "docker_image": competition.image,
        "registration_auto_approve": False,
        "enable_detailed_results": True,
        "make_programs_available": False,
        "make_input_data_available": False,
        "terms": f"{PAGES}/terms.md",
        "pages": [{"title": title, "file": f"{PAGES}/{name}.md"} for name, title in TITLES.items()],
        "tasks": [
            {
                "index": 0,
                "name": f"{config.name} {config.version}",
                "description": config.description,
                # Folders must end with a slash, or the platform packs the folder above them.
                "input_data": f"{INPUT}/",
                "reference_data": f"{REFERENCE}/",
                "ingestion_program": f"{INGESTION}/",
                "scoring_program": f"{SCORING}/",
            }
        ],
        "phases": [
            {
                "index": 0,
                "name": "Competition",
                "description": "Every submission answers the same pseudo-experiments.",
                "start": f"{competition.start:%Y-%m-%d %H:%M:%S}",
                **end,
                "execution_time_limit": competition.time_limit_s,
                "max_submissions": competition.max_submissions,
                "max_submissions_per_day": competition.max_submissions_per_day,
                "starting_kit": f"{KIT}/",
                "tasks": [0],
            }
        ],
        "leaderboards": [
            {
                "title": "Results",
                "key": "results",
                "submission_rule": "Force_Last",
                "primary_index": 0,
                "columns": [{"index": i, **column} for i, column in enumerate(COLUMNS)],
            }
        ],
    }


def _pages(competition: Competition, config: BenchmarkConfig, simulator: Simulator) -> dict[str, str]:
    """The pages, by name."""
    parameters = [p for p in simulator.nuisances if p.name in config.nuisances]
    toys, low_high = config.pseudo_experiments, config.mu_range
    values = {
        "title": competition.title,
        "description": config.description,
        "name": config.name,
        "version": config.version,
        "n_toys": f"{toys.n_mu * toys.n_toys:,}",
        "n_sets": str(toys.n_mu),
        "mu_low": f"{low_high[0]:g}",
        "mu_high": f"{low_high[1]:g}",
        "level": f"{config.confidence_level:.2%}",
        "probability": f"{config.confidence_level:g}",
        "time_limit": f"{competition.time_limit_s:,}",
        "fit_limit": f"{config.limits.fit_timeout_s:g}",
        "predict_limit": f"{config.limits.predict_timeout_s:g}",
        "memory": f"{config.limits.memory_mib:,}",
        "processes": _table(
            ("process", "signal"), ((p.name, "yes" if p.is_signal else "") for p in simulator.processes)
        ),
        "nuisances": _table(
            ("nuisance parameter", "prior", "between", "acts on", "meaning"),
            (
                (p.name, _short(str(p.prior)), f"{p.bounds[0]:g} and {p.bounds[1]:g}", p.kind, p.meaning)
                for p in parameters
            ),
        ),
        "features": _table(
            ("feature", "unit", "meaning"), ((f.name, f.unit, f.meaning) for f in simulator.schema.features)
        ),
        "columns": ", ".join(str(c["title"]) for c in COLUMNS),
    }
    folder = resources.files("fairuniverse.codabench") / PAGES
    return {
        name: Template((folder / f"{name}.md").read_text(encoding="utf-8")).substitute(values)
        for name in (*TITLES, "terms")
    }


def _short(text: str) -> str:
    """A text with its numbers to six digits."""
    return re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.6g}", text)


def _table(header: tuple[str, ...], rows: Any) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
