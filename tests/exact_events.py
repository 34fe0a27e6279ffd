"""Small training sets and toys of the worlds with an exact answer, for the methods that learn."""

from fairuniverse.seeding import Streams
from fairuniverse.training import TrainingSet


def training_set(world, nuisances=None, n_events=20_000):
    """So many events of each process before selection; all nuisances float if none are named."""
    names = [p.name for p in world.nuisances] if nuisances is None else nuisances
    events = world.generate({p.name: n_events for p in world.processes}, seed=1)
    return TrainingSet(world, events, seed=1, nuisances=names, mu_range=(0.5, 2.5), confidence_level=0.6827)


def draw(world, mu=1.0, **nuisances):
    """One pseudo-experiment; nuisances that are not given are nominal."""
    nominal = {p.name: p.nominal for p in world.nuisances}
    return world.fresh_sampler().sample(mu, nominal | nuisances, streams=Streams(3)).to_pandas()
