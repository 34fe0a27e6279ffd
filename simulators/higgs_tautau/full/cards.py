"""Cards: what is generated and how the detector responds, as documented files with a digest.

A folder of cards holds ``processes.yaml``, ``detector.yaml`` or both; those that come with the package tell
what each entry means. Unknown keys, impossible values and tables of unequal lengths are refused with file and
entry.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fairuniverse.errors import InvalidConfigError, StorageError, did_you_mean

from ..world import PROCESS_NAMES

PACKAGED = Path(__file__).parent / "cards"
"""The cards that come with the package."""

PROCESSES, DETECTOR = NAMES = ("processes.yaml", "detector.yaml")
"""Files of a folder of cards."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Card(BaseModel):
    """An entry of a card: no unknown keys, never changed."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _has_known_entries(cls, content: Any) -> Any:
        """Asked before what is missing: a misspelt entry is both."""
        unknown = [key for key in content if key not in cls.model_fields] if isinstance(content, dict) else []
        if unknown:
            raise ValueError(f"no entry {unknown[0]!r} here: {did_you_mean(unknown[0], cls.model_fields)}")
        return content


class Regions(Card):
    """Values by region of the detector.

    Attributes:
        eta: Upper edges of the regions in |eta|, increasing; every other list has as many entries.
    """

    eta: tuple[Positive, ...]

    @model_validator(mode="after")
    def _is_rectangular(self) -> Regions:
        if not self.eta or list(self.eta) != sorted(set(self.eta)):
            raise ValueError(f"eta = {list(self.eta)} must be increasing upper edges in |eta|")
        for name, values in self:
            if isinstance(values, tuple) and len(values) != len(self.eta):
                raise ValueError(f"{name} has {len(values)} values for {len(self.eta)} regions of eta")
        return self


class Cells(Regions):
    """Granularity of a calorimeter: cell size in eta, and in azimuth in degrees."""

    deta: tuple[Positive, ...]
    dphi_degrees: tuple[Positive, ...]


class EnergyResolution(Regions):
    """Stochastic (sqrt GeV), constant and noise (GeV) terms, added in quadrature."""

    stochastic: tuple[NonNegative, ...]
    constant: tuple[NonNegative, ...]
    noise: tuple[NonNegative, ...]


class Calorimeter(Card):
    """Cells, resolution and thresholds of a calorimeter."""

    cells: Cells
    resolution: EnergyResolution
    min_energy: NonNegative
    min_significance: NonNegative


class Efficiency(Regions):
    """Probability to be found, below and above a transverse momentum (GeV); none below `min_pt`."""

    min_pt: NonNegative
    pt: NonNegative
    below: tuple[Probability, ...]
    above: tuple[Probability, ...]


class PtResolution(Regions):
    """Relative resolution of the transverse momentum: constant (+) slope * pt (1/GeV)."""

    constant: tuple[NonNegative, ...]
    slope: tuple[NonNegative, ...]


class Magnet(Card):
    """Solenoid: field in tesla, radius and half length of the volume inside the calorimeters in metres."""

    field: NonNegative
    radius: Positive
    half_length: Positive


class Tracks(Card):
    """Charged particles in the tracker."""

    efficiency: Efficiency
    resolution: PtResolution


class Electrons(Card):
    """Electrons, measured by the electromagnetic calorimeter; isolation is relative to their pt."""

    efficiency: Efficiency
    min_pt: Positive
    isolation: Positive


class Muons(Electrons):
    """Muons, measured by their track."""

    resolution: PtResolution


class Isolation(Card):
    """Cone around a lepton, and the smallest pt (GeV) that counts in it."""

    cone: Positive
    min_pt: NonNegative


class Jets(Card):
    """Anti-kt jets: radius, threshold before calibration (GeV), reach, cone of a lepton that hides one."""

    radius: Positive
    min_raw_pt: Positive
    max_eta: Positive
    lepton_cone: NonNegative


class TauTag(Card):
    """Tagging of hadronic taus: efficiencies and mistag rates for one track and for more."""

    cone: Positive
    min_track_pt: NonNegative
    max_eta: Positive
    efficiency: tuple[Probability, Probability]
    mistag: tuple[Probability, Probability]


class TurnOn(Regions):
    """Efficiency of a trigger: `plateau` times the normal distribution function of (pt - `pt`) / `width`.

    Momenta in GeV; there is none beyond the last region.
    """

    pt: tuple[NonNegative, ...]
    width: tuple[Positive, ...]
    plateau: tuple[Probability, ...]


class Trigger(Card):
    """Triggers of one electron and of one muon."""

    electrons: TurnOn
    muons: TurnOn


class Selection(Card):
    """The one lepton of an event."""

    lepton_pt: Positive
    lepton_eta: Positive


class DetectorCard(Card):
    """The whole detector; GeV, tesla, metres."""

    magnet: Magnet
    ecal: Calorimeter
    hcal: Calorimeter
    tracks: Tracks
    electrons: Electrons
    muons: Muons
    isolation: Isolation
    jets: Jets
    tau_tag: TauTag
    selection: Selection
    trigger: Trigger | None = None
    min_weight: Probability


class Filter(Card):
    """Thresholds (GeV) on true leptons and visible taus where the shower has come down to `scale`."""

    scale: Positive
    lepton_pt: NonNegative
    lepton_eta: Positive
    tau_pt: NonNegative
    tau_eta: Positive


class ProcessCard(Card):
    """What Pythia generates for one process.

    Attributes:
        settings: Lines for Pythia, after those of every process.
        cross_section_fb: Cross section of what the settings generate.
        force_lepton_hadron: Whether tau pairs of a boson are made to decay to lepton + hadrons.
        fakes_prescale: Events that pass the filter without a hadronic tau for each one that is kept.
        events_per_block: Events of a block that pass the filter; about half of them are selected.
    """

    settings: tuple[str, ...]
    cross_section_fb: Positive
    force_lepton_hadron: bool = False
    fakes_prescale: Annotated[int, Field(ge=1)]
    events_per_block: Annotated[int, Field(ge=2)]


class ProcessesCard(Card):
    """Generation of all processes."""

    settings: tuple[str, ...]
    filter: Filter
    processes: dict[str, ProcessCard]

    @model_validator(mode="after")
    def _are_known(self) -> ProcessesCard:
        for name in self.processes:
            if name not in PROCESS_NAMES:
                raise ValueError(f"no process {name!r} in this world: there are {', '.join(PROCESS_NAMES)}")
        return self


class Cards(Card):
    """A folder of cards."""

    generation: ProcessesCard
    detector: DetectorCard

    @cached_property
    def digest(self) -> str:
        """What the cards say, in 16 hexadecimal digits: comments and layout do not count."""
        return digest_of(self)

    def process(self, name: str) -> ProcessCard:
        """Card of one process.

        Raises:
            InvalidConfigError: The cards do not have it.
        """
        try:
            return self.generation.processes[name]
        except KeyError:
            known = ", ".join(self.generation.processes)
            raise InvalidConfigError(f"no process {name!r} in these cards: there are {known}") from None


def digest_of(card: Card) -> str:
    """What a card says, in 16 hexadecimal digits: comments, layout and what is left out do not count."""
    content = json.dumps(card.model_dump(mode="json", exclude_none=True), sort_keys=True)
    return hashlib.blake2s(content.encode(), digest_size=8).hexdigest()


def read_cards(folder: str | Path | None = None) -> Cards:
    """Cards of a folder; that of the package for one that is not there, and both if `folder` is None.

    Raises:
        InvalidConfigError: An entry is missing, unknown or impossible, with file and entry; or a card is
            missing while there is another YAML file, which may be meant for it.
        StorageError: The folder has no card, or a file cannot be read.
    """
    found = {} if folder is None else _cards_in(Path(folder))
    return Cards(
        generation=_read(found.get(PROCESSES, PACKAGED / PROCESSES), ProcessesCard),
        detector=_read(found.get(DETECTOR, PACKAGED / DETECTOR), DetectorCard),
    )


def _cards_in(folder: Path) -> dict[str, Path]:
    """Cards of a folder by the names of their files."""
    try:
        files = {path.name: path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")}
    except OSError as error:
        raise StorageError(f"cannot read the cards in {folder}: {error.strerror or error}") from error
    if not files:
        raise StorageError(f"no cards in {folder}: put {' or '.join(NAMES)} there, or both")
    others = sorted(files.keys() - set(NAMES))
    if others and not files.keys() >= set(NAMES):
        raise InvalidConfigError(f"{files[others[0]]} is no card: {did_you_mean(others[0], NAMES)}")
    return files


C = TypeVar("C", bound=Card)


def _read(path: Path, kind: type[C]) -> C:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read the card {path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise InvalidConfigError(f"{path} is no YAML: {error}") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole card"
        what = first["msg"].removeprefix("Value error, ")
        # Of what is missing, and of rules of our own, the input is all that is around it.
        is_of_entry = first["type"] not in ("missing", "value_error")
        found = f" (found {shorten(repr(first['input']), 90)})" if is_of_entry else ""
        raise InvalidConfigError(f"{path}: {where}: {what}{found}") from error
