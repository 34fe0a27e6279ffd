"""What the command line offers, as functions: simulate, shift, draw, run, score, report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fairuniverse.errors import InvalidConfigError, InvalidDataError
from fairuniverse.registry import find_config, find_submission, make_simulator, simulator_options
from fairuniverse.runner import n_cores
from fairuniverse.seeding import Streams, generator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fairuniverse.comparison import Comparison
    from fairuniverse.config import BenchmarkConfig
    from fairuniverse.events import Events
    from fairuniverse.isolation.backends import Backend
    from fairuniverse.protocols import Sampler, Simulator
    from fairuniverse.pseudo_experiments import PseudoExperiments, Truth
    from fairuniverse.results import Results
    from fairuniverse.scoring.card import ScoreCard
    from fairuniverse.tables import Table

TRAINING_FRACTION = 0.7
"""Share of a file that trains where the same file is the pool, too (the public protocol tests on 30 %)."""


MAX_EVENTS = 1_000_000_000
"""Most events that are simulated into one file."""

YIELD_TOLERANCE = 1e-3
"""Relative difference of yields that is put down to rounding."""


@contextmanager
def progress_bar(total: int, title: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Progress with rate and remaining time on standard error; silent when that is not a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=total,
        desc=title,
        unit=unit,
        unit_scale=True,
        delay=2,
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:
        yield bar.update


class Benchmark:
    """A configuration made real: its simulator, training events and pseudo-experiments.

    Args:
        config: The configuration.
        folder: Folder that file names in the configuration are relative to.
        source: File that the configuration was read from, for messages.
        n_threads: Threads for simulating and drawing; no result depends on it.
    """

    def __init__(
        self,
        config: BenchmarkConfig,
        *,
        folder: Path | None = None,
        source: Path | None = None,
        n_threads: int | None = None,
    ) -> None:
        self.config = config
        self.folder = folder or Path()
        self.source = source
        self.n_threads = n_threads or n_cores()
        self._require_known_names()

    @classmethod
    def load(cls, name: str | Path, *, n_threads: int | None = None) -> Benchmark:
        """Benchmark of a YAML file, or of a configuration that comes with the package."""
        from fairuniverse.config import load_config

        path = find_config(name)
        return cls(load_config(path), folder=path.parent, source=path, n_threads=n_threads)

    @cached_property
    def simulator(self) -> Simulator:
        """The world of this benchmark."""
        return make_simulator(self.config.simulator.name, self.config.simulator.options)

    @cached_property
    def training_events(self) -> Events:
        """Nominal weighted events to learn from; disjoint from the pool of the pseudo-experiments."""
        training = self.config.training
        if training.file:
            events = self._read(training.file)
            if self._is_one_file():
                return self._split(events)[0]
            self._require_same_yields(events)
            return events
        return self._simulate(training.n_events, "training", training.prescale, training.seed)

    @cached_property
    def pool(self) -> Events:
        """Nominal weighted events from which pseudo-experiments are drawn."""
        toys = self.config.pseudo_experiments
        if toys.file:
            events = self._read(toys.file)
            return self._split(events)[1] if self._is_one_file() else events
        return self._simulate(toys.n_events, "pool", toys.prescale, self.config.seed)

    @cached_property
    def pseudo_experiments(self) -> PseudoExperiments:
        """The toys; the pool, if there is one, is made at the first draw."""
        from fairuniverse.pseudo_experiments import PseudoExperiments

        c = self.config
        return PseudoExperiments(
            _LazySampler(self._sampler),
            self.simulator.nuisances,
            seed=c.seed,
            n_mu=c.pseudo_experiments.n_mu,
            n_toys=c.pseudo_experiments.n_toys,
            mu_range=c.mu_range,
            floating=c.nuisances,
            mu_values=c.pseudo_experiments.mu_values,
        )

    def _sampler(self) -> Sampler:
        if self.config.pseudo_experiments.mode == "fresh":
            return self.simulator.fresh_sampler()
        sampler = self.simulator.pool_sampler(self.pool)
        del self.pool  # the sampler keeps what it needs in a layout of its own
        return sampler

    def _simulate(self, n_events: Mapping[str, int], purpose: str, prescale: int, seed: int) -> Events:
        with progress_bar(sum(n_events.values()), f"simulating the {purpose} events", " events") as advance:
            return self.simulator.generate(
                n_events,
                seed=seed,
                purpose=purpose,
                prescale=prescale,
                n_threads=self.n_threads,
                progress=advance,
            )

    def _read(self, name: str) -> Events:
        """Weighted, labelled events of a file that the simulator can shift."""
        path = self.folder / name
        events = self.simulator.derive(_read_primary(path, self.simulator).events)
        if events.weights is None or events.process is None:
            raise InvalidDataError(f"{path} needs the columns weights and detailed_labels")
        if (events.weights < 0).any():
            n_negative = int((events.weights < 0).sum())
            raise InvalidDataError(f"{path} has {n_negative} negative weights: no toy can be drawn from them")
        empty = [p for p, total in events.sum_weights().items() if not total > 0]
        if empty:
            raise InvalidDataError(f"{path} has no weight of the process {empty[0]}: add events of it")
        # The organiser learns here, not every submission later, that the table lacks what a shift needs.
        self.simulator.shift(events.select([0]), {}, streams=Streams(0))
        return events

    def _is_one_file(self) -> bool:
        """Whether training events and pool come from the same file, to be split."""
        names = (self.config.training.file, self.config.pseudo_experiments.file)
        paths = [(self.folder / name).resolve() for name in names if name]
        return len(paths) == 2 and paths[0] == paths[1]

    def _require_same_yields(self, training: Events) -> None:
        """Training events and toys must expect the same yields, process by process."""
        if self.config.pseudo_experiments.file:
            expected = self.pool.sum_weights()
        else:
            expected = {p.name: p.expected_yield for p in self.simulator.processes}
        for process, total in training.sum_weights().items():
            if abs(total - expected[process]) > YIELD_TOLERANCE * expected[process]:
                raise InvalidDataError(
                    f"the training file expects {total:.6g} {process} events, the pseudo-experiments "
                    f"{expected[process]:.6g}: rescale the weights of each process, or mu is biased"
                )

    def _split(self, events: Events) -> tuple[Events, Events]:
        from fairuniverse.events import split

        return split(events, TRAINING_FRACTION, rng=generator(self.config.seed, "split"))

    def _require_known_names(self) -> None:
        """Names in the configuration must be the simulator's."""
        processes = [p.name for p in self.simulator.processes]
        nuisances = [p.name for p in self.simulator.nuisances]
        toys = self.config.pseudo_experiments
        named: tuple[tuple[tuple[str, ...], Mapping[Any, str], list[str]], ...] = (
            (("training", "n_events"), {p: p for p in self.config.training.n_events}, processes),
            (("pseudo_experiments", "n_events"), {p: p for p in toys.n_events}, processes),
            (("nuisances",), dict(enumerate(self.config.nuisances)), nuisances),
        )
        for setting, names, known in named:
            for key, name in names.items():
                if name not in known:
                    self._refuse_name((*setting, key), name, known)
        _require_source("training", self.config.training.n_events, self.config.training.file, processes)
        if toys.mode == "pool":
            _require_source("pseudo_experiments", toys.n_events, toys.file, processes)

    def _refuse_name(self, setting: tuple[str | int, ...], name: str, known: Sequence[str]) -> NoReturn:
        from fairuniverse.config import locate_setting

        where = f"{locate_setting(self.source, *setting)}: " if self.source else ""
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise InvalidConfigError(f"{where}{setting[0]}: unknown name {name!r}; {hint}")


