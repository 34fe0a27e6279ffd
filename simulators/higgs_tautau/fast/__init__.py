"""Fast parametric simulation of pp -> lepton + hadronic tau at 13 TeV, down to the detector-level record.

Real four-vectors, polarised tau decays, radiation that balances the hard system, and a detector response, all
from the tables in ``tables.h``; the event loop is C and releases the interpreter lock.
"""

from .blocks import BLOCK_EVENTS, fill_block, generate_block, generate_records

__all__ = ["BLOCK_EVENTS", "fill_block", "generate_block", "generate_records"]
