"""Cards for the tests of the full chain."""

from pathlib import Path

import pytest
import yaml
from fairuniverse.simulators.higgs_tautau.full.cards import PACKAGED, read_cards


@pytest.fixture
def edited_cards(tmp_path):
    """Makes a folder of the packaged cards with one of them changed by a function."""

    def make(name: str = "processes.yaml", edit=lambda card: None) -> Path:
        for path in PACKAGED.glob("*.yaml"):
            card = yaml.safe_load(path.read_text())
            if path.name == name:
                edit(card)
            (tmp_path / path.name).write_text(yaml.safe_dump(card))
        return tmp_path

    return make


@pytest.fixture
def short_cards(edited_cards):
    """The packaged cards, with blocks of 40 generated events."""

    def shorten(card):
        for process in card["processes"].values():
            process["events_per_block"] = 40

    return edited_cards(edit=shorten)


@pytest.fixture(scope="session")
def detector_card():
    """The packaged detector."""
    return read_cards().detector
