"""Same seed, same bits: what PyTorch needs to be told for that, and undone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from fairuniverse.errors import MissingDependencyError


def require_torch() -> ModuleType:
    """PyTorch.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "this method needs PyTorch: pip install 'fairuniverse[torch]'"
        ) from error
    return torch


@contextmanager
def deterministic(seed: int, n_threads: int = 1) -> Iterator[None]:
    """Make everything that PyTorch does inside reproducible to the last bit on a CPU.

    Inside, the number of threads is fixed, since sums depend on it, random numbers start from the seed, and
    operations without a reproducible version raise. Afterwards all settings, the state of the random numbers
    included, are what they were.

    Args:
        seed: Seed of PyTorch's global generator, which initialises networks.
        n_threads: Threads of one operation. The bits depend on this number, not on the machine's cores.

    Raises:
        MissingDependencyError: PyTorch is not installed.
    """
    require_torch()
    import torch

    threads = torch.get_num_threads()
    mode = torch.get_deterministic_debug_mode()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(mode)
