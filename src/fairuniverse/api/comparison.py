"""Tables of events beside a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairuniverse.api.benchmark import read_primary
from fairuniverse.api.events import known_provenance, systematics_option
from fairuniverse.api.progress import progress_bar
from fairuniverse.errors import InvalidDataError
from fairuniverse.registry import is_block_source, make_block_source, make_simulator
from fairuniverse.seeding import Streams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairuniverse.comparison import Comparison, ProcessYield, Validation
    from fairuniverse.events import Events
    from fairuniverse.protocols import Simulator


def compare(
    simulated: Sequence[Path],
    reference: Path,
    *,
    simulator: str = "higgs_tautau",
    output: Path | None = None,
    with_classifier: bool = True,
) -> Validation:
    """Compare event tables with a reference, feature by feature; with `output`, draw them in an HTML page.

    A table is a file, or the name of a simulation in blocks that comes with a sample.

    Args:
        simulated: Tables to be judged.
        reference: Table to judge by.
        simulator: World the events belong to.
        output: HTML page to write.
        with_classifier: Whether boosted trees are trained to tell the samples apart.

    Raises:
        InvalidDataError: No table to be judged, or one twice; or one has no process of the reference.
        StorageError: A file cannot be read, or the page not be written.
        MissingDependencyError: A library for the classifier or the page is not installed.
    """
    from fairuniverse.comparison import Validation
    from fairuniverse.reporting import write_comparison
    from fairuniverse.reporting.render import require_chart_libraries

    if not simulated:
        raise InvalidDataError("nothing to compare with the reference: name at least one table more")
    if twice := [path for path in simulated if list(simulated).count(path) > 1]:
        raise InvalidDataError(f"{twice[0]} is named twice: name each table that is judged once")
    if output is not None:
        _require_other(output, [*simulated, reference])
        require_chart_libraries()
    world = make_simulator(simulator, systematics_option(simulator, None))
    samples = _read([*simulated, reference], world)
    yields = [y for sample in samples for y in sample.yields()]
    remarks = [remark for sample in samples for remark in sample.remarks(world)]
    selected = [s.name for s in samples if len(s.selected) == len(s.events)]
    if 0 < len(selected) < len(samples):
        remarks.append(f"all are compared after the selection, since {', '.join(selected)} is selected")
        samples = [replace(s, events=s.selected) for s in samples]
    *judged, standard = samples
    validation = Validation(
        standard.name,
        tuple(s.name for s in judged),
        tuple(_compare(judged, standard, with_classifier)),
        tuple(yields),
        tuple(remarks),
    )
    if output is not None:
        facts = {sample.name: sample.origin for sample in samples}
        write_comparison(validation, _histograms(judged, standard), output, facts=facts)
    return validation


@dataclass(frozen=True, eq=False)
class _Sample:
    """A table of events with the name that it has in tables and charts.

    Attributes:
        name: This name.
        path: What the user called it.
        events: Its events, derived features computed anew.
        selected: Those that the world selects at nominal nuisances.
        metadata: What the file beside it tells of its making.
    """

    name: str
    path: Path
    events: Events
    selected: Events
    metadata: Mapping[str, Any]

    @property
    def origin(self) -> str:
        """Where it comes from, as far as its metadata tell."""
        words = [str(self.path)]
        if origin := self.metadata.get("origin"):
            words = [f"{self.path}: {origin.get('simulator')}"]
            words += [f"{name}={value}" for name, value in origin["options"].items()]
            words.append(f"seed {origin['seed']}")
        return ", ".join([*words, *(["shifted"] if self.metadata.get("shifts") else [])])

    def yields(self) -> Iterator[ProcessYield]:
        """Its processes."""
        from fairuniverse.comparison import process_yields

        production = self.metadata.get("production", {})
        yield from process_yields(self.name, self.events, self.selected, production)

    def remarks(self, world: Simulator) -> Iterator[str]:
        """What makes it another table than one of nominal events."""
        nominal = {p.name: p.nominal for p in world.nuisances}
        for shift in self.metadata.get("shifts", []):
            values = [f"{n} = {v:g}" for n, v in shift["nuisances"].items() if v != nominal.get(n)]
            told = ", ".join(values) or "every nuisance parameter at its nominal value"
            yield f"{self.name} is a shifted table: {told}"


def _require_other(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write over a table."""
    if output.resolve() in {path.resolve() for path in inputs}:
        raise InvalidDataError(f"{output} is one of the tables: give the page another name")


def _read(paths: Sequence[Path], world: Simulator) -> list[_Sample]:
    """Tables under the names of their files, or under whole paths where these would repeat."""
    from fairuniverse.tables import read_metadata

    names = [path.name for path in paths]
    short = [n if names.count(n) == 1 else str(path) for n, path in zip(names, paths, strict=True)]
    if short[-1] in short[:-1]:
        short[-1] += " (itself)"
    samples = []
    for name, path in zip(short, paths, strict=True):
        file = _file(path)
        events = world.derive(read_primary(file, world).events)
        selected = world.shift(events, {}, streams=Streams(0))
        samples.append(_Sample(name, path, events, selected, known_provenance(read_metadata(file))))
    return samples


def _file(name: Path) -> Path:
    """A file as it is; where there is none, the sample of the simulation of that name."""
    if name.exists() or not is_block_source(str(name)):
        return name
    sample = make_block_source(str(name), {}).sample
    if sample is None:
        raise InvalidDataError(f"{name} comes without a sample: simulate one, and give its file")
    return sample


def _compare(judged: Sequence[_Sample], standard: _Sample, with_classifier: bool) -> Iterator[Comparison]:
    from fairuniverse.comparison import compare as compare_events
    from fairuniverse.comparison.samples import common_processes

    n_steps = sum(len(common_processes(s.events, standard.events)) for s in judged)
    with progress_bar(n_steps, "comparing", " processes") as advance:
        for sample in judged:
            yield compare_events(
                sample.events,
                standard.events,
                with_classifier=with_classifier,
                progress=lambda _: advance(1),
            )


def _histograms(judged: Sequence[_Sample], standard: _Sample) -> Any:
    """Histograms of all samples beside those of the reference."""
    import pandas as pd

    from fairuniverse.comparison import comparison_histograms

    tables = [comparison_histograms(s.events, standard.events).assign(sample=s.name) for s in judged]
    return pd.concat(tables, ignore_index=True)
