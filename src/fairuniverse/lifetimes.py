"""Processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import sys

SUBREAPER = 36
"""Option of prctl(2): orphans below come to this process."""

_PR_SET_PDEATHSIG = 1


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2), Linux); elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def end_with_parent(signal_number: int) -> None:
    """Have a signal sent to this process as soon as the thread that started it is no more (Linux)."""
    prctl(_PR_SET_PDEATHSIG, signal_number)