class _LazySampler:
    """A sampler that is made at the first draw: reading truths costs no simulation."""

    def __init__(self, make: Callable[[], Sampler]) -> None:
        self._make = make

    @cached_property
    def _sampler(self) -> Sampler:
        return self._make()

    def sample(
        self, mu: float, nuisances: Mapping[str, float], *, streams: Streams, n_threads: int = 1
    ) -> Events:
        return self._sampler.sample(mu, nuisances, streams=streams, n_threads=n_threads)


def _require_source(
    where: str, n_events: Mapping[str, int], file: str | None, processes: Sequence[str]
) -> None:
    if bool(n_events) == bool(file):
        raise InvalidConfigError(f"{where}: give either n_events (per process) or file")
    missing = [p for p in processes if p not in n_events]
    if n_events and missing:
        raise InvalidConfigError(f"{where}.n_events: no number for the process {missing[0]!r}")


def init_submission(folder: Path) -> list[Path]:
    """Write a small method that runs into a new folder.

    Returns:
        The files written.

    Raises:
        InvalidDataError: The folder exists and is not empty.
    """
    from fairuniverse.tables import atomic_path

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidDataError(f"{folder} is not an empty folder: choose a new one")
    written = []
    for source in sorted(resources.files("fairuniverse.scaffold").iterdir(), key=lambda f: f.name):
        if source.name in ("model.py", "README.md"):
            written.append(folder / source.name)
            with atomic_path(written[-1]) as temporary:
                temporary.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return written


