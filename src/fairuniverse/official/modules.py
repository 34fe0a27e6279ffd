"""The modules that challenge submissions import, found where nothing else has their name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "HiggsML"
"""Name of the public package on PyPI; its modules were top-level ones before there was a package."""

MODULES = ("systematics", "derived_quantities", "datasets", "visualization")
"""Modules of it that submissions import, each served by the module of that name here."""


class _LastResort(MetaPathFinder, Loader):
    """Finds the modules after everybody else has failed to: a submission's own files come first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == PACKAGE:
            return ModuleSpec(fullname, self, is_package=True)
        return ModuleSpec(fullname, self) if fullname.removeprefix(f"{PACKAGE}.") in MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ != PACKAGE:
            ours = import_module(f"{__package__}.{module.__name__.removeprefix(f'{PACKAGE}.')}")
            vars(module).update({k: v for k, v in vars(ours).items() if k not in vars(module)})


def install_modules() -> None:
    """Let this process find them."""
    if not any(isinstance(finder, _LastResort) for finder in sys.meta_path):
        sys.meta_path.append(_LastResort())
