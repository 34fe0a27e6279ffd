"""Competitions on a platform: the bundle, and the two steps that the platform's workers run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairuniverse._version import __version__
from fairuniverse.api.benchmark import Benchmark
from fairuniverse.api.progress import progress_bar
from fairuniverse.api.scores import write_page
from fairuniverse.api.toys import unanswered
from fairuniverse.errors import FairUniverseError, InvalidConfigError, InvalidDataError
from fairuniverse.seeding import generator

if TYPE_CHECKING:
    from fairuniverse.codabench import Competition, Finding
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.isolation.backends import Backend
    from fairuniverse.pseudo_experiments import PseudoExperiment, Truth

CONFIG, TRAINING = "config.yaml", "training.parquet"
"""Files of the input data beside the toys."""

IMAGE = f"localhost/fairuniverse:{__version__}"
"""Image as docs/platforms.md builds it; a platform needs one that its workers can pull."""

_SPREAD = 1.01
"""Largest size of a toy's file, as a multiple of the first one's."""

WITHHELD_SEED = 0

MIN_SECRET = 1 << 64
"""Smallest seed that nobody finds by trying."""


def bundle(
    config: str | Path,
    output: Path,
    *,
    image: str = IMAGE,
    title: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    time_limit_s: int = 600,
    n_threads: int | None = None,
) -> list[Finding]:
    """Write a competition bundle: draws all toys, and holds the bundle against the platform's rules.

    Args:
        config: Configuration file or name.
        output: The bundle: a new folder, or a ``.zip`` to upload.
        image: Container image of both programs.
        title: Name of the competition; that of the benchmark if not given.
        start: When submissions are taken, UTC; now if not given.
        end: When not any more, UTC.
        time_limit_s: Wall time of each step, seconds.
        n_threads: Threads for drawing; the toys do not depend on it.

    Returns:
        What `check_bundle` finds.

    Raises:
        InvalidDataError: The output exists, or the toys are more than a platform takes.
        InvalidConfigError: The simulator is not an installed one, or the seed is that of everybody.
    """
    from fairuniverse.codabench import Competition, check_bundle

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidDataError(f"{output} exists: choose a new folder or file")
    benchmark = Benchmark.load(config, n_threads=n_threads)
    _require_installed(benchmark.config)
    _require_seed(benchmark.config)
    start = start or datetime.now(UTC).replace(tzinfo=None)
    competition = Competition(
        title or benchmark.config.name, image, start, end=end, time_limit_s=time_limit_s
    )
    if output.suffix != ".zip":
        _write_bundle(benchmark, competition, output)
        return [*check_bundle(output), *_guessable(benchmark.config)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        _write_bundle(benchmark, competition, Path(folder))
        shutil.make_archive(str(output.with_suffix("")), "zip", folder)
    return [*check_bundle(output), *_guessable(benchmark.config)]


def ingest(input_data: str | Path, submission: str | Path, output: str | Path, *, n_workers: int = 1) -> int:
    """The prediction step: run a submission on the toys of a bundle, write its answers to one file.

    The answers are in the official layout, as one set in the order of the toys' files. Without any answer
    nothing is written, so that the scoring step fails and the platform says so.

    Args:
        input_data: The bundle's input data.
        submission: Folder of the unpacked submission.
        output: Folder for ``result_0.json``.
        n_workers: Processes that answer toys at the same time.

    Returns:
        Exit status: 0 if some toy was answered.
    """
    from fairuniverse.runner import run_submission
    from fairuniverse.scoring.official import write_official
    from fairuniverse.submission import load_submission

    output = Path(output)
    try:
        _empty(output)
        benchmark = StoredBenchmark(Path(input_data))
        loaded = load_submission(submission, name="submission")
        with tempfile.TemporaryDirectory() as folder:
            results = run_submission(
                benchmark,
                loaded,
                Path(folder) / "run",
                backend=_backend(Path(input_data)),
                n_workers=n_workers,
            )
            printed = Path(folder) / "run" / "worker.log"
            log = printed.read_text(encoding="utf-8", errors="replace") if printed.exists() else ""
    except FairUniverseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(log)
    failed = results.table[~results.is_ok]
    print(f"{len(results.table) - len(failed)} of {len(results.table)} pseudo-experiments answered")
    for status, rows in failed.groupby("status"):
        print(f"  {len(rows)} x {status}, such as: {rows['message'].iloc[0]}")
    if len(failed) == len(results.table):
        print("error: no valid answer, nothing to score", file=sys.stderr)
        return 1
    write_official(results, output)
    return 0


def score(predictions: str | Path, reference: str | Path, output: str | Path) -> int:
    """The scoring step: hold the answers against the truth, tell no truth on the page.

    Args:
        predictions: Folder that the prediction step filled, whatever else is in it.
        reference: The bundle's reference data.
        output: Folder for ``scores.json`` and ``detailed_results.html``.

    Returns:
        Exit status.
    """
    from fairuniverse.scoring import program

    def page(card: Any, results: Any, path: Path) -> None:
        write_page(card, results, path, shows_truth=False)

    try:
        card = program.score_folders(
            Path(predictions), Path(reference), Path(output), write_page=page, shows_truth=False
        )
    except FairUniverseError as error:
        print(f"error: {error}; see the output of the prediction step", file=sys.stderr)
        return 1
    sys.stdout.write(card.render())
    return 0


def _write_bundle(benchmark: Benchmark, competition: Competition, folder: Path) -> None:
    from fairuniverse.codabench import write_competition
    from fairuniverse.codabench.bundle import INPUT, REFERENCE
    from fairuniverse.scoring.truth import write_truth

    config = benchmark.config
    scaffold = resources.files("fairuniverse.scaffold")
    kit = {name: (scaffold / name).read_text(encoding="utf-8") for name in ("model.py", "README.md")}
    if not config.training.file:
        kit["practice.yaml"] = _yaml(_practice(config))
    write_competition(competition, config, benchmark.simulator, folder, kit=kit)
    truths = benchmark.pseudo_experiments.truths()
    order = generator(config.seed, "order of presentation on a platform").permutation(len(truths))
    _write_input(benchmark, [truths[i] for i in order], folder / INPUT)
    write_truth(unanswered(truths, config), folder / REFERENCE, order=order.tolist())


def _write_input(benchmark: Benchmark, truths: Sequence[Truth], folder: Path) -> None:
    """The configuration without its secrets, the training events if they are a file, and the toys."""
    from fairuniverse.files import atomic_path

    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(_yaml(_without_truth(benchmark.config, len(truths))), encoding="utf-8")
    if benchmark.config.training.file:
        _write_events(folder / TRAINING, benchmark.training_events)
    with progress_bar(len(truths), "drawing pseudo-experiments", " toys") as advance:
        for i, truth in enumerate(truths):
            path = folder / _toy_name(i)
            events = benchmark.pseudo_experiments.draw(truth, n_threads=benchmark.n_threads).events
            _write_events(path, events)
            _require_room(path.stat().st_size, benchmark.config)
            advance(1)


def _require_room(toy_bytes: int, config: BenchmarkConfig) -> None:
    """Refuse toys of which a platform's worker cannot keep so many."""
    from fairuniverse.codabench.tasks import MAX_BYTES

    toys = config.pseudo_experiments
    n, n_fit = toys.n_mu * toys.n_toys, int(MAX_BYTES / (_SPREAD * toy_bytes))
    if n * toy_bytes > MAX_BYTES:
        n_mu = min(toys.n_mu, n_fit)
        raise InvalidDataError(
            f"{n} toys would take {n * toy_bytes / 1e9:.3g} GB, and a platform's worker keeps "
            f"{MAX_BYTES / 1e9:.3g} GB: {n_fit} of this size fit, so set pseudo_experiments: {{n_mu: {n_mu}, "
            f"n_toys: {n_fit // max(n_mu, 1)}}}, or smaller toys by their n_events"
        )


