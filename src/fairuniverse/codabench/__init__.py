"""Competitions on Codabench: the bundle that the platform takes, and the rules that it takes bundles by.

The layout of a bundle (version 2)::

    competition.yaml      what the platform reads first
    logo.png, pages/      what visitors see
    input_data/           the configuration without its seed, and the toys in an order that says nothing
    reference_data/       the truth, and what each toy of that order is
    ingestion_program/    prediction step: runs a submission on the toys
    scoring_program/      scoring step: holds its answers against the truth
    starting_kit/         what participants begin with

Both programs are a few lines that call what `fairuniverse run` and `fairuniverse score` call, in an image
with the package installed. Data folders are flat: workers move the content of a first folder in them up.
"""

from fairuniverse.codabench.bundle import Competition, write_competition
from fairuniverse.codabench.findings import Finding
from fairuniverse.codabench.rules import check_bundle

__all__ = ["Competition", "Finding", "check_bundle", "write_competition"]
