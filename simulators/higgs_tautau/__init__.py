"""The Higgs world: H -> tau tau and its backgrounds in the lepton + hadronic tau channel at 13 TeV."""

from .simulator import HiggsTauTau

__all__ = ["HiggsTauTau"]