def simulate(
    simulator: str,
    options: Mapping[str, Any],
    n_events: Mapping[str, int] | int,
    output: Path,
    *,
    seed: int = 0,
    purpose: str = "simulate",
    n_threads: int | None = None,
) -> Events:
    """Simulate nominal weighted events and write them to a file.

    Args:
        simulator: Registered name or path.
        options: Options of the simulator.
        n_events: Number per process, or one number for each process.
        output: A ``.parquet`` or ``.root`` file.
        seed: Seed of the random streams.
        purpose: Name of the streams: samples of different purposes share no event.
        n_threads: Threads to use; the answer does not depend on it.
    """
    from fairuniverse.tables import require_writable_table, write_table

    world = make_simulator(simulator, dict(options))
    names = [p.name for p in world.processes]
    numbers = dict.fromkeys(names, n_events) if isinstance(n_events, int) else n_events
    unknown = sorted(set(numbers) - set(names))
    if unknown:
        raise InvalidDataError(f"unknown process {unknown[0]!r}: there are {', '.join(names)}")
    if not 0 < sum(numbers.values()) <= MAX_EVENTS or any(n < 0 for n in numbers.values()):
        raise InvalidDataError(
            f"events per process must be positive, at most {MAX_EVENTS:,} in all: {numbers}"
        )
    require_writable_table(output)
    with progress_bar(sum(numbers.values()), "simulating", " events") as advance:
        events = world.generate(
            numbers, seed=seed, purpose=purpose, n_threads=n_threads or n_cores(), progress=advance
        )
    write_table(output, events, signal=_signals(world))
    return events


def shift_table(
    source: Path,
    output: Path,
    nuisances: Mapping[str, float],
    *,
    simulator: str = "higgs_tautau",
    compat: str | None = None,
    noise: Path | None = None,
    seed: int = 0,
    n_threads: int | None = None,
) -> tuple[int, int]:
    """Shift, select and derive the events of a file; columns that the schema does not know are carried along.

    Args:
        source: Table of nominal events.
        output: Where to write the shifted table.
        nuisances: Values of nuisance parameters; those left out are nominal.
        simulator: World the events belong to.
        compat: Its ``systematics`` mode, if it has several; ``"posthoc"`` if not given.
        noise: File of unit noise, a row for each event of `source`, two columns.
        seed: Seed of the noise where no file is given.
        n_threads: Threads to use; the answer does not depend on it.

    Returns:
        Number of events before and after.

    Raises:
        InvalidConfigError: A mode for a world that has only one.
    """
    from fairuniverse.tables import Table, require_writable_table, write_table

    require_writable_table(output)
    if source.resolve() == output.resolve():
        raise InvalidDataError(f"{output} is the input: give the shifted table another name")
    world = make_simulator(simulator, _systematics(simulator, compat))
    table = _read_primary(source, world)
    unit_noise = None if noise is None else _read_noise(noise, len(table.events))
    events, rows = world.shift_with_rows(
        table.events, nuisances, streams=Streams(seed), noise=unit_noise, n_threads=n_threads or n_cores()
    )
    extra = {name: values[rows] for name, values in table.extra.items()}
    write_table(output, Table(events, extra), signal=_signals(world))
    return len(table.events), len(events)


