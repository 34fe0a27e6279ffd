"""Do two samples of events agree? Distances with their statistical floor, and histograms with ratios.

`samples` brings both samples side by side, process by process; `distances`, `correlations`, `separation`
and `histograms` look at them, `yields` at each sample alone; `results` and `validation` hold what is found
and put it into words.
"""

from collections.abc import Callable

from fairuniverse.comparison.correlations import (
    MAX_CORRELATED_EVENTS,
    CorrelationDistance,
    Correlations,
    correlations,
)
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
from fairuniverse.comparison.validation import Validation
from fairuniverse.comparison.yields import ProcessYield, process_yields
from fairuniverse.events import Events

__all__ = [
    "KS_QUANTILE_95",
    "MAX_CLASSIFIER_EVENTS",
    "MAX_CORRELATED_EVENTS",
    "MAX_COUNT",
    "N_FOLDS",
    "Comparison",
    "CorrelationDistance",
    "Correlations",
    "CountFraction",
    "FeatureDistance",
    "ProcessSeparation",
    "ProcessYield",
    "Validation",
    "compare",
    "comparison_histograms",
    "ks_floor",
    "process_yields",
]


def compare(
    simulated: Events,
    reference: Events,
    *,
    with_classifier: bool = True,
    progress: Callable[[str], object] | None = None,
) -> Comparison:
    """Compare two samples, process by process and feature by feature.

    The distances are those of unweighted events if all weights of a process are equal, else of weighted ones,
    with the effective number of events (sum w)^2 / sum w^2 in the floor. Features that one sample has not
    (constant at zero) are compared like any other.

    Args:
        simulated: Events to be judged.
        reference: Events to judge by, of the same schema.
        with_classifier: Whether boosted trees are trained to tell the samples apart; if not, each AUC is
            NaN.
        progress: Called with the name of each process that is finished.

    Returns:
        Distances and separations for the processes that both samples have; for all events together if one
        sample is unlabelled.

    Raises:
        InvalidDataError: Different schemas, no process that both have, or a process without any positive
            weight.
        MissingDependencyError: scikit-learn is not installed, and the classifier was asked for.
    """
    distances: list[FeatureDistance] = []
    fractions: list[CountFraction] = []
    separations: list[ProcessSeparation] = []
    matrices: list[Correlations] = []
    for process, sim, ref in pairs_by_process(simulated, reference):
        for i in range(len(reference.schema.features)):
            distances.append(feature_distance(process, i, sim, ref))
            fractions.extend(count_fractions(process, i, sim, ref))
        separations.append(process_separation(process, sim, ref, with_classifier))
        matrices.append(correlations(process, sim, ref))
        if progress is not None:
            progress(process)
    return Comparison(
        tuple(distances),
        tuple(fractions),
        tuple(separations),
        tuple(notes(simulated, reference)),
        tuple(matrices),
    )
