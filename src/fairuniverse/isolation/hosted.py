"""The submission's model as the worker holds it: imported, fitted, saved, loaded, asked."""

from __future__ import annotations

import inspect
import os
import pickle
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.answers import clean, pack
from fairuniverse.isolation.parcel import MAX_MODEL_BYTES, pack_folder, unpack_folder
from fairuniverse.isolation.shared import TableReader, as_block
from fairuniverse.official.adapter import OfficialModel, is_official, working_folder
from fairuniverse.official.modules import install_modules

_PICKLE = "model.pickle"
_MAX_FILE_BYTES = MAX_MODEL_BYTES + (16 << 20)
_MAX_OPEN_FILES = 1024


class HostedModel:
    """A submission's model inside the worker.

    Args:
        folder: Private folder of the worker, with the submission's copy in ``submission``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model: Any = None

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the host asks and return the reply."""
        actions: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "start": self._start,
            "fit": self._fit,
            "save": self._save,
            "load": self._load,
            "predict": self._predict,
        }
        return actions[request["op"]](request)

    def _start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        _limit(request["memory_mib"], request["n_processes"])
        self._features: list[str] = request["features"]
        self._test = TableReader(_private(request["test_fd"]))
        self._train = TableReader(_private(request["train_fd"]))
        self._parcel_fd = _private(request["parcel_fd"])
        self._attach_training_set(request)
        submission = self._folder / "submission"
        home = working_folder(submission, self._folder / "scratch")
        os.chdir(home)
        # Challenge submissions came last on the path: files of theirs may be named as modules of Python.
        sys.path.insert(0 if home == submission else len(sys.path), str(home))
        install_modules()
        start, before = time.perf_counter(), _peak_mib()
        self._model = _construct(home, is_reference=request["is_reference"])
        return {"import_s": time.perf_counter() - start, "import_mib": _peak_mib() - before}

    def _attach_training_set(self, request: Mapping[str, Any]) -> None:
        """Make the training set; its events are mapped now and read when something asks for them."""
        from fairuniverse.events import Events
        from fairuniverse.training import TrainingSet, attach, load_simulator

        spec = dict(request["training"])
        simulator = load_simulator(spec.pop("simulator"), spec.pop("options"))
        columns = self._train.read(request["train_bytes"])
        schema, names = simulator.schema, tuple(p.name for p in simulator.processes)
        features = as_block([columns[n] for n in schema.names])
        record = [columns[n] for n in schema.record_names if n in columns]
        events = Events(
            schema,
            features,
            columns["weights"],
            columns["process"],
            names,
            as_block(record) if record else None,
        )
        self._training = TrainingSet(simulator, events, **spec, n_threads=request["n_threads"])
        attach(self._training)

    def _fit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._model.fit(self._training)
        return {}

    def _save(self, request: Mapping[str, Any]) -> dict[str, Any]:
        folder = self._model_folder()
        folder.mkdir()
        if hasattr(self._model, "save"):
            self._model.save(folder)
        else:
            with (folder / _PICKLE).open("wb") as file:
                pickle.dump(self._model, file, protocol=pickle.HIGHEST_PROTOCOL)
        pack_folder(folder, self._parcel_fd)
        return {"needs_training": self._training.is_referred_to}

    def _load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        folder = self._model_folder()
        unpack_folder(self._parcel_fd, folder)
        if hasattr(self._model, "load"):
            loaded = self._model.load(folder)
            if isinstance(loaded, type(self._model)):  # a class method that returns the model
                self._model = loaded
        else:
            with (folder / _PICKLE).open("rb") as file:
                self._model = pickle.load(file)
        return {}

    def _predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        import pandas as pd

        columns = self._test.read(request["test_bytes"])
        features = as_block([columns[n] for n in self._features])
        test = pd.DataFrame(features.T, columns=self._features, copy=False)
        told = (request["nuisances"],) if "nuisances" in request else ()
        return dict(pack(self._model.predict(test, *told)))

    def _model_folder(self) -> Path:
        return self._folder / "scratch" / "model"


def _private(fd: int) -> int:
    """A descriptor that programs started by the submission do not inherit."""
    os.set_inheritable(fd, False)
    return fd


