"""Cards for the tests of the full chain."""

from functools import partial
from pathlib import Path

import pytest
import yaml
from fairuniverse.simulators.higgs_tautau.full.cards import PACKAGED, read_cards


def write_cards(folder: Path, name: str = "processes.yaml", edit=lambda card: None) -> Path:
    """The packaged cards, with one of them changed by a function."""
    for path in PACKAGED.glob("*.yaml"):
        card = yaml.safe_load(path.read_text())
        if path.name == name:
            edit(card)
        (folder / path.name).write_text(yaml.safe_dump(card))
    return folder


@pytest.fixture
def edited_cards(tmp_path):
    """Makes a folder of the packaged cards with one of them changed by a function."""
    return partial(write_cards, tmp_path)


@pytest.fixture(scope="session")
def short_cards(tmp_path_factory):
    """The packaged cards, with blocks of 40 generated events."""

    def shorten(card):
        for process in card["processes"].values():
            process["events_per_block"] = 40

    return write_cards(tmp_path_factory.mktemp("cards"), edit=shorten)


@pytest.fixture(scope="session")
def detector_card():
    """The packaged detector."""
    return read_cards().detector
