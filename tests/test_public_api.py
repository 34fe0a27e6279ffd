"""What `import fairuniverse` offers and costs."""

import subprocess
import sys

import fairuniverse


def test_public_names_are_frozen():
    """Adding or removing a public name is a decision, not an accident."""
    assert sorted(fairuniverse.__all__) == ["Interval", "__version__"]


def test_import_and_help_load_no_heavy_library():
    """Neither the import nor --help pays for pandas, SciPy, Arrow, plotting or learning libraries."""
    heavy = (
        "pandas",
        "scipy",
        "pyarrow",
        "vl_convert",
        "sklearn",
        "xgboost",
        "iminuit",
        "pyhf",
        "pydantic",
        "uproot",
    )
    code = (
        "import sys, fairuniverse, fairuniverse.cli\n"
        "try: fairuniverse.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert done.stderr.strip() == "[]"


def test_what_makes_tasks_imports_no_pages():
    """Each worker of a pool or cluster imports the tasks and what makes the benchmark."""
    heavy = ("pandas", "scipy", "sklearn", "pyhf", "vl_convert")
    code = (
        "import sys, fairuniverse.tasks, fairuniverse.api.submissions\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
