"""Cards are complete, and what is wrong in one is said with file and entry."""

import pytest
from fairuniverse.simulators.higgs_tautau.full.cards import DETECTOR, NAMES, PACKAGED, PROCESSES, read_cards
from fairuniverse.simulators.higgs_tautau.world import PROCESS_NAMES

from fairuniverse.errors import InvalidConfigError, StorageError


def test_packaged_cards_cover_the_world():
    """Every process of the world can be made."""
    assert set(read_cards().generation.processes) == set(PROCESS_NAMES)


def test_digest_is_of_what_cards_say(edited_cards):
    """Comments and layout do not change the digest, a number does."""
    assert read_cards(edited_cards()).digest == read_cards(PACKAGED).digest

    def colder(card):
        card["hcal"]["min_energy"] = 1.1

    assert read_cards(edited_cards("detector.yaml", colder)).digest != read_cards(PACKAGED).digest


@pytest.mark.parametrize("name", NAMES)
def test_the_packaged_card_stands_in_for_a_missing_one(edited_cards, name):
    """As if it had been copied there."""
    section, change = {PROCESSES: ("filter", {"tau_pt": 9.0}), DETECTOR: ("jets", {"max_eta": 4.5})}[name]
    folder = edited_cards(name, lambda card: card[section].update(change))
    both = read_cards(folder)
    (other,) = set(NAMES) - {name}
    (folder / other).unlink()
    assert read_cards(folder).digest == both.digest != read_cards().digest


def test_a_trigger_is_optional(edited_cards):
    """The packaged card has none; one is part of what a card says."""
    turn_on = {"eta": [2.5], "pt": [24.0], "width": [2.0], "plateau": [0.95]}

    def trigger(card):
        card["trigger"] = {"electrons": turn_on, "muons": turn_on}

    cards = read_cards(edited_cards("detector.yaml", trigger))
    assert cards.detector.trigger.muons.plateau == (0.95,)
    assert read_cards().detector.trigger is None
    assert cards.digest != read_cards().digest


def unknown_key(card):
    """A key nobody reads."""
    card["magnet"]["colour"] = "red"


def misspelt_entry(card):
    """A key nobody reads in place of one that must be there."""
    card["jets"]["min_raw_ptt"] = card["jets"].pop("min_raw_pt")


def impossible_value(card):
    """A probability above one."""
    card["tau_tag"]["efficiency"] = [0.7, 1.6]


def unequal_lists(card):
    """Fewer values than regions."""
    card["hcal"]["cells"]["deta"] = [0.1, 0.2]


def falling_edges(card):
    """Edges in the wrong order."""
    card["tracks"]["efficiency"]["eta"] = [2.5, 1.5]


def missing_entry(card):
    """Something left out."""
    del card["jets"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (unknown_key, ["magnet: no entry 'colour' here: there are field, radius, half_length"]),
        (misspelt_entry, ["jets: no entry 'min_raw_ptt' here: did you mean 'min_raw_pt'?"]),
        (impossible_value, ["tau_tag.efficiency", "1.6"]),
        (unequal_lists, ["hcal.cells", "2 values for 3 regions"]),
        (falling_edges, ["tracks.efficiency", "increasing"]),
        (missing_entry, ["jets", "required"]),
    ],
)
def test_bad_entries_are_named(edited_cards, edit, words):
    """The message tells the file, the entry and what was found."""
    with pytest.raises(InvalidConfigError) as caught:
        read_cards(edited_cards("detector.yaml", edit))
    assert all(word in str(caught.value) for word in ["detector.yaml", *words])


def test_unknown_processes_are_refused(edited_cards):
    """A card cannot make what the world does not know, nor is a process guessed."""

    def rename(card):
        card["processes"]["wjets"] = card["processes"].pop("ttbar")

    with pytest.raises(InvalidConfigError, match="wjets"):
        read_cards(edited_cards(edit=rename))
    with pytest.raises(InvalidConfigError, match=r"'wjets'.*ztautau"):
        read_cards().process("wjets")


def test_unreadable_cards(tmp_path):
    """A folder without cards, and a card that is no YAML."""
    with pytest.raises(StorageError, match=r"cannot read the cards in .*nowhere"):
        read_cards(tmp_path / "nowhere")
    with pytest.raises(StorageError, match=r"no cards in .*processes\.yaml or detector\.yaml"):
        read_cards(tmp_path)
    (tmp_path / "processes.yaml").write_text("processes: [")
    with pytest.raises(InvalidConfigError, match="no YAML"):
        read_cards(tmp_path)


def test_a_misspelt_file_is_not_passed_over(edited_cards):
    """While the packaged card would count in its place."""
    folder = edited_cards()
    (folder / "detector.yaml").rename(folder / "detectors.yaml")
    with pytest.raises(
        InvalidConfigError, match=r"detectors\.yaml is no card: did you mean 'detector\.yaml'"
    ):
        read_cards(folder)
