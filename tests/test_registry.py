"""Tests of fairuniverse.registry."""

import pytest

from fairuniverse import registry
from fairuniverse.errors import InvalidConfigError, NotRegisteredError
from fairuniverse.protocols import Simulator


@pytest.mark.parametrize("name", registry.names(registry.SIMULATORS))
def test_registered_simulators_follow_the_protocol(name):
    """Every registered simulator can be made without options and has what the machinery asks of it."""
    simulator = registry.make_simulator(name, {})
    assert isinstance(simulator, Simulator)
    assert any(p.is_signal for p in simulator.processes)
    assert all(p.expected_yield > 0 for p in simulator.processes)


@pytest.mark.parametrize("name", registry.names(registry.BASELINES))
def test_registered_baselines_are_submission_folders(name):
    """Every registered baseline is a folder with model.py and a card."""
    folder = registry.find_submission(name)
    assert (folder / "model.py").is_file()
    assert (folder / "README.md").is_file()


def test_a_simulator_can_be_a_path(tmp_path):
    """A folder or file with a class Simulator works without being installed."""
    (tmp_path / "mine.py").write_text("class Simulator:\n    def __init__(self, a=1): self.a = a\n")
    assert registry.make_simulator(str(tmp_path / "mine.py"), {"a": 3}).a == 3
    with pytest.raises(InvalidConfigError, match=r"mine.py has no option 'b': there are a"):
        registry.make_simulator(str(tmp_path / "mine.py"), {"b": 3})
    (tmp_path / "other.py").write_text("")
    with pytest.raises(NotRegisteredError, match="defines no class Simulator"):
        registry.make_simulator(str(tmp_path / "other.py"), {})
    with pytest.raises(NotRegisteredError, match=r"expected a folder with __init__\.py"):
        registry.make_simulator(str(tmp_path / "none"), {})


def test_near_names_are_suggested():
    """An unknown name is answered with the nearest known one."""
    with pytest.raises(NotRegisteredError, match="did you mean 'higgs_tautau'"):
        registry.make_simulator("higgs_tautu", {})
    with pytest.raises(NotRegisteredError, match="did you mean 'counting'"):
        registry.find_submission("countin")
    with pytest.raises(NotRegisteredError, match="did you mean 'quick'"):
        registry.find_config("quik")
