"""Run folders of six toys, with rows as the runner writes them."""

from fairuniverse.pseudo_experiments import Truth
from fairuniverse.store import RunStore

IDENTITY = {"benchmark_digest": "b1", "submission_digest": "s1"}
TRUTHS = [Truth(i, j, 1.0 + i, {"tes": 1.0 + 0.01 * j}) for i in range(2) for j in range(3)]


def row(i_mu, i_toy, **changes):
    """A row as the runner writes it."""
    values = {
        "place": 100 * i_mu + i_toy,
        "submission": "method",
        "i_mu": i_mu,
        "i_toy": i_toy,
        "mu_true": 1.0 + i_mu,
        "mu_hat": 1.5,
        "lower": 1.0,
        "upper": 2.0,
        "status": "ok",
        "message": "",
        "n_events": 10,
        "wall_time_s": 0.1,
        "memory_mib": 100.0,
        "nuisance_tes": 1.0 + 0.01 * i_toy,
    }
    return values | changes


def make_run(folder, keys, *, name="method", **identity):
    """A run folder with rows for these toys."""
    with RunStore(folder, IDENTITY | identity) as store:
        store.write_truths(TRUTHS)
        store.update(
            benchmark={"name": "tiny", "version": "1", "config": {}},
            submission={"name": name},
            mu_range=[0.1, 3.0],
            confidence_level=0.6827,
        )
        for key in keys:
            store.write_part([row(*key)])
    return folder
