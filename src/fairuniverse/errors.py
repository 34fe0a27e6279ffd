"""Exceptions of the package: one root, each also the nearest built-in exception.

A message names the value, the rule it breaks and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FairUniverseError(Exception):
    """Root of every error that the package raises on purpose."""


class InvalidDataError(FairUniverseError, ValueError):
    """A table, an array or a number does not satisfy what is documented about it."""


class InvalidConfigError(FairUniverseError, ValueError):
    """A benchmark configuration has an unknown key, a wrong type or an impossible value.

    Args:
        message: What was found, which rule it breaks and what to do.
        option: Name of the simulator's option that is wrong, if it is one: its line in the file is told, too.
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class NotRegisteredError(FairUniverseError, LookupError):
    """A simulator, score, baseline or configuration of that name is not known."""


class MissingDependencyError(FairUniverseError, ImportError):
    """An optional library is needed; the message says what to install."""


class StorageError(FairUniverseError, OSError):
    """A result could not be read or written (disk full, read-only, damaged file)."""


class IsolationError(FairUniverseError, RuntimeError):
    """The worker process of a submission could not be started as safely as asked."""


class ExecutorError(FairUniverseError, RuntimeError):
    """What was to do the tasks of a run cannot be reached, or has been lost."""


class FitError(FairUniverseError, RuntimeError):
    """A fit did not converge: there is no number to report, only this status."""


class SubmissionError(FairUniverseError, RuntimeError):
    """The submission, not the benchmark, is at fault.

    Args:
        status: Status recorded in the results table (see `fairuniverse.results.STATUSES`).
        message: What was found, which rule it breaks and what to do.
    """

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[SubmissionError], tuple[str, str]]:
        return type(self), (self.status, str(self))


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, or all of them if none is near.

    >>> did_you_mean("countin", ["counting", "oracle"]), did_you_mean("mine", ["counting", "oracle"])
    ("did you mean 'counting'?", 'there are counting, oracle')
    """
    known = list(known)
    near = get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
