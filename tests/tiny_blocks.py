"""A source of blocks that costs nothing, in the tiny world, and fails on demand."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fairuniverse.errors import InvalidDataError
from fairuniverse.events import Events
from fairuniverse.protocols import EventBlock
from fairuniverse.seeding import generator
from tiny_world import PROCESSES, SCHEMA

N_TRIED = 100


class TinyBlocks:
    """Blocks of about twenty events of a hundred.

    Args:
        trouble: What happens in one block of the background: "die once", "raise", "refuse" or "no disk".
        at: Number of this block.
        marks: Folder for the memory of what has happened.
        wait_s: Seconds that a block takes.
    """

    world = "tiny"
    schema = SCHEMA
    processes = PROCESSES
    available = tuple(p.name for p in PROCESSES)
    sample = None

    def __init__(self, trouble: str = "", at: int = 1, marks: str = "", wait_s: float = 0.0) -> None:
        self.trouble, self.at, self.marks, self.wait_s = trouble, at, marks, wait_s
        self.digest = "tiny"

    def provenance(self) -> Mapping[str, Any]:
        """Nothing to tell."""
        return {"libraries": {}}

    def make_block(
        self, process: str, number: int, *, seed: int, variations: Sequence[Mapping[str, float]] = ({},)
    ) -> list[EventBlock]:
        """Events that a generator keyed by process and number chooses."""
        time.sleep(self.wait_s)
        if (process, number) == ("background", self.at):
            self._stumble()
        rng = generator(seed, process, number)
        chosen = np.flatnonzero(rng.random(N_TRIED) < 0.2)
        features = np.take(rng.random((2, N_TRIED)).astype(np.float32), chosen, axis=1)
        names = tuple(p.name for p in PROCESSES)
        code = np.full(len(chosen), names.index(process), np.uint8)
        events = Events(SCHEMA, features, np.ones(len(chosen)), code, names, features[:1].copy())
        acceptance = len(chosen) / N_TRIED
        numbers = {"n_tried": N_TRIED, "acceptance": acceptance, "expected_yield": 1000 * acceptance}
        return [EventBlock(events, {"row": chosen}, {**numbers, "cpu_s": 0.0}) for _ in variations]

    def _stumble(self) -> None:
        mark = Path(self.marks) / "happened"
        if self.trouble == "die once" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble == "raise":
            raise RuntimeError("the generator is stuck")
        if self.trouble == "refuse":
            raise InvalidDataError("this card is wrong")
        if self.trouble == "no disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
