"""Judgements on a trial: costs held against limits, and valid answers that are hardly meant."""

import pytest

from fairuniverse.checking import costs as costs_module
from fairuniverse.checking.answers import check_answers, check_course
from fairuniverse.checking.costs import Costs, check_costs, measure
from fairuniverse.checking.small import SmallBenchmark
from fairuniverse.checking.trial import IN_ANOTHER_ORDER, IN_ORDER, Asked, Trial
from fairuniverse.config import BenchmarkConfig, LimitsConfig, TrainingConfig
from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.answers import Answer
from fairuniverse.isolation.process import Reply
from fairuniverse.registry import make_simulator

LIMITS = LimitsConfig(fit_timeout_s=100, predict_timeout_s=10, memory_mib=1000)
N = 50_000
"""Events of a small toy, about a twentieth of a whole one."""


def asked(i_toy=0, *, answer=None, n_events=N, time_s=0.1, memory_mib=100.0):
    """A question about a toy, and its answer."""
    given = answer or Answer("ok", "", 1.0 + i_toy, 0.5 + i_toy, 1.5 + i_toy)
    return Asked(i_toy, n_events, given, Reply({}, time_s, time_s, memory_mib))


def trial(**changes):
    """A trial of a sound submission."""
    sound = {
        "started": Reply({"import_s": 0.5, "import_mib": 50.0}, 1.0, 1.0, 80.0),
        "fitted": Reply({}, 1.0, 1.0, 90.0),
        "fresh": [asked(i) for i in IN_ORDER],
        "loaded": [asked(i) for i in IN_ANOTHER_ORDER],
        "joined": asked(n_events=3 * N, time_s=0.3),
    }
    return Trial(**{**sound, **changes})


@pytest.fixture(scope="module")
def higgs():
    """The small version of a Higgs benchmark with twenty times as many training events."""
    wanted = {"htautau": 70_000, "ztautau": 700_000, "ttbar": 70_000, "diboson": 70_000}
    config = BenchmarkConfig(name="b", version="1", training=TrainingConfig(n_events=wanted))
    return SmallBenchmark(config, make_simulator("higgs_tautau", {}))


def codes(findings):
    """Code of each finding."""
    return [f.code for f in findings]


def test_a_sound_trial_has_no_findings(higgs):
    """Neither its course nor its answers nor its costs."""
    sound = trial()
    assert check_course(sound) == check_answers(sound) == check_costs(measure(sound, higgs), LIMITS) == []


def test_times_are_extrapolated(higgs):
    """That of predict on the straight line through two sizes, fit in proportion to the events."""
    costs = measure(trial(), higgs)
    n_whole = N / higgs.share
    assert costs.whole_predict_s == pytest.approx(0.1 + 0.2 / (2 * N) * (n_whole - N))
    assert costs.whole_fit_s == pytest.approx(1.0 * higgs.training_ratio)
    assert 15 < higgs.training_ratio < 25


def test_time_that_does_not_grow_is_not_extrapolated(higgs):
    """A predict that takes as long for a toy three times as large takes as long for a whole one."""
    constant = trial(joined=asked(n_events=3 * N, time_s=0.1))
    assert measure(constant, higgs).whole_predict_s == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("costs", "code", "severity"),
    [
        (Costs(import_s=11.0, import_mib=10.0), "heavy_import", "warning"),
        (Costs(import_s=1.0, import_mib=1100.0), "heavy_import", "warning"),
        (Costs(predict_s=1.0, whole_predict_s=11.0), "slow_predict", "problem"),
        (Costs(fit_s=2.0, whole_fit_s=101.0), "slow_fit", "warning"),
        (Costs(memory_mib=900.0, whole_memory_mib=1001.0), "big", "problem"),
    ],
)
def test_costs_beyond_the_limits(costs, code, severity):
    """Each with the estimate, called one, and the limit."""
    (finding,) = check_costs(costs, LIMITS)
    assert (finding.code, finding.severity) == (code, severity)
    assert code == "heavy_import" or ("estimate" in finding.found and "limit is" in finding.found)
    half = {k: v and v * 0.9 for k, v in costs.to_json().items()}
    assert check_costs(Costs(**half), LIMITS) == []


def test_memory_grows_at_least_by_the_training_table(higgs):
    """The estimate is the memory seen, and the rest of the training events in one table."""
    costs = measure(trial(), higgs)
    rows = len(higgs.training_events) * (higgs.training_ratio - 1)
    assert costs.whole_memory_mib == pytest.approx(100 + rows * 28 * 4 / 2**20)


def test_imports_that_are_not_numbers_are_not_believed(higgs):
    """What the submission's own process says of itself is checked for its type."""
    forged = trial(started=Reply({"import_s": "0", "import_mib": None}, 1.0, 1.0, 80.0))
    assert measure(forged, higgs).import_s is None
    assert costs_module.check_costs(measure(forged, higgs), LIMITS) == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer("ok", "", 3.0, 0.5, 1.5), "outside"),
        (Answer("ok", "", 1.0, 1.0, 1.0), "zero_width"),
    ],
)
def test_odd_answers(answer, code):
    """Valid, but hardly meant: a warning."""
    one = [asked(2, answer=answer)]
    findings = check_answers(trial(fresh=[], loaded=one))
    assert [(f.severity, f.code) for f in findings] == [("warning", code)]


def test_answers_that_ignore_the_events():
    """The same answer to every toy."""
    same = Answer("ok", "", 1.0, 0.1, 3.0)
    constant = trial(
        fresh=[asked(i, answer=same) for i in IN_ORDER],
        loaded=[asked(i, answer=same) for i in IN_ANOTHER_ORDER],
    )
    assert codes(check_answers(constant)) == ["constant"]


def test_rounding_is_no_dependence():
    """Differences of one part in ten million are put down to threads; of one in a hundred thousand not."""
    for shift, found in ((1e-7, []), (1e-5, ["process_dependent"])):
        other = Answer("ok", "", 3.0 + shift, 2.5, 3.5)
        assert codes(check_answers(trial(loaded=[asked(2, answer=other)]))) == found


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("fit took more than 20 s", "timeout"),
        ("2000 MiB used, at most 1000 MiB are allowed", "out_of_memory"),
        ("the worker process was killed by signal SIGSEGV", "crashed"),
        ("Model() must work without arguments: missing a required argument: 'depth'", "signature"),
        ("Model has only one of save and load; define both or neither", "signature"),
        (
            "InvalidDataError: this benchmark shifts events early; add --official (model.py, line 3)",
            "official",
        ),
    ],
)
def test_ends_of_a_fit(message, code):
    """Each way to end is told apart by what the host recorded, and has a remedy."""
    failed = Trial(failure=("fit", SubmissionError("fit_failed", message)))
    (finding,) = check_course(failed)
    assert (finding.severity, finding.code, bool(finding.remedy)) == ("problem", code, True)
