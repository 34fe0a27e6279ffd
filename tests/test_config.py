"""Tests of fairuniverse.config."""

import pytest

from fairuniverse import registry
from fairuniverse.config import load_config, parse_config
from fairuniverse.errors import InvalidConfigError

MINIMAL = "name: mine\nversion: '1'\n"


@pytest.mark.parametrize("name", registry.configs())
def test_packaged_configurations_are_valid(name):
    """Every configuration that comes with the package loads under its own name."""
    assert load_config(registry.find_config(name)).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead: 3", "mine.yaml:3: unknown setting 'sead'; did you mean 'seed'"),
        ("zzz: 3", "mine.yaml:3: unknown setting 'zzz'; there are name, version"),
        ("pseudo_experiments:\n  n_mu: 3\n  n_toy: 2", "mine.yaml:5: .*'pseudo_experiments.n_toy'.*'n_toys'"),
        ("pseudo_experiments: {n_mu: 0}", "mine.yaml:3: pseudo_experiments.n_mu = 0: .* greater than"),
        ("seed: -1", "mine.yaml:3: seed = -1: .* greater than or equal to 0"),
        ("seed: 1.5", "mine.yaml:3: seed = 1.5: .* integer"),
        ("seed: yes", "mine.yaml:3: seed = True: .* integer"),
        ("confidence_level: 1.0", "mine.yaml:3: confidence_level = 1.0: .* less than 1"),
        ("mu_range: [3, 1]", "mine.yaml:3: mu_range: needs 0 <= first value < second value"),
        ("mu_range: [-1, 3]", "mine.yaml:3: mu_range: needs 0 <="),
        ("pseudo_experiments: {n_mu: 1, mu_values: [50]}", "mine.yaml:3: .*50.* is outside mu_range"),
        ("mu_range: [0, .inf]", "mine.yaml:3: mu_range.1 = inf: .* finite"),
        ("limits: {memory_mib: lots}", "mine.yaml:3: limits.memory_mib = 'lots'"),
        ("limits: 3", "mine.yaml:3: limits = 3"),
        ("pseudo_experiments: {mode: pol}", "mine.yaml:3: .*'pool' or 'fresh'"),
        ("pseudo_experiments: {mode: fresh, file: a.parquet}", "mine.yaml:3: .*has no pool"),
        ("pseudo_experiments: {n_mu: 2, mu_values: [1]}", "mine.yaml:3: .*1 values for n_mu = 2"),
        ("nuisances: [tes, tes]", "mine.yaml:3: .*listed twice"),
    ],
)
def test_bad_settings_are_refused(text, message):
    """The message names the line, the rule and the nearest valid name."""
    with pytest.raises(InvalidConfigError, match=message):
        parse_config(MINIMAL + text, source="mine.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: mine\n", "'version' is required"),
        ("- a", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: [1", "mine.yaml:1: not valid YAML"),
        ("a: 1\n\tb: 2", "mine.yaml:2: not valid YAML"),
    ],
)
def test_files_that_are_no_configuration(text, message):
    """Text that is no mapping, or lacks what must be there, is refused."""
    with pytest.raises(InvalidConfigError, match=message):
        parse_config(text, source="mine.yaml")


def test_missing_file_is_named(tmp_path):
    """A file that does not exist is named."""
    with pytest.raises(InvalidConfigError, match=r"cannot read .*nowhere.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_digest_changes_with_every_setting():
    """Equal digests mean equal settings."""
    digests = {parse_config(MINIMAL + extra).digest() for extra in ("", "seed: 1", "limits: {memory_mib: 1}")}
    assert len(digests) == 3
    assert parse_config(MINIMAL + "seed: 0").digest() == parse_config(MINIMAL).digest()
