"""The data classes of the public package, over the training events of the benchmark.

There is no network in a worker, and no other data than what the benchmark gives: every way to a data set
leads to the same training events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from fairuniverse.errors import InvalidDataError
from fairuniverse.official.train_set import OfficialTrainSet

if TYPE_CHECKING:
    import pandas as pd


class Data:
    """Training events with the methods of the public package's class; its folder is not looked at."""

    def __init__(self, input_dir: object = None, test_size: object = None) -> None:
        self._train_set: dict[str, Any] | pd.DataFrame | None = None

    def load_train_set(self, **selection: Any) -> None:
        """Load the training events; arguments as for `OfficialTrainSet`."""
        self._train_set = OfficialTrainSet(is_table=True)(**selection)

    def get_train_set(self) -> dict[str, Any] | pd.DataFrame | None:
        """The training events that were loaded, as a table."""
        return self._train_set

    def delete_train_set(self) -> None:
        """Forget the training events."""
        self._train_set = None

    def load_test_set(self) -> NoReturn:
        """Refused.

        Raises:
            InvalidDataError: Always: a method sees no test events but those that `predict` gets.
        """
        raise InvalidDataError(
            "there is no test set to load: draw pseudo-experiments from the training events, with "
            "systematics.get_bootstrapped_dataset"
        )


def download_dataset(name: str = "") -> Data:
    """The benchmark's training events, whatever was asked for: a worker has no network."""
    return Data()


Neurips2024_public_dataset = BlackSwan_public_dataset = download_dataset
