"""Blocks of records of recoil: pure functions of (cards, seed, process, block number)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events, Schema
from fairuniverse.protocols import EventBlock
from fairuniverse.seeding import generator, seed_sequence

from ..world import LUMINOSITY, PROCESS_NAMES
from .recoil import RECOIL_SCHEMA, measure_recoil
from .source import MAX_PYTHIA_SEED, FullChain
from .undecayed import UndecayedGenerator


class RecoilChain(FullChain):
    """The full chain up to undecayed taus: records that the fast simulation decays (see `recoil`).

    Args:
        cards: Folder with ``processes.yaml``, ``detector.yaml`` or both; the packaged card for one not given.

    Raises:
        InvalidConfigError: A card is wrong.
    """

    def __init__(self, cards: str | None = None) -> None:
        super().__init__(cards)

    @property
    def schema(self) -> Schema:
        """Columns of a record."""
        return RECOIL_SCHEMA

    @property
    def sample(self) -> Path | None:  # type: ignore[override]
        """None: the package has its records packed."""
        return None

    @property
    def digest(self) -> str:
        """Cards, and that these are records of recoil."""
        return f"{self.cards.digest}-recoil"

    def make_block(
        self, process: str, number: int, *, seed: int, variations: Sequence[Mapping[str, float]] = ({},)
    ) -> list[EventBlock]:
        """Generate and measure the environments of one block.

        Raises:
            InvalidConfigError: A setting that Pythia does not know, or an unknown process.
            InvalidDataError: Nuisance parameters, which act when taus have decayed.
            MissingDependencyError: Pythia or fastjet is not installed.
            GenerationError: Pythia gives up.
        """
        if any(variations):
            raise InvalidDataError("records of recoil have no variations: shift the events made of them")
        start = process_time()
        card = self.cards.process(process)
        purpose = f"full:{self.digest}:{process}"
        state = int(seed_sequence(seed, f"{purpose}:pythia", number).generate_state(1, np.uint64)[0])
        rng = generator(seed, f"{purpose}:decays", number)
        source = UndecayedGenerator(self.cards, process, seed=1 + state % MAX_PYTHIA_SEED, rng=rng)
        rng = generator(seed, f"{purpose}:detector", number)
        parts = [
            measure_recoil(batch, self.cards.detector, rng=rng)
            for batch in source.batches(card.events_per_block)
        ]
        rows = np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)
        weights = rows[0].astype(np.float64)
        acceptance = weights.sum() / source.n_tried
        statistics: dict[str, float] = {
            "n_tried": source.n_tried,
            "n_generated": card.events_per_block,
            "cross_section_fb": card.cross_section_fb,
            "acceptance": acceptance,
            "expected_yield": card.cross_section_fb * LUMINOSITY * acceptance,
            "cpu_s": round(process_time() - start, 2),
        }
        code = np.full(len(weights), PROCESS_NAMES.index(process), np.uint8)
        extra: Mapping[str, Any] = {"row": np.arange(len(weights))}
        return [EventBlock(Events(RECOIL_SCHEMA, rows, weights, code, PROCESS_NAMES), extra, statistics)]
