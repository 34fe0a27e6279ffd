"""The event table of the FAIR Universe HiggsML Uncertainty Challenge, and our detector-level record.

Sixteen primary (``PRI_``) and twelve derived (``DER_``) features, in the order of the public files
(Zenodo record 15131565; feature definitions: arXiv:2410.02867, appendix A).
"""

from dataclasses import replace

from fairuniverse.events import Feature, Schema

MISSING = -25.0
"""Sentinel of the public files for "this event has no such jet"."""

N_RECORD_JETS = 8
"""How many jets the detector-level record holds."""


def _direction(obj: str, meaning: str, missing: float | None = None) -> tuple[Feature, Feature, Feature]:
    return (
        Feature(f"{obj}_pt", "GeV", f"Transverse momentum of the {meaning}.", missing),
        Feature(f"{obj}_eta", "", f"Pseudorapidity of the {meaning}.", missing),
        Feature(f"{obj}_phi", "rad", f"Azimuth of the {meaning}, in [-pi, pi].", missing),
    )


PRIMARY = (
    *_direction("PRI_lep", "electron or muon"),
    *_direction("PRI_had", "hadronic tau"),
    *_direction("PRI_jet_leading", "leading jet", MISSING),
    *_direction("PRI_jet_subleading", "subleading jet", MISSING),
    Feature("PRI_n_jets", "", "Number of jets (not capped)."),
    Feature("PRI_jet_all_pt", "GeV", "Scalar sum of the transverse momenta of all jets; 0 without jets."),
    Feature("PRI_met", "GeV", "Missing transverse momentum."),
    Feature("PRI_met_phi", "rad", "Azimuth of the missing transverse momentum, in [-pi, pi]."),
)

_DERIVED = (
    Feature("DER_mass_transverse_met_lep", "GeV", "Transverse mass of lepton and missing momentum."),
    Feature("DER_mass_vis", "GeV", "Invariant mass of lepton and hadronic tau."),
    Feature("DER_pt_h", "GeV", "Transverse momentum of lepton + hadronic tau + missing momentum."),
    Feature("DER_deltaeta_jet_jet", "", "Distance in pseudorapidity of the two leading jets.", MISSING),
    Feature("DER_mass_jet_jet", "GeV", "Invariant mass of the two leading jets.", MISSING),
    Feature("DER_prodeta_jet_jet", "", "Product of the pseudorapidities of the two leading jets.", MISSING),
    Feature("DER_deltar_had_lep", "", "Distance of hadronic tau and lepton in (eta, phi)."),
    Feature(
        "DER_pt_tot", "GeV", "Transverse momentum of lepton + tau + missing momentum + two leading jets."
    ),
    Feature("DER_sum_pt", "GeV", "Scalar sum of the transverse momenta of lepton, tau and all jets."),
    Feature("DER_pt_ratio_lep_had", "", "Transverse momentum of the lepton over that of the hadronic tau."),
    Feature(
        "DER_met_phi_centrality",
        "",
        "Azimuthal centrality of the missing momentum between lepton and tau, in [-sqrt 2, sqrt 2].",
    ),
    Feature(
        "DER_lep_eta_centrality",
        "",
        "Centrality of the lepton in pseudorapidity between the two leading jets, in [0, 1].",
        MISSING,
    ),
)

DERIVED = tuple(replace(f, is_derived=True) for f in _DERIVED)

RECORD = (
    *_direction("REC_lep", "electron or muon"),
    *_direction("REC_had", "hadronic tau before its energy calibration"),
    Feature("REC_met_x", "GeV", "Missing momentum along x at nominal nuisances."),
    Feature("REC_met_y", "GeV", "Missing momentum along y at nominal nuisances."),
    *(
        f
        for i in range(N_RECORD_JETS)
        for f in _direction(f"REC_jet{i}", f"jet {i} before its energy calibration (raw pT > 18 GeV)", 0.0)
    ),
)

DRAWN = (
    "DER_mass_vis",
    "DER_mass_transverse_met_lep",
    "DER_pt_h",
    "PRI_had_pt",
    "PRI_met",
    "PRI_n_jets",
)

SCHEMA = Schema(PRIMARY + DERIVED, RECORD, DRAWN)
"""Columns of the Higgs world."""
