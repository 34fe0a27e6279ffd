"""Blocks of fully simulated events: pure functions of (cards, seed, process, block number)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time
from typing import Any, get_args

import numpy as np

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, Schema
from fairuniverse.protocols import EventBlock, Process
from fairuniverse.seeding import generator, seed_sequence
from fairuniverse.worlds import require_option

from ..schema import SCHEMA
from ..systematics import nominal_features
from ..world import LUMINOSITY, PROCESS_NAMES, YIELDS, processes
from .cards import Cards, read_cards
from .detector import Measured, measure
from .generation import Generator, Mode
from .selection import SHAPES, Selected, select

MAX_PYTHIA_SEED = 900_000_000

SAMPLE = Path(__file__).parent / "sample" / "events.parquet"


class FullChain:
    """Pythia 8, jets and a parametric detector, for the world ``higgs_tautau``.

    Args:
        cards: Folder with ``processes.yaml``, ``detector.yaml`` or both; the packaged card for one not given.
        mode: ``"production"``, fast and weighted, or ``"reference"``, plain Pythia with its own tau decays.
        yields: Preset of expected events that the weights of a merged table sum to.

    Raises:
        InvalidConfigError: A card or an option is wrong.
    """

    def __init__(self, cards: str | None = None, mode: Mode = "production", yields: str = "official") -> None:
        require_option("mode", mode, get_args(Mode))
        require_option("yields", yields, list(YIELDS))
        self._folder, self._mode, self._yields = cards, mode, yields

    @cached_property
    def cards(self) -> Cards:
        """The cards."""
        return read_cards(None if self._folder is None else Path(self._folder))

    @property
    def world(self) -> str:
        """Name of the simulator whose events these are."""
        return "higgs_tautau"

    @property
    def schema(self) -> Schema:
        """Features and record, as in the fast simulation."""
        return SCHEMA

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes of the world with the yields of the preset."""
        return processes(self._yields)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the processes that the cards tell how to make."""
        return tuple(n for n in PROCESS_NAMES if n in self.cards.generation.processes)

    @property
    def sample(self) -> Path:
        """Events made with the packaged cards, for those who have no Pythia; its manifest is beside it."""
        return SAMPLE

    @property
    def digest(self) -> str:
        """What decides about events besides seed, process and block: cards and mode."""
        return f"{self.cards.digest}-{self._mode}"

    def provenance(self) -> Mapping[str, Any]:
        """Cards in full and versions of the libraries, for the manifest."""
        return {
            "mode": self._mode,
            "cards": self.cards.model_dump(mode="json"),
            "libraries": {name: _version(name) for name in ("pythia8mc", "fastjet", "awkward", "numpy")},
        }

    def make_block(
        self, process: str, number: int, *, seed: int, variations: Sequence[Mapping[str, float]] = ({},)
    ) -> list[EventBlock]:
        """Generate, measure and select the events of one block.

        Args:
            process: One of the processes of the cards.
            number: Number of the block, from 0.
            seed: Seed of the sample.
            variations: Values of `SHAPES` to apply inside the detector; one answer for each, of the same
                generated events and the same random numbers of the detector.

        Raises:
            InvalidConfigError: A setting that Pythia does not know, or an unknown process.
            InvalidDataError: A nuisance parameter that does not act inside the detector.
            MissingDependencyError: Pythia or fastjet is not installed.
            GenerationError: Pythia gives up.
        """
        _require_shapes(variations)
        start = process_time()
        card = self.cards.process(process)
        purpose = f"full:{self.digest}:{process}"
        state = int(seed_sequence(seed, f"{purpose}:pythia", number).generate_state(1, np.uint64)[0])
        source = Generator(
            self.cards,
            process,
            seed=1 + state % MAX_PYTHIA_SEED,
            rng=generator(seed, f"{purpose}:decays", number),
            mode=self._mode,
        )
        rng = generator(seed, f"{purpose}:detector", number)
        found: list[list[Selected]] = [[] for _ in variations]
        n_generated = 0
        for batch in source.batches(card.events_per_block):
            measured = measure(batch, self.cards.detector, rng=rng)
            for values, parts in zip(variations, found, strict=True):
                parts.append(_select(measured, self.cards, values, n_generated))
            n_generated += measured.n_events
        statistics = {
            "n_tried": source.n_tried,
            "n_generated": n_generated,
            "cross_section_fb": card.cross_section_fb,
            "branching": source.branching,
            "cpu_s": round(process_time() - start, 2),
        }
        return [self._block(process, parts, statistics) for parts in found]

    def _block(self, process: str, parts: Sequence[Selected], statistics: Mapping[str, float]) -> EventBlock:
        record = np.concatenate([p.record for p in parts], axis=1)
        weights = np.concatenate([p.weights for p in parts])
        code = np.full(len(weights), PROCESS_NAMES.index(process), np.uint8)
        acceptance = weights.sum() * statistics["branching"] / statistics["n_tried"]
        events = Events(SCHEMA, nominal_features(record), weights, code, PROCESS_NAMES, record)
        extra = {
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("row", "is_true_tau", "is_electron", "n_tracks")
        }
        expected = statistics["cross_section_fb"] * LUMINOSITY * acceptance
        return EventBlock(events, extra, {**statistics, "acceptance": acceptance, "expected_yield": expected})


def _select(measured: Measured, cards: Cards, values: Mapping[str, float], first: int) -> Selected:
    chosen = select(measured, cards.detector, **values)
    chosen.row[:] += first
    return chosen


def _require_shapes(variations: Sequence[Mapping[str, float]]) -> None:
    unknown = sorted({name for values in variations for name in values} - set(SHAPES))
    if unknown:
        raise InvalidDataError(
            f"{unknown[0]!r} does not act inside the detector: only {', '.join(SHAPES)} do, "
            "normalisations scale weights"
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
