"""The examples of docs/likelihood.md and of the toolkit's docstrings run and print what they say."""

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import fairuniverse.likelihood

PAGE = Path(__file__).parents[2] / "docs" / "likelihood.md"
MODULES = [m.name for m in pkgutil.iter_modules(fairuniverse.likelihood.__path__, "fairuniverse.likelihood.")]


def failures(examples):
    """Report of the examples that print something else, empty if none does."""
    report = []
    doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    return "".join(report)


def test_the_page_runs(tmp_path, monkeypatch):
    """Every example prints what stands below it, and the ranking plot is written."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```pycon\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 8
    page = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, str(PAGE), 0)
    assert failures(page) == ""
    assert (tmp_path / "ranking.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["fairuniverse.likelihood", *MODULES])
def test_docstrings_run(name):
    """Examples in docstrings are true."""
    module = import_module(name)
    assert not any(failures(examples) for examples in doctest.DocTestFinder().find(module))
