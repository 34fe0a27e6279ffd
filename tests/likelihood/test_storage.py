"""Binned models on disk."""

import numpy as np
import pytest

from fairuniverse.errors import InvalidDataError
from fairuniverse.likelihood import histfactory_approximation, load_model, save_model


def test_a_model_comes_back_the_same(higgs_like, tmp_path):
    """Expectation, uncertainty and constraints survive the way to disk."""
    model = higgs_like(9)
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    x = np.array([0.7, 0.4, -1.0, 0.9, 0.5, -0.3, 1.1])
    assert loaded.nuisances == model.nuisances
    assert np.array_equal(loaded.expected(x), model.expected(x))
    assert np.array_equal(loaded.relative_error, model.relative_error)


def test_a_model_without_nuisances_comes_back(counting_model, tmp_path):
    """A model without morphing is saved, too."""
    save_model(counting_model(), tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").names == ("mu",)


def test_another_morphing_is_refused(higgs_like, tmp_path):
    """What cannot be read back is not written."""
    with pytest.raises(InvalidDataError, match="polynomial morphing"):
        save_model(histfactory_approximation(higgs_like(4)), tmp_path / "model.npz")
    assert not (tmp_path / "model.npz").exists()
