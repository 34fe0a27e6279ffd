"""Our interface around a method written for the public challenge."""

from __future__ import annotations

import inspect
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairuniverse.errors import SubmissionError
from fairuniverse.official.systematics import systematics
from fairuniverse.official.train_set import OfficialTrainSet

if TYPE_CHECKING:
    import pandas as pd

    from fairuniverse.training import TrainingSet

FUNCTION = "get_train_set"
"""Argument by which the constructor of a challenge submission is known."""

_ANSWER = {"mu_hat": "mu_hat", "p16": "lower", "p84": "upper"}
_OPTIONAL = "delta_mu_hat"
_HELP = "return a dict with mu_hat, delta_mu_hat, p16 and p84"
_PICKLE = "model.pickle"
_FILES = "files"


def working_folder(submission: Path, scratch: Path) -> Path:
    """Where a submission runs: challenge submissions get a copy of their folder, because many write into it.

    Args:
        submission: Its folder, perhaps read-only.
        scratch: Folder with room for the copy.
    """
    if not any(FUNCTION in _source(path) for path in submission.rglob("*.py")):
        return submission
    home = scratch / "submission"
    shutil.copytree(submission, home, copy_function=shutil.copyfile)
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return home


def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def is_official(cls: type) -> bool:
    """Whether a class has the form of the public challenge.

    Its constructor takes ``get_train_set``, or two arguments of other names while ``fit`` takes none.
    """
    fit = getattr(cls, "fit", None)
    if FUNCTION in _parameters(cls):
        return True
    return callable(fit) and _takes(cls, 2) and _takes(fit, 1) and not _takes(fit, 2)


class OfficialModel:
    """A challenge submission with our interface.

    Args:
        cls: Its class ``Model``.
        home: Folder it runs in; files that it writes there are saved with the fitted model.

    Raises:
        SubmissionError: A method is missing or takes other arguments.
    """

    def __init__(self, cls: type, home: Path) -> None:
        _require(cls, "fit", "self")
        _require(cls, "predict", "self, test_set")
        self._cls = cls
        self._home = home
        self._before = _states(home)
        self._model: Any = None

    def fit(self, train: TrainingSet) -> None:
        """Construct it with the training events and the systematics, and let it fit."""
        parameters = _parameters(self._cls)
        functions = {
            FUNCTION: OfficialTrainSet(is_table="model_type" in parameters),
            "systematics": systematics,
        }
        takes_names = set(functions) <= set(parameters) or any(
            p.kind is p.VAR_KEYWORD for p in parameters.values()
        )
        self._model = self._cls(**functions) if takes_names else self._cls(*functions.values())
        self._model.fit()

    def predict(self, test: pd.DataFrame) -> dict[str, Any]:
        """Its answer about a pseudo-experiment, which it may change, under our names.

        Raises:
            SubmissionError: The answer is not a dict, or lacks a key.
        """
        import numpy as np
        import pandas as pd

        answer = self._model.predict({"data": test.copy(), "weights": pd.Series(np.ones(len(test)))})
        if not isinstance(answer, Mapping):
            raise SubmissionError("invalid_type", f"predict returned a {type(answer).__name__}; {_HELP}")
        missing = [key for key in _ANSWER if key not in answer]
        if missing:
            found = ", ".join(map(str, answer)) or "nothing"
            raise SubmissionError(
                "missing_key", f"the answer has {found} but no {', '.join(missing)}; {_HELP}"
            )
        ours = {name: answer[key] for key, name in _ANSWER.items()}
        return ours | ({_OPTIONAL: answer[_OPTIONAL]} if _OPTIONAL in answer else {})

    def save(self, folder: Path) -> None:
        """Save the fitted model and what it wrote into its folder."""
        with (folder / _PICKLE).open("wb") as file:
            pickle.dump(self._model, file, protocol=pickle.HIGHEST_PROTOCOL)
        for name, state in _states(self._home).items():
            if self._before.get(name) != state:
                _copy(self._home / name, folder / _FILES / name)

    def load(self, folder: Path) -> None:
        """Load what `save` saved."""
        files = folder / _FILES
        for path in filter(Path.is_file, files.rglob("*")):
            _copy(path, self._home / path.relative_to(files))
        with (folder / _PICKLE).open("rb") as file:
            self._model = pickle.load(file)


def _require(cls: type, name: str, arguments: str) -> None:
    method = getattr(cls, name, None)
    definition = f"def {name}({arguments})"
    if not callable(method):
        raise SubmissionError("fit_failed", f"Model has no method {name}; add: {definition}")
    if not _takes(method, arguments.count(",") + 1):
        found = f"def {name}{inspect.signature(method)}"
        raise SubmissionError("fit_failed", f"{found}: in a challenge submission it is {definition}")


def _parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(cls).parameters
    except ValueError:  # a class of an extension module
        return {}


def _takes(function: Callable[..., Any], n_arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * n_arguments)
    except (TypeError, ValueError):
        return False
    return True


def _states(home: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of every file."""
    files = [path for path in home.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {f.relative_to(home): (f.stat().st_size, f.stat().st_mtime_ns) for f in files}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
