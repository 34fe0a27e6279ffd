"""Do two samples of events agree? Distances with their statistical floor, and histograms with ratios.

`samples` brings both samples side by side, process by process; `distances`, `separation` and `histograms`
look at them, and `results` holds what is found and puts it into words.
"""

from fairuniverse.comparison.distances import (
    KS_QUANTILE_95,
    count_fractions,
    feature_distance,
    ks_floor,
)
from fairuniverse.comparison.histograms import comparison_histograms
from fairuniverse.comparison.results import (
    MAX_COUNT,
    Comparison,
    CountFraction,
    FeatureDistance,
    ProcessSeparation,
)
from fairuniverse.comparison.samples import notes, pairs_by_process
from fairuniverse.comparison.separation import MAX_CLASSIFIER_EVENTS, N_FOLDS, process_separation
from fairuniverse.correlations import largest_difference
from fairuniverse.events import Events

__all__ = [
    "KS_QUANTILE_95",
    "MAX_CLASSIFIER_EVENTS",
    "MAX_COUNT",
    "N_FOLDS",
    "Comparison",
    "CountFraction",
    "FeatureDistance",
    "ProcessSeparation",
    "compare",
    "comparison_histograms",
    "ks_floor",
]


def compare(simulated: Events, reference: Events, *, with_classifier: bool = True) -> Comparison:
    """Compare two samples, process by process and feature by feature.

    The distances are those of unweighted events if all weights of a process are equal, else of weighted ones,
    with the effective number of events (sum w)^2 / sum w^2 in the floor. Features that one sample has not
    (constant at zero) are compared like any other.

    Args:
        simulated: Events to be judged.
        reference: Events to judge by, of the same schema.
        with_classifier: Whether boosted trees are trained to tell the samples apart; if not, each AUC is
            NaN.

    Returns:
        Distances and separations for the processes that both samples have; for all events together if one
        sample is unlabelled.

    Raises:
        InvalidDataError: Different schemas, no process that both have, or a process without any positive
            weight.
        MissingDependencyError: scikit-learn is not installed, and the classifier was asked for.
    """
    pairs = list(pairs_by_process(simulated, reference))
    distances = [
        feature_distance(process, i, sim, ref)
        for process, sim, ref in pairs
        for i in range(len(reference.schema.features))
    ]
    fractions = [
        fraction
        for process, sim, ref in pairs
        for i in range(len(reference.schema.features))
        for fraction in count_fractions(process, i, sim, ref)
    ]
    separations = [process_separation(*pair, with_classifier) for pair in pairs]
    correlations = (largest_difference(*pair) for pair in pairs)
    return Comparison(
        tuple(distances),
        tuple(fractions),
        tuple(separations),
        tuple(notes(simulated, reference)),
        tuple(c for c in correlations if c is not None),
    )