def _systematics(simulator: str, mode: str | None) -> dict[str, Any]:
    """Option for the mode of a world's systematics, if it has several."""
    if "systematics" in simulator_options(simulator):
        return {"systematics": mode or "posthoc"}
    if mode is not None:
        raise InvalidConfigError(f"{simulator} has no compat mode {mode!r}, nor any other: leave it out")
    return {}


def write_toys(
    config: str | Path,
    output: Path,
    *,
    n_sets: int | None = None,
    n_toys: int | None = None,
    n_threads: int | None = None,
) -> int:
    """Write pseudo-experiments to files: ``input/toy_<set>_<toy>.parquet`` and, apart, ``reference/``.

    The reference folder is one that `score_folders` takes. The same call goes on where an interrupted one
    stopped.

    Returns:
        Number of pseudo-experiments.

    Raises:
        InvalidDataError: The folder holds something else, or more toys are asked for than there are.
    """
    from fairuniverse.scoring.truth import write_truth
    from fairuniverse.tables import atomic_path, write_table

    benchmark = Benchmark.load(config, n_threads=n_threads)
    toys = benchmark.pseudo_experiments
    n_sets, n_toys = n_sets or toys.n_mu, n_toys or toys.n_toys
    if n_sets > toys.n_mu or n_toys > toys.n_toys:
        raise InvalidDataError(f"{n_sets} x {n_toys} toys: the configuration has {toys.n_mu} x {toys.n_toys}")
    truths = [t for t in toys.truths() if t.i_mu < n_sets and t.i_toy < n_toys]
    manifest = {"benchmark_digest": benchmark.config.digest(), "n_sets": n_sets, "n_toys": n_toys}
    if output.is_dir() and any(output.iterdir()) and _read_json(output / "manifest.json") != manifest:
        raise InvalidDataError(f"{output} holds something else than these toys: choose a new folder")
    with atomic_path(output / "manifest.json") as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    write_truth(_unanswered(truths, benchmark.config), output / "reference")
    with progress_bar(len(truths), "drawing pseudo-experiments", " toys") as advance:
        for truth in truths:
            path = output / "input" / f"toy_{truth.i_mu}_{truth.i_toy}.parquet"
            if not path.exists():
                write_table(path, toys.draw(truth, n_threads=benchmark.n_threads).events)
            advance(1)
    return len(truths)


def _unanswered(truths: Sequence[Truth], config: BenchmarkConfig) -> Results:
    """Results without any answer: the truth in the form that the scores know."""
    import pandas as pd

    from fairuniverse.results import COLUMNS, NUISANCE_PREFIX, Results

    rows = [
        {"i_mu": t.i_mu, "i_toy": t.i_toy, "mu_true": t.mu, "status": "missing"}
        | {NUISANCE_PREFIX + name: value for name, value in t.nuisances.items()}
        for t in truths
    ]
    table = pd.DataFrame(rows)
    empty = {c: "" if kind == "object" else float("nan") for c, kind in COLUMNS.items() if c not in table}
    return Results(table.assign(**empty), config.mu_range, config.confidence_level)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def run(
    config: str | Path,
    submissions: Sequence[str | Path],
    output: Path,
    *,
    n_workers: int = 1,
    n_threads: int | None = None,
    isolation: str = "auto",
    overwrite: bool = False,
) -> Iterator[tuple[str, Results]]:
    """Train submissions and let each measure every pseudo-experiment; results as they are finished.

    Args:
        config: Configuration file or name.
        submissions: Folders, zips, or names of baselines.
        output: Folder for the run folders, one per submission, named after it.
        n_workers: Processes that answer toys at the same time.
        n_threads: Threads for simulating, drawing and fitting.
        isolation: Backend that starts the submissions' processes: ``bubblewrap``, ``none``, or ``auto`` for
            bubblewrap, and for none where that does not work and only our own baselines are run.
        overwrite: Whether to throw away earlier runs of these submissions.

    Yields:
        Name and results of each submission.

    Raises:
        SubmissionError: A submission cannot be read; none is run.
        InvalidDataError: Two submissions have the same name.
        IsolationError: The backend does not work here.
    """
    from fairuniverse.runner import run_submission
    from fairuniverse.submission import load_submission

    benchmark = Benchmark.load(config, n_threads=n_threads)
    paths = [find_submission(s) for s in submissions]
    loaded = [load_submission(path) for path in paths]
    names = [s.name for s in loaded]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidDataError(f"two submissions are called {twice[0]!r}: rename a folder or file")
    backend = _backend(isolation, paths, hidden=[output, find_config(config)])
    for submission in loaded:
        yield (
            submission.name,
            run_submission(
                benchmark,
                submission,
                output / submission.name,
                backend=backend,
                n_workers=n_workers,
                n_threads=benchmark.n_threads,
                overwrite=overwrite,
            ),
        )


