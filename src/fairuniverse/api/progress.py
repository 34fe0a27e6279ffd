"""Progress of long work in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    total: int, title: str, unit: str, *, n_before: int = 0
) -> Iterator[Callable[[int], object]]:
    """Progress with rate and remaining time on standard error; silent when that is not a terminal.

    Args:
        total: What there is to do.
        title: What is done.
        unit: Of these numbers.
        n_before: What was done earlier, and counts for no rate.
    """
    from tqdm import tqdm

    with tqdm(
        total=total,
        initial=n_before,
        desc=title,
        unit=unit,
        unit_scale=True,
        delay=2,
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:
        yield bar.update
