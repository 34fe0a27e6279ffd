"""A small Higgs training sample and toys for the baselines."""

import importlib.util
import sys

import pytest
from fairuniverse.simulators.higgs_tautau import HiggsTauTau

from fairuniverse.nuisance import complete
from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSet

N_TRAINING = {"htautau": 20_000, "ztautau": 60_000, "ttbar": 20_000, "diboson": 10_000}
NUISANCES = ("tes", "jes", "soft_met", "ttbar_scale", "diboson_scale", "bkg_scale")


@pytest.fixture(scope="session")
def make_training():
    """Factory of training sets with chosen floating nuisances."""
    simulator = HiggsTauTau()
    events = simulator.generate(N_TRAINING, seed=5)

    def make(nuisances=NUISANCES, n_threads=1):
        settings = {"mu_range": (0.1, 3.0), "confidence_level": 0.6827, "n_threads": n_threads}
        return TrainingSet(simulator, events, seed=5, nuisances=nuisances, **settings)

    return make


@pytest.fixture(scope="session")
def toy():
    """One pseudo-experiment at mu = 1.5 with shifted nuisances."""
    simulator = HiggsTauTau()
    sampler = simulator.pool_sampler(simulator.generate(N_TRAINING, seed=6, purpose="pool"))
    values = complete(simulator.nuisances, {"tes": 1.004, "jes": 0.995, "soft_met": 1.3, "bkg_scale": 1.0005})
    return sampler.sample(1.5, values, streams=Streams(7, 0, 0)).to_pandas()


@pytest.fixture(scope="session")
def load_as_stranger(tmp_path_factory, root):
    """Import the model of a baseline from a copy elsewhere, as a stranger's submission is imported.

    Each call gives new modules, in which a test may change settings.
    """

    def load(name):
        copy = tmp_path_factory.mktemp(name)
        for path in (root / "baselines" / name).glob("*.py"):
            (copy / path.name).write_text(path.read_text())
        spec = importlib.util.spec_from_file_location(
            f"stranger_{copy.name}", copy / "model.py", submodule_search_locations=[str(copy)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load
