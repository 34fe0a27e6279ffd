"""Random streams keyed by what they are for.

Every random decision of a benchmark has a stream of its own, found from the benchmark's seed, a purpose in
words ("mu", "counts", "nuisance:tes") and indices (mu index, toy index). Seeds are never added: a stream
depends on nothing but its key, so toys do not depend on their number, on the workers or on each other.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fairuniverse.errors import InvalidDataError


def seed_sequence(seed: int, purpose: str, *indices: int) -> np.random.SeedSequence:
    """Seed sequence of one stream.

    Args:
        seed: Seed of the benchmark, not negative.
        purpose: What the stream decides; streams of different purposes are independent.
        indices: Which one: for a toy the mu index and the toy index, for simulated blocks the block number.

    Raises:
        InvalidDataError: The seed or an index is negative.
    """
    if seed < 0 or any(i < 0 for i in indices):
        raise InvalidDataError(f"seed {seed} and indices {indices} must not be negative")
    digest = hashlib.blake2s(purpose.encode(), digest_size=8).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in (0, 4))
    return np.random.SeedSequence(seed, spawn_key=(*words, *indices))


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """NumPy generator (PCG64DXSM) of one stream; arguments as for `seed_sequence`."""
    return np.random.Generator(np.random.PCG64DXSM(seed_sequence(seed, purpose, *indices)))


def counter_key(seed: int, purpose: str, *indices: int) -> tuple[int, int]:
    """Key of two 64-bit words for a counter-based generator in a compiled kernel."""
    a, b = seed_sequence(seed, purpose, *indices).generate_state(2, np.uint64)
    return int(a), int(b)


class Streams:
    """The streams of one unit of work (a toy, a block), so that callees only name the purpose.

    Args:
        seed: Seed of the benchmark.
        indices: Which unit, such as (mu index, toy index).
    """

    def __init__(self, seed: int, *indices: int) -> None:
        self.seed = seed
        self.indices = indices

    def rng(self, purpose: str) -> np.random.Generator:
        """Generator for one purpose within this unit."""
        return generator(self.seed, purpose, *self.indices)

    def key(self, purpose: str) -> tuple[int, int]:
        """Counter key for one purpose within this unit."""
        return counter_key(self.seed, purpose, *self.indices)