def _write_events(path: Path, events: Any) -> None:
    """Events alone: the file of metadata beside a table says nothing that is needed."""
    from fairuniverse.tables import write_table

    write_table(path, events)
    path.with_name(f"{path.stem}_metadata.json").unlink(missing_ok=True)


def _without_truth(config: BenchmarkConfig, n_toys: int) -> BenchmarkConfig:
    """The configuration as the prediction step may know it: one set of toys that come from files."""
    training = replace(config.training, file=TRAINING) if config.training.file else config.training
    toys = replace(
        config.pseudo_experiments,
        n_mu=1,
        n_toys=n_toys,
        mode="fresh",
        n_events={},
        prescale=1,
        file=None,
        mu_values=None,
    )
    return replace(config, seed=WITHHELD_SEED, training=training, pseudo_experiments=toys)


def _practice(config: BenchmarkConfig) -> BenchmarkConfig:
    """A benchmark like this one with other toys, newly simulated, for participants at home."""
    toys = replace(
        config.pseudo_experiments, mode="fresh", n_events={}, prescale=1, file=None, mu_values=None
    )
    return replace(config, name=f"{config.name}-practice", seed=WITHHELD_SEED, pseudo_experiments=toys)


def _yaml(config: BenchmarkConfig) -> str:
    import yaml

    settings = config.to_dict()
    settings["mu_range"] = list(config.mu_range)
    return yaml.safe_dump(_without_none(settings), sort_keys=False, allow_unicode=True)


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if value is not None
    }


