"""What every simulator, score and submission must do, as functions for their authors.

    >>> from fairuniverse.conformance import check_score
    >>> from fairuniverse.scoring.coverage import Coverage
    >>> check_score(Coverage())
    []

Each returns what it found: a list of `Finding`, empty if all is well. Names of registered simulators become
objects with `fairuniverse.registry.make_simulator`.
"""

from fairuniverse.checking.findings import Finding
from fairuniverse.conformance.scores import check_score
from fairuniverse.conformance.simulators import check_simulator
from fairuniverse.conformance.submissions import check_submission

__all__ = ["Finding", "check_score", "check_simulator", "check_submission"]
