"""Searches its own process for a truth and a seed, known here only in disguise."""

import os
import re

import numpy as np

# The true mu is 1.72453... and the seed 36501...; neither stands here in the form that is searched.
MU_HIGH, MU_LOW = 0x3FFB97B6, 0x382B3673
MU_TEXT = re.compile(rb"1\.7245[3]9")
SEED_TEXT = re.compile(rb"3650182470[9]1")


def search():
    """What was found, as text."""
    return [*_in_memory(), *_in_files()]


def _in_memory():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, access = line.split()[:2]
            if access.startswith("rw"):
                start, end = (int(x, 16) for x in span.split("-"))
                for content in _chunks(memory, start, end):
                    yield from (f"{what} in memory {line.strip()}" for what in _found(content))


def _chunks(memory, start, end, step=1 << 18):
    """Content piece by piece, overlapping, without what was never touched."""
    for position in range(start, end, step):
        try:
            memory.seek(position)
            content = memory.read(min(step + 64, end - position))
        except (OSError, OverflowError):
            return
        if content.count(0) < len(content):
            yield content


def _found(content):
    words = np.frombuffer(content, dtype=np.uint64, count=len(content) // 8)
    if ((words >> np.uint64(32) == MU_HIGH) & (words & np.uint64(0xFFFFFFFF) == MU_LOW)).any():
        yield "mu"
    if MU_TEXT.search(content):
        yield "mu as text"
    if SEED_TEXT.search(content):
        yield "seed as text"


def _in_files():
    names = ("environ", "cmdline", "mountinfo")
    contents = [open(f"/proc/self/{n}", "rb").read() for n in names]
    contents += [
        os.readlink(f"/proc/self/fd/{n}").encode() for n in os.listdir("/proc/self/fd") if _is_open(n)
    ]
    contents.append(os.getcwd().encode())
    for content in contents:
        if re.search(rb"run-folder|truths|parts|manifest", content):
            yield f"the run folder in {content[:200]!r}"
        yield from (f"{what} in {content[:200]!r}" for what in _found(content))


def _is_open(name):
    return os.path.islink(f"/proc/self/fd/{name}")


class Model:
    def fit(self, train):
        pass

    def predict(self, test):
        found = search()
        if found:
            raise RuntimeError("; ".join(found))
        return {"mu_hat": 1.0, "lower": 0.0, "upper": 2.0}