def _backend(isolation: str, submissions: Sequence[Path], *, hidden: Sequence[Path]) -> Backend:
    """Backend for these submissions; only what comes with the package may go without one."""
    from fairuniverse.errors import IsolationError
    from fairuniverse.isolation.backends import get_backend

    if isolation != "auto":
        return get_backend(isolation, hidden=hidden)
    try:
        return get_backend("bubblewrap", hidden=hidden)
    except IsolationError as error:
        ours = Path(str(resources.files("fairuniverse.baselines"))).resolve()
        strangers = [path for path in submissions if path.resolve().parent != ours]
        if not strangers:
            return get_backend("none")
        raise IsolationError(
            f"{strangers[0]} cannot be isolated: {error}. If it is your own code, add --isolation none"
        ) from error


def score_runs(runs: Sequence[Path], output: Path | None = None) -> list[ScoreCard]:
    """Score cards of finished runs, one per submission; with `output`, written to a folder per submission."""
    from fairuniverse.scoring.card import score_card
    from fairuniverse.store import read_results

    results = _public(read_results(runs))
    cards = [score_card(results.of(name)) for name in results.submissions]
    if output is not None:
        for card in cards:
            _write_card(card, results.of(card.submission), output / card.submission)
    return cards


def score_folders(predictions: Path, reference: Path | None, output: Path) -> ScoreCard:
    """Score a folder of predictions, in our or the official layout, against a folder of truths.

    Writes ``scores.json`` and ``detailed_results.html`` to `output`, and nothing elsewhere.
    """
    from fairuniverse.scoring import program
    from fairuniverse.store import read_results

    def read_run(folder: Path) -> Results:
        return _public(read_results(folder))

    return program.score_folders(predictions, reference, output, read_run=read_run, write_page=_write_page)


def report(
    runs: Sequence[Path], output: Path, *, picture: Path | None = None, n_threads: int | None = None
) -> Path:
    """Compare finished runs in one HTML page, with the shapes of signal and background.

    Args:
        runs: Run folders, or folders of run folders, of the same benchmark.
        output: The page.
        picture: File for the intervals as one picture, .png or .svg.
        n_threads: Threads for simulating the shapes.

    Returns:
        The page.
    """
    from fairuniverse.reporting import overview_chart, save_chart, shape_table, write_report
    from fairuniverse.scoring.card import score_card
    from fairuniverse.store import read_results

    results = _public(read_results(runs))
    if picture is not None:
        save_chart(overview_chart(results), picture)
    cards = [score_card(results.of(name)) for name in results.submissions]
    simulator = _simulator_of(results)
    with progress_bar(SHAPE_EVENTS * len(simulator.processes), "simulating shapes", " events") as advance:
        events = simulator.generate(
            {p.name: SHAPE_EVENTS for p in simulator.processes},
            seed=0,
            purpose="shapes",
            n_threads=n_threads or n_cores(),
            progress=advance,
        )
    drawn = simulator.schema.drawn or simulator.schema.names
    shapes = shape_table(simulator, events, drawn, seed=0, n_threads=n_threads or n_cores())
    return write_report(
        results,
        output,
        cards={card.submission: tuple(card.scores.values()) for card in cards},
        references=_references(cards[0]),
        shapes=shapes,
    )


