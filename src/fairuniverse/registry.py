"""Finding simulators, baselines and configurations by name: one door for ours and for third parties'.

Simulators and baselines are entry points of the groups ``fairuniverse.simulators`` (a class) and
``fairuniverse.baselines`` (a package that is a submission folder); a path to a folder works, too. Submission
folders of the group ``fairuniverse.references`` are told the true nuisance values of every toy, never its mu:
they are lines to compare with, and only what is installed can be one. The group
``fairuniverse.block_sources`` holds simulations so slow that they work in blocks.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from importlib import import_module, resources
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from fairuniverse.errors import InvalidConfigError, NotRegisteredError, did_you_mean
from fairuniverse.protocols import BlockSource, Simulator

SIMULATORS, BASELINES = "fairuniverse.simulators", "fairuniverse.baselines"
REFERENCES = "fairuniverse.references"
BLOCK_SOURCES = "fairuniverse.block_sources"


def names(group: str) -> list[str]:
    """Registered names of a group, sorted."""
    return sorted({e.name for e in entry_points(group=group)})


def configs() -> list[str]:
    """Names of the configurations that come with the package."""
    folder = resources.files("fairuniverse.configs")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def find_config(name: str | Path) -> Path:
    """Path of a configuration: a file, or the name of one that comes with the package.

    Raises:
        NotRegisteredError: There is neither such a file nor such a name.
    """
    path = Path(name)
    if path.is_file():
        return path
    packaged = Path(str(resources.files("fairuniverse.configs"))) / f"{name}.yaml"
    if packaged.is_file():
        return packaged
    raise NotRegisteredError(
        f"no configuration file {str(name)!r}, and none of that name: {did_you_mean(name, configs())}"
    )


def make_simulator(name: str, options: dict[str, Any]) -> Simulator:
    """A simulator by registered name, or the class ``Simulator`` of a folder or module file.

    Raises:
        NotRegisteredError: No such name or path.
        InvalidConfigError: The simulator does not take these options.
    """
    simulator: Simulator = _made(name, _simulator_class(name), options)
    return simulator


def is_block_source(name: str) -> bool:
    """Whether a name is that of a slow simulation, which works in blocks."""
    return name in names(BLOCK_SOURCES)


def make_block_source(name: str, options: dict[str, Any]) -> BlockSource:
    """A slow simulation by registered name.

    Raises:
        NotRegisteredError: No such name.
        InvalidConfigError: It does not take these options.
    """
    source: BlockSource = _made(name, _entry_point(BLOCK_SOURCES, name).load(), options)
    return source


def simulator_options(name: str) -> list[str]:
    """Names of the options that a simulator takes.

    Raises:
        NotRegisteredError: No such name or path.
    """
    return list(signature(_simulator_class(name)).parameters)


def find_submission(name: str | Path) -> Path:
    """Folder or zip of a submission: a path, or the name of a baseline.

    Raises:
        NotRegisteredError: There is neither such a path nor such a baseline.
    """
    path = Path(name)
    if path.exists():
        return path
    group = REFERENCES if is_reference(name) else BASELINES
    module = import_module(_entry_point(group, str(name)).value)
    return Path(next(iter(module.__path__)))


def is_reference(name: str | Path) -> bool:
    """Whether a submission is told the true nuisance values: installed ones named as such, never a path."""
    return not Path(name).exists() and str(name) in names(REFERENCES)


def _simulator_class(name: str) -> Any:
    return _load_path(Path(name)) if _is_path(name) else _entry_point(SIMULATORS, name).load()


def _entry_point(group: str, name: str) -> EntryPoint:
    found = list(entry_points(group=group, name=name))
    if not found:
        kind = group.removeprefix("fairuniverse.").removesuffix("s")
        raise NotRegisteredError(
            f"no {kind} {name!r}: {did_you_mean(name, names(group))} (a path works, too)"
        )
    return found[0]


def _made(name: str, factory: Any, options: Mapping[str, Any]) -> Any:
    _require_options(name, factory, options)
    try:
        return factory(**options)
    except InvalidConfigError as error:  # its own words name the option
        raise InvalidConfigError(f"simulator {name}: {error}", option=error.option) from error
    except (TypeError, ValueError) as error:
        raise InvalidConfigError(f"simulator {name} with options {options}: {error}") from error


def _require_options(name: str, factory: Any, options: Mapping[str, Any]) -> None:
    parameters = signature(factory).parameters
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            raise InvalidConfigError(
                f"simulator {name} has no option {option!r}: {did_you_mean(option, parameters)}",
                option=option,
            )


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith(".py")


def _load_path(path: Path) -> Any:
    """Class ``Simulator`` of a file, or of the ``__init__.py`` of a folder."""
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise NotRegisteredError(f"no simulator at {path}: expected a folder with __init__.py, or a .py file")
    module_name = f"fairuniverse_simulator_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, "Simulator"):
        raise NotRegisteredError(f"{file} defines no class Simulator")
    return module.Simulator
