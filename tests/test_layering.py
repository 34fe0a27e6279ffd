"""The dependency direction of the modules, read from their imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROWS = (
    (
        "_version",
        "errors",
        "files",
        "lifetimes",
        "events",
        "nuisance",
        "seeding",
        "protocols",
        "pools",
        "results",
        "accounting",
        "statistics",
        "worlds",
    ),
    (
        "config",
        "pseudo_experiments",
        "tables",
        "training",
        "executors",
        "block_files",
        "block_plan",
        "production",
        "datasets",
        "shuffling",
    ),
    (
        "submission",
        "store",
        "official",
        "isolation",
        "presentation",
        "team",
        "repeatability",
        "station",
        "provenance",
        "crew",
        "entry",
        "tasks",
        "backlog",
        "doubts",
        "distribution",
        "runner",
        "checking",
        "likelihood",
        "learning",
        "comparison",
        "closure",
        "reporting",
        "codabench",
    ),
    ("registry", "scaffold"),
    ("api",),
    ("conformance",),
    ("cli",),
    ("__main__",),
)
LEAVES = ("simulators", "scoring", "baselines")
TOOLKITS = {
    "simulators": ("likelihood",),
    "scoring": ("likelihood",),
    "baselines": ("likelihood", "learning"),
}
"""Toolkits beyond the first row that leaves may use."""
SCORE_CARD_USERS = ("api", "cli")
"""Modules that may make score cards; simulators and methods are reached through the registry only."""
RANK = {name: i for i, row in enumerate(ROWS) for name in row}
ORDER = [name for row in ROWS for name in row]
ROOT = Path(__file__).parents[1]


def imported(path: Path, package: str) -> Iterator[str]:
    """Modules that a file imports at run time, relative imports resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    type_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in type_only:
            continue
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            yield ".".join([*base, node.module or ""]).rstrip(".")
        elif isinstance(node, ast.ImportFrom) and node.module == "fairuniverse":
            yield from (f"fairuniverse.{a.name}" for a in node.names if a.name in RANK or a.name in LEAVES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules() -> list[tuple[str, Path]]:
    """Dotted name of the containing package, and path, of every module of the project."""
    found = []
    for folder, package in (
        ("src/fairuniverse", "fairuniverse"),
        *((f, f"fairuniverse.{f}") for f in LEAVES),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).parent.parts
            found.append((".".join([package, *parts]), path))
    return found


@pytest.mark.parametrize(
    ("package", "path"), modules(), ids=lambda v: str(v) if isinstance(v, str) else v.stem
)
def test_imports_point_down(package, path):
    """A module imports only those named before it; a leaf only the first row and the method toolkits."""
    parts = [*package.split(".")[1:], path.stem]
    own = parts[0]
    for name in imported(path, package):
        if not name.startswith("fairuniverse."):
            continue
        target = name.split(".")[1]
        if own in LEAVES:
            same = name.split(".")[1:3] == parts[:2] or (own == "scoring" and target == "scoring")
            is_toolkit = target in TOOLKITS[own]
            assert same or RANK.get(target) == 0 or is_toolkit, f"{path} imports {name}"
        elif target == "scoring":
            assert own in SCORE_CARD_USERS, f"{path} imports {name}"
        elif own != "__init__" and target != own:
            assert target in RANK, f"{path} imports {name}, which belongs to no row"
            assert ORDER.index(target) < ORDER.index(own), f"{path} imports {name}"


def test_every_module_has_a_row():
    """A new module must be given its place."""
    names = {p.stem if p.is_file() else p.name for p in (ROOT / "src/fairuniverse").iterdir()}
    unknown = {n for n in names if not n.startswith("__")} - set(RANK) - {"py"}
    assert not unknown