def _limit(memory_mib: int | None, n_processes: int | None) -> None:
    """Limits of the operating system on this process and, each for itself, its children.

    The number of processes, threads among them, is limited where they are counted apart from the host's.
    """
    if n_processes is not None:
        _lower(resource.RLIMIT_NPROC, n_processes)
        _lower(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    if memory_mib is not None:
        _lower(resource.RLIMIT_DATA, memory_mib << 20)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _peak_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / (1 << 20)


def _construct(home: Path, *, is_reference: bool) -> Any:
    """The submission's model, its class and methods checked first."""
    cls = getattr(_import_model(home), "Model", None)
    if not inspect.isclass(cls):
        raise SubmissionError(
            "fit_failed", "model.py defines no class Model; add: class Model: with fit and predict"
        )
    if is_official(cls):
        return OfficialModel(cls, home)
    _require_method(cls, "fit", "train")
    if not is_reference:
        _refuse_nuisances(cls)
    _require_method(cls, "predict", "test", *(["nuisances"] if is_reference else []))
    if hasattr(cls, "save") != hasattr(cls, "load"):
        raise SubmissionError("fit_failed", "Model has only one of save and load; define both or neither")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise SubmissionError("fit_failed", f"Model() must work without arguments: {error}") from error
    return cls()


def _import_model(home: Path) -> ModuleType:
    """The module ``model``, as a package of the modules beside it.

    Plain imports find these by the path; a relative import needs the package, and lets the same folder be a
    submission here and part of an installed package elsewhere.
    """
    from importlib.util import find_spec, module_from_spec

    spec = find_spec("model")
    assert spec is not None, "every submission has model.py at its top"
    assert spec.loader is not None
    if spec.submodule_search_locations is None:
        spec.submodule_search_locations = [str(home)]
    sys.modules["model"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _refuse_nuisances(cls: type) -> None:
    """A method that would like to be told the truth learns that it is not, instead of failing somehow."""
    predict = getattr(cls, "predict", None)
    if callable(predict) and "nuisances" in inspect.signature(predict).parameters:
        raise SubmissionError(
            "fit_failed",
            "predict asks for the true nuisances, which only reference lines of an installed package are "
            "told (run those by name, not by path); a method must do without: def predict(self, test)",
        )


def _require_method(cls: type, name: str, *arguments: str) -> None:
    method, wanted = getattr(cls, name, None), f"def {name}({', '.join(('self', *arguments))})"
    if not callable(method):
        raise SubmissionError("fit_failed", f"Model has no method {name}; add: {wanted}")
    try:
        inspect.signature(method).bind(None, *arguments)
    except TypeError as error:
        found = f"def {name}{inspect.signature(method)}"
        raise SubmissionError("fit_failed", f"{found}: must be {wanted} ({error})") from error


def failure(error: BaseException, folder: Path) -> dict[str, Any]:
    """Reply that tells what the submission raised; the traceback from its first line on goes to the log."""
    _print_traceback(error, folder)
    if isinstance(error, SubmissionError):
        return {"status": error.status, "message": clean(error)}
    status = "out_of_memory" if isinstance(error, MemoryError) else "exception"
    return {"status": status, "message": clean(f"{type(error).__name__}: {error}{_where(error, folder)}")}


def _print_traceback(error: BaseException, folder: Path) -> None:
    """Without what called the submission; whole if the error never went through its code."""
    theirs = error.__traceback__
    while theirs is not None and not theirs.tb_frame.f_code.co_filename.startswith(str(folder)):
        theirs = theirs.tb_next
    if theirs is not None or _is_syntax_of(error, folder):
        traceback.print_exception(type(error), error, theirs)
    elif not isinstance(error, SubmissionError):  # whose message says all
        traceback.print_exception(error)


def _is_syntax_of(error: BaseException, folder: Path) -> bool:
    """Whether a file of the submission cannot be compiled, which no frame of it tells."""
    return isinstance(error, SyntaxError) and str(error.filename).startswith(str(folder))


def _where(error: BaseException, folder: Path) -> str:
    """Last line of the submission's own code that the error went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(folder))]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
