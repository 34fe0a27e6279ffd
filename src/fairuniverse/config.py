"""Benchmark configurations: one documented data model, read from YAML and checked line by line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pydantic
import yaml
from pydantic import ConfigDict, Field

from fairuniverse.errors import InvalidConfigError, did_you_mean

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(gt=0, lt=1)]


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class SimulatorConfig:
    """Which world the benchmark measures in.

    Attributes:
        name: Registered name, or a path to a folder.
        options: Keyword arguments of the simulator.
    """

    name: str = "higgs_tautau"
    options: dict[str, bool | int | float | str] = field(default_factory=dict)


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class TrainingConfig:
    """What a submission learns from.

    Attributes:
        n_events: Simulated events per process.
        prescale: Of simulated events that do not resemble the signal one in so many is kept, with so many
            times the weight.
        file: A Parquet or ROOT table, or a folder of Parquet files, to use instead of simulated events,
            relative to the configuration. Parquet of more than ten million rows stays on disk, in random
            order: methods read it with `sample` and `batches`.
        seed: Seed of everything random in training. Submissions know it, so it is not that of the toys.
    """

    n_events: dict[str, Count] = field(default_factory=dict)
    prescale: Count = 1
    file: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class PseudoExperimentsConfig:
    """How a submission is tested.

    Attributes:
        n_mu: Number of sets, each with one true mu.
        n_toys: Number of pseudo-experiments per set.
        mode: "pool" draws with replacement from a pool of simulated events (the public challenge's way;
            all toys share the pool's own fluctuation), "fresh" simulates new events for every toy.
        n_events: Simulated events of the pool per process; only in mode "pool".
        prescale: As for training events; only in mode "pool".
        file: A Parquet or ROOT table, or a folder of Parquet files, to use as the pool instead, relative to
            the configuration. Of Parquet with more than ten million rows a toy reads what it draws, in runs
            of neighbours in a random order (see `fairuniverse.pools`).
        mu_values: Fixed true mu of each set; drawn uniformly from mu_range if not given.
    """

    n_mu: Count = 10
    n_toys: Count = 100
    mode: Literal["pool", "fresh"] = "pool"
    n_events: dict[str, Count] = field(default_factory=dict)
    prescale: Count = 1
    file: str | None = None
    mu_values: list[float] | None = None


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class LimitsConfig:
    """What a submission may use.

    Attributes:
        fit_timeout_s: Wall time of `fit`, seconds.
        predict_timeout_s: Wall time of one `predict`, seconds.
        memory_mib: Memory of its process tree, MiB.
        state: "persistent" asks one process about many toys, and some of them again in a fresh process to see
            that it remembers nothing; "fresh" starts a process with the saved model for every toy.
    """

    fit_timeout_s: Positive = 7200.0
    predict_timeout_s: Positive = 60.0
    memory_mib: Count = 4096
    state: Literal["persistent", "fresh"] = "persistent"


@pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)
class BenchmarkConfig:
    """One benchmark.

    Attributes:
        name: Its name.
        version: Raised whenever one of its numbers could change a result.
        description: What it asks, in a sentence.
        seed: Seed of the pseudo-experiments. Those of the packaged benchmarks are public, for practice; a
            competition keeps its own secret, and large (such as `secrets.randbits(128)`).
        simulator: The world.
        mu_range: Smallest and largest true signal strength.
        confidence_level: Probability content the intervals claim.
        nuisances: Names of the nuisance parameters that vary from toy to toy.
        training: What a submission learns from.
        pseudo_experiments: How it is tested.
        limits: What it may use.
        show_messages: Whether score cards and pages show what submissions said when they failed. It may hold
            data of toys that are still in use, so a competition leaves this off; results always have it.
    """

    name: str
    version: str
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)
    mu_range: tuple[float, float] = (0.1, 3.0)
    confidence_level: Probability = 0.6827
    nuisances: list[str] = field(default_factory=list)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pseudo_experiments: PseudoExperimentsConfig = field(default_factory=PseudoExperimentsConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    show_messages: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Every setting as plain types."""
        return asdict(self)

    def digest(self) -> str:
        """SHA-256 of every setting: equal digests mean the same toys from the same version and files."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def load_config(path: str | Path) -> BenchmarkConfig:
    """Configuration from a YAML file.

    Raises:
        InvalidConfigError: The file is missing or not YAML, or a key is unknown, a type wrong or a value
            impossible; the message names the line, the rule and, for a key, the nearest valid one.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    return parse_config(text, source=str(path))


def locate_setting(path: Path, *setting: str | int) -> str:
    """File and line of a setting, by the keys that lead to it, for messages about a valid file."""
    node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert node is not None
    return _where(setting, _lines(node), str(path))


def parse_config(text: str, *, source: str = "configuration") -> BenchmarkConfig:
    """Configuration from YAML text; errors as for `load_config`, with `source` as the file name."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InvalidConfigError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(values, dict):
        raise InvalidConfigError(f"{source}: expected a mapping of settings such as 'name: my-benchmark'")
    assert node is not None
    lines = _lines(node)
    try:
        # Strict JSON mode takes lists for tuples and integers for floats, and nothing else.
        config = pydantic.TypeAdapter(BenchmarkConfig).validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        messages = [_explain(e, lines, source) for e in error.errors()]
        raise InvalidConfigError("\n".join(dict.fromkeys(messages))) from error
    _require_consistent(config, lines, source)
    return config


def _require_consistent(
    config: BenchmarkConfig, lines: dict[tuple[str | int, ...], int], source: str
) -> None:
    """Rules that involve more than one setting."""

    def refuse(path: tuple[str | int, ...], message: str) -> None:
        raise InvalidConfigError(f"{_where(path, lines, source)}: {'.'.join(map(str, path))}: {message}")

    toys = config.pseudo_experiments
    if not 0 <= config.mu_range[0] < config.mu_range[1]:
        refuse(("mu_range",), f"needs 0 <= first value < second value, not {list(config.mu_range)}")
    outside = [mu for mu in toys.mu_values or () if not config.mu_range[0] <= mu <= config.mu_range[1]]
    if outside:
        message = f"{outside[0]} is outside mu_range {list(config.mu_range)}"
        refuse(("pseudo_experiments", "mu_values"), message)
    if toys.mode == "fresh" and (toys.n_events or toys.file or toys.prescale > 1):
        refuse(
            ("pseudo_experiments",),
            "mode 'fresh' has no pool: drop n_events, prescale and file, or use mode 'pool'",
        )
    if toys.mu_values is not None and len(toys.mu_values) != toys.n_mu:
        refuse(
            ("pseudo_experiments", "mu_values"), f"{len(toys.mu_values)} values for n_mu = {toys.n_mu} sets"
        )
    if len(set(config.nuisances)) != len(config.nuisances):
        refuse(("nuisances",), "a nuisance parameter is listed twice")


def _lines(node: yaml.Node, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], int]:
    """Line number (from 1) of every key, by its path."""
    lines: dict[tuple[str | int, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            lines[here] = key.start_mark.line + 1
            lines |= _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[(*path, i)] = item.start_mark.line + 1
            lines |= _lines(item, (*path, i))
    return lines


def _where(path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], source: str) -> str:
    while path and path not in lines:
        path = path[:-1]
    return f"{source}:{lines[path]}" if path else source


def _explain(error: Any, lines: dict[tuple[str | int, ...], int], source: str) -> str:
    path = tuple(p for p in error["loc"] if p != "[key]")
    where, name = _where(path, lines, source), ".".join(map(str, path))
    if error["type"] == "unexpected_keyword_argument":
        known = [f.name for f in fields(_model_at(path[:-1]))]
        return f"{where}: unknown setting {name!r}; {did_you_mean(path[-1], known)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: the setting {name!r} is required"
    return f"{where}: {name} = {error['input']!r}: {error['msg']}"


def _model_at(path: tuple[str | int, ...]) -> Any:
    """The data model of the settings at a path."""
    model: Any = BenchmarkConfig
    for key in path:
        hint = get_type_hints(model)[str(key)]
        model = (
            hint
            if is_dataclass(hint)
            else next(a for a in (get_origin(hint), *get_args(hint)) if is_dataclass(a))
        )
    return model
