"""Fast simulation of pp -> lepton + hadronic tau at 13 TeV, down to the detector-level record.

Real four-vectors, polarised tau decays and a detector response. The hard process and what recoils against it
come either from the tables in ``tables.h`` or from a library of records that the full chain made; the event
loop is C and releases the interpreter lock.
"""

from .blocks import BLOCK_EVENTS, fill_block, generate_block, generate_records
from .library import Library

__all__ = ["BLOCK_EVENTS", "Library", "fill_block", "generate_block", "generate_records"]
