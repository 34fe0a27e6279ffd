"""Dask clusters whose workers are jobs of a batch system, which dask-jobqueue submits."""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path
from typing import Any

from fairuniverse.errors import ExecutorError, InvalidConfigError, MissingDependencyError

HINT_S = 60.0
"""How often a run without workers says so, seconds: jobs may wait in a queue for hours, or end at once."""

logger = logging.getLogger(__name__)


class JobCluster:
    """A cluster of dask-jobqueue, as a file describes it.

    Args:
        file: YAML file with one key, the name of a class of dask-jobqueue, such as ``SLURMCluster``, and its
            keyword arguments.
        n_workers: Workers to ask for.

    Attributes:
        cluster: What dask-jobqueue made of it.

    Raises:
        MissingDependencyError: dask-jobqueue is not installed.
        InvalidConfigError: The file does not describe a cluster.
    """

    def __init__(self, file: Path, n_workers: int) -> None:
        self._file = file
        name, options = _described(file)
        cluster_class = _cluster_class(file, name)
        self._refusal: Exception | None = None
        self._waiting_since: float | None = None
        try:
            with warnings.catch_warnings():
                # The dashboard of somebody else on the same login node: ours takes another port.
                warnings.filterwarnings("ignore", r"\s*Port \d+ is already in use")
                self.cluster = cluster_class(**options, job_cls=self._watched(cluster_class.job_cls))
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidConfigError(f"{file}: {name} cannot be made so: {error}") from error
        # Unlike a fixed scale, this replaces workers that are lost.
        self.cluster.adapt(minimum=n_workers, maximum=n_workers)

    def require_hope(self) -> None:
        """Make sure that a worker may still come, where there is none.

        Raises:
            ExecutorError: The batch system takes no jobs.
        """
        if self._refusal is not None:
            raise ExecutorError(
                f"{self._file}: the batch system takes no job ({_last_words(self._refusal)}): mend the file, "
                "or wait until it takes some, and give the same command again"
            )
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if now - self._waiting_since > HINT_S:
            self._waiting_since = now
            logger.warning(
                "%s: no job has a worker: see whether they wait in the queue, or what those that ended wrote "
                "(log_directory in the file)",
                self._file,
            )

    def note_workers(self) -> None:
        """Workers are there: whatever was wrong before is not."""
        self._waiting_since, self._refusal = None, None

    def _watched(self, job_class: Any) -> Any:
        """The same jobs, whose submission is seen from here."""
        from distributed import Status

        jobs = self

        class Watched(job_class):  # type: ignore[misc]
            async def start(self) -> None:
                try:
                    await super().start()
                except Exception as error:
                    self.status, jobs._refusal = Status.failed, error
                    raise

        return Watched


def _described(file: Path) -> tuple[str, dict[str, Any]]:
    import yaml

    try:
        ((name, options),) = yaml.safe_load(file.read_text(encoding="utf-8")).items()
        return str(name), dict(options)
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise InvalidConfigError(
            f"{file} does not describe a cluster ({error}): give one key, such as SLURMCluster, "
            "with the keyword arguments of that class of dask-jobqueue"
        ) from error


def _cluster_class(file: Path, name: str) -> Any:
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingDependencyError(
            "starting a cluster needs more packages: pip install 'fairuniverse[cluster]'"
        ) from error
    classes = [n for n in dir(dask_jobqueue) if n.endswith("Cluster")]
    if name not in classes:
        raise InvalidConfigError(f"{file}: no cluster {name!r}; dask-jobqueue has {', '.join(classes)}")
    return getattr(dask_jobqueue, name)


def _last_words(error: Exception) -> str:
    """What a command that failed said, in one line."""
    _, _, words = str(error).rpartition("stderr:\n")
    return " ".join(words.split())