def _toy_name(i: int) -> str:
    return f"toy_{i:06d}.parquet"


def _require_installed(config: BenchmarkConfig) -> None:
    name = config.simulator.name
    if "/" in name or name.endswith(".py"):
        raise InvalidConfigError(
            f"the simulator {name} is a path, which the image of a platform does not have: install it as a "
            "package with an entry point, in the image, too, and give its name"
        )


def _require_seed(config: BenchmarkConfig) -> None:
    if config.seed == WITHHELD_SEED:
        raise InvalidConfigError(
            f"the seed is {config.seed}, which stands for a withheld one in what participants get: choose "
            "another, such as secrets.randbits(128) of Python"
        )


def _guessable(config: BenchmarkConfig) -> list[Finding]:
    from fairuniverse.codabench import Finding

    if config.seed >= MIN_SECRET:
        return []
    text = (
        "is short enough to be guessed, or public: who knows it knows the truth; take secrets.randbits(128)"
    )
    return [Finding("warning", "seed", text)]


def _empty(output: Path) -> None:
    """Remove what is there before this step: the platform copies a submission's files into the output."""
    output.mkdir(parents=True, exist_ok=True)
    for path in output.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _backend(input_data: Path) -> Backend:
    """A sandbox within the container where one works; else the container is all there is."""
    from fairuniverse.errors import IsolationError
    from fairuniverse.isolation.backends import get_backend

    try:
        return get_backend("bubblewrap", hidden=[input_data])
    except IsolationError:
        print("no sandbox works within this container: the container alone keeps the submission in")
        return get_backend("none")


class StoredBenchmark(Benchmark):
    """The benchmark of a bundle's input data: toys from files, their truth unknown."""

    def __init__(self, folder: Path) -> None:
        from fairuniverse.config import load_config

        super().__init__(load_config(folder / CONFIG), folder=folder, source=folder / CONFIG)

    @cached_property
    def pseudo_experiments(self) -> Any:
        """The toys of the files."""
        return _StoredToys(self)


class _StoredToys:
    """Pseudo-experiments of files, in their order."""

    def __init__(self, benchmark: StoredBenchmark) -> None:
        self._benchmark = benchmark
        self.n_mu = 1
        self.n_toys = benchmark.config.pseudo_experiments.n_toys

    def __len__(self) -> int:
        return self.n_toys

    def truths(self) -> list[Truth]:
        """Keys of the toys; nothing is known about them here."""
        from fairuniverse.pseudo_experiments import Truth

        return [Truth(0, i, float("nan"), {}) for i in range(self.n_toys)]

    def draw(self, truth: Truth, *, n_threads: int = 1) -> PseudoExperiment:
        """The events of one file, as they were drawn: nothing is derived anew."""
        from fairuniverse.pseudo_experiments import PseudoExperiment
        from fairuniverse.tables import read_events

        world, path = self._benchmark.simulator, self._benchmark.folder / _toy_name(truth.i_toy)
        return PseudoExperiment(read_events(path, world.schema, [p.name for p in world.processes]), truth)