def compare(
    simulated: Path, reference: Path, *, simulator: str = "higgs_tautau", output: Path | None = None
) -> Comparison:
    """Compare two event tables feature by feature; with `output`, draw them in an HTML page."""
    from fairuniverse.comparison import compare as compare_events
    from fairuniverse.comparison import comparison_histograms
    from fairuniverse.reporting import write_comparison

    world = make_simulator(simulator, {})
    first, second = (world.derive(_read_primary(path, world).events) for path in (simulated, reference))
    comparison = compare_events(first, second)
    if output is not None:
        write_comparison(comparison_histograms(first, second), output, distances=comparison.to_frame())
    return comparison


SHAPE_EVENTS = 200_000
"""Events per process behind the shapes in a report."""


WITHHELD = "withheld"


def _public(results: Results) -> Results:
    """The same results without what would give away toys to come: pages and scores are for everybody."""
    manifest = json.loads(json.dumps(results.manifest, default=str))
    config = manifest.get("benchmark", {}).get("config", {})
    if "seed" in config:
        config["seed"] = WITHHELD
    if config.get("pseudo_experiments", {}).get("mu_values"):
        config["pseudo_experiments"]["mu_values"] = WITHHELD
    return replace(results, manifest=manifest)


def _simulator_of(results: Results) -> Simulator:
    """The world that the results were measured in, from their manifest."""
    config = results.manifest["benchmark"]["config"]["simulator"]
    return make_simulator(config["name"], config["options"])


def _references(card: ScoreCard) -> dict[str, dict[str, float]]:
    return {
        line.name: {
            "quantiles_score": line.quantiles_score,
            "coverage": line.coverage,
            "interval": line.width,
            "winkler": line.winkler,
        }
        for line in card.references
    }


def _write_card(card: ScoreCard, results: Results, folder: Path) -> None:
    from fairuniverse.tables import atomic_path

    with atomic_path(folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(card.to_flat(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _write_page(card, results, folder / "detailed_results.html")


def _write_page(card: ScoreCard, results: Results, path: Path) -> None:
    """The page of one submission; without the report libraries, the plain table of the scores."""
    from fairuniverse.errors import MissingDependencyError
    from fairuniverse.reporting import write_report
    from fairuniverse.scoring.program import plain_page

    cards = {card.submission: tuple(card.scores.values())}
    try:
        write_report(results, path, cards=cards, references=_references(card))
    except MissingDependencyError:
        path.write_text(plain_page(card), encoding="utf-8")


def _read_primary(path: Path, world: Simulator) -> Table:
    """Table of a world; its derived features may be missing."""
    from fairuniverse.tables import read_table

    names = [p.name for p in world.processes]
    return read_table(path, world.schema, names, required=world.schema.primary_names)


def _signals(world: Simulator) -> list[str]:
    return [p.name for p in world.processes if p.is_signal]


def _read_noise(path: Path, n_events: int) -> NDArray[np.floating]:
    """Unit noise of shape (2, n_events) from a .npy or .parquet file with two columns."""
    import numpy as np
    import pandas as pd

    try:
        noise = np.load(path) if path.suffix == ".npy" else pd.read_parquet(path).to_numpy(np.float64)
    except (OSError, ValueError) as error:
        raise InvalidDataError(f"{path} is no table of numbers (.npy or .parquet): {error}") from error
    if noise.shape == (n_events, 2):
        noise = noise.T
    if noise.shape != (2, n_events) or not np.isfinite(noise).all():
        raise InvalidDataError(
            f"{path}: noise must be {n_events} rows (one per event) of two finite numbers, not {noise.shape}"
        )
    return np.ascontiguousarray(noise, dtype=np.float64)
