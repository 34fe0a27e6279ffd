"""Everything that the platform refuses, hangs on or surprises with is found before upload."""

import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from fairuniverse.scoring import score_card
from fairuniverse.scoring.official import read_official, write_official
from fairuniverse.scoring.truth import read_truth, write_truth

from codabench.test_steps import CONFIG
from fairuniverse.api import bundle
from fairuniverse.api.platforms import StoredBenchmark
from fairuniverse.cli import main
from fairuniverse.codabench import check_bundle, tasks
from fairuniverse.config import load_config
from fairuniverse.errors import InvalidConfigError, InvalidDataError
from fairuniverse.isolation.process import feature_columns
from fairuniverse.registry import find_config, make_simulator
from fairuniverse.seeding import Streams
from fairuniverse.tables import write_table
from interval_toys import gaussian_results

IMAGE = "docker.io/somebody/fairuniverse:1"


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A bundle without a flaw."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "secret.yaml").write_text(CONFIG)
    bundle(folder / "secret.yaml", folder / "bundle", image=IMAGE, n_threads=1)
    return folder / "bundle"


@pytest.fixture
def copy(original, tmp_path) -> Path:
    """A copy of it to spoil."""
    return shutil.copytree(original, tmp_path / "bundle")


def test_a_new_bundle_has_no_flaw(original):
    """What we write passes what we check."""
    assert check_bundle(original) == []


def test_a_zip_is_the_same(original, tmp_path):
    """A bundle is written as a zip with competition.yaml at its top; a zipped folder is named as such."""
    (tmp_path / "secret.yaml").write_text(CONFIG)
    assert bundle(tmp_path / "secret.yaml", tmp_path / "b.zip", image=IMAGE, n_threads=1) == []
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        packed = {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    unpacked = {
        p.relative_to(original).as_posix(): p.read_bytes() for p in original.rglob("*") if p.is_file()
    }
    assert packed.keys() == unpacked.keys()
    different = {n for n in packed if packed[n] != unpacked[n]}
    assert different <= {"competition.yaml"}  # the start is the time of writing
    outer = shutil.make_archive(str(tmp_path / "outer"), "zip", original.parent, original.name)
    (finding,) = check_bundle(Path(outer))
    assert finding.level == "error"
    assert "it is in bundle: zip the content of that folder, not the folder" in str(finding)


def test_more_toys_than_a_worker_keeps_are_refused(tmp_path, monkeypatch):
    """The first one drawn tells how many fit, and which settings make that many; nothing is left behind."""
    (tmp_path / "secret.yaml").write_text(CONFIG.replace("n_toys: 4", "n_toys: 400"))
    monkeypatch.setattr(tasks, "MAX_BYTES", 20_000)
    with pytest.raises(InvalidDataError, match=r"800 toys would take .* GB, .*: \d\d of this size") as raised:
        bundle(tmp_path / "secret.yaml", tmp_path / "b.zip", image=IMAGE, n_threads=1)
    fitting = re.search(r"pseudo_experiments: \{(.*?)\}", str(raised.value))[1]
    monkeypatch.setattr(
        tasks, "MAX_BYTES", 24_000
    )  # toys of a few events differ more in size than large ones
    (tmp_path / "secret.yaml").write_text(CONFIG.replace("n_mu: 2, n_toys: 4", fitting))
    assert bundle(tmp_path / "secret.yaml", tmp_path / "b.zip", image=IMAGE, n_threads=1) == []


SPOILED = [
    ("version: 2\n", "", "version: is None: write version: 2"),
    ("image: logo.png", "image: logo.svg", "image: there is no file logo.svg"),
    ("docker_image: docker.io/somebody/fairuniverse:1", "", "docker_image: is missing"),
    (IMAGE, "localhost/fairuniverse:1", "warning: docker_image: localhost/fairuniverse:1 cannot be pulled"),
    ("terms: pages/terms.md", "terms: pages/conditions.md", "terms: there is no file pages/conditions.md"),
    ("file: pages/data.md", "file: data.md", r"pages\[1\].file: there is no file data.md"),
    (
        "input_data: input_data/",
        "input_data: input_data",
        "input_data is a folder: write input_data/, with the",
    ),
    ("input_data: input_data/", "input_data: data/", "there is no data/ in the bundle"),
    ("  scoring_program: scoring_program/\n", "", "scoring_program: is missing: every task needs one"),
    ("tasks:\n- index: 0", "tasks:\n- index: null", "index: must be there and differ"),
    ("  - 0\n", "  - 1\n", r"phases\[0\].tasks: must list indexes of tasks, not \[1\]"),
    (r"start: '[^']*'", "start: 2026-01-31 12:00:00", "put quotes around 2026-01-31 12:00:00: without them"),
    (r"start: '[^']*'", "start: 'soon'", "'soon' is no date"),
    (r"  start: '[^']*'\n", "", "start: is missing: the platform hangs on it"),
    (r"(start: '[^']*')", r"\1\n  end: '2001-01-01 00:00:00'", "is not after the start"),
    ("execution_time_limit: 600", "execution_time_limit: 0", "0 is no whole number above 0"),
    ("execution_time_limit: 600", "execution_time_limit: 601", "warning: .*own queue stops at 600 s"),
    (
        "index: 0\n  name: Comp",
        "index: 0\n  auto_migrate_to_this_phase: true\n  name: Comp",
        "no phase before",
    ),
    ("starting_kit: starting_kit/", "starting_kit: kit/", "there is no kit/ in the bundle"),
    ("starting_kit: starting_kit/", "starting_kit: starting_kit", "write starting_kit/, with the slash"),
    (
        "submission_rule: Force_Last",
        "submission_rule: Last",
        "submission_rule: must be one of Add, Add_And_Delete",
    ),
    ("primary_index: 0", "primary_index: 9", "no column has index 9, by which the platform ranks"),
    ("- index: 1\n    title", "- index: 0\n    title", "each column needs index of its own"),
    ("key: interval", "key: winkler", "each column needs key of its own"),
    ("title: width at", "title: width of the intervals that were scaled at", "text of at most 36 characters"),
    ("sorting: asc\n", "\n", "warning: .*sorting: is missing: larger is taken to be better"),
    ("sorting: asc\n", "sorting: up\n", "'up' is neither asc nor desc"),
    ("    precision: 4\n", "", "warning: .*two decimals are shown"),
    ("(?s)leaderboards:.*", "", "leaderboards: must be a list with at least one"),
    (r"(?s)  columns:.*", "", "columns: must be a list with at least one column"),
    ("(?s)phases:.*?\nleader", "leader", "phases: must be a list with at least one phase"),
    ("(?s).*", "- just a list", "holds no settings"),
    ("(?s).*", "a: [", "is not valid YAML"),
]


@pytest.mark.parametrize(("pattern", "replacement", "message"), SPOILED, ids=[s[2][:40] for s in SPOILED])
def test_settings_that_the_platform_would_not_take(copy, pattern, replacement, message):
    """Each is named with its place and its remedy."""
    path = copy / "competition.yaml"
    text, n = re.subn(pattern, replacement, path.read_text(), count=1)
    assert n, pattern
    path.write_text(text)
    found = check_bundle(copy)
    assert [f for f in found if re.search(message, str(f))], found


def test_overlapping_phases(copy):
    """A phase that another one follows needs an end, before the start of that one."""
    content = yaml.safe_load((copy / "competition.yaml").read_text())
    (phase,) = content["phases"]
    for end, message in (
        (None, "must end"),
        ("2126-01-01 00:00:00", "is not after the end of the phase before"),
    ):
        first = {**phase, **({"end": end} if end else {})}
        content["phases"] = [first, {**phase, "index": 1, "start": "2126-01-01 00:00:00"}]
        (copy / "competition.yaml").write_text(yaml.safe_dump(content))
        assert any(message in str(f) for f in check_bundle(copy))


FILES = [
    ("logo.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "logo.png is no PNG, JPEG or GIF"),
    ("logo.png", b"\xff\xd8\xff\xe0", "logo.png is a .jpg file by its content"),
    ("pages/terms.md", b" \n", "pages/terms.md is empty"),
    ("scoring_program/metadata.yaml", None, "has no metadata.yaml at its top"),
    ("scoring_program/metadata.yaml", b"description: none", "has no command"),
    ("scoring_program/metadata.yaml", b"command: python3 score.py > log", "started without a shell"),
    ("scoring_program/metadata.yaml", b"command: python3  scoring.py", "two spaces in a row"),
    (
        "scoring_program/metadata.yaml",
        b"command: python3 /app/program/score.py",
        "score.py is not in the program",
    ),
    ("scoring_program/metadata.yaml", b"command: cd x && python3 scoring.py $HOME", "without a shell"),
    ("input_data/more/toy.parquet", b"", "has the folder more: workers move the content"),
    ("input_data/settings.json", b'{"ground_truth_mus": [1.5]}', "tells ground_truth_mus"),
    ("input_data/notes.txt", b"mu_values: [1.5]", "tells mu_values"),
    ("starting_kit/practice.yaml", b"seed: 5\npseudo_experiments: {}", "tells a seed of pseudo-experiments"),
    (".DS_Store", b"", "warning: .DS_Store: does not belong into a bundle"),
    ("__MACOSX/x", b"", "warning: __MACOSX: does not belong"),
    ("competition.yaml", None, "is not at the top of the bundle; add it"),
]


@pytest.mark.parametrize(("name", "content", "message"), FILES, ids=[f"{f[0]} {f[2][:24]}" for f in FILES])
def test_files_that_the_platform_would_not_take(copy, name, content, message):
    """Each is named with its remedy."""
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes(content)
    found = check_bundle(copy)
    assert [f for f in found if re.search(message, str(f))], found


def test_a_true_number_is_found_wherever_it_is(copy):
    """One of the true values, in a page or a packed starting kit, is a leak."""
    secret = repr(read_truth(copy / "reference_data").mu[1].item())
    (copy / "pages" / "overview.md").write_text(f"Hint: {secret}")
    with zipfile.ZipFile(copy / "kit.zip", "w") as archive:
        archive.writestr("hint.txt", secret)
    found = {f.where for f in check_bundle(copy) if f"the true value {secret}" in f.text}
    assert found == {"pages/overview.md", "kit.zip/hint.txt"}


def test_a_labelled_toy_is_found(copy):
    """A table of a pseudo-experiment with weights or labels tells what is signal."""
    import pandas as pd

    pd.DataFrame({"region": [0.0], "label": [1]}).to_parquet(copy / "input_data" / "toy_000000.parquet")
    found = [f.text for f in check_bundle(copy) if f.where == "input_data/toy_000000.parquet"]
    assert any("label of the events" in text for text in found)
    assert any("metadata" in text for text in found)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt"])
def test_a_zip_that_leads_out_is_not_unpacked(original, tmp_path, name):
    """Entries that leave the folder are refused before anything is written."""
    path = Path(shutil.make_archive(str(tmp_path / "b"), "zip", original))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    (finding,) = check_bundle(path)
    assert "leads out of the bundle" in str(finding)


def test_what_is_no_bundle_is_an_error(tmp_path):
    """A file that is no zip is the wrong path."""
    (tmp_path / "b.txt").write_text("x")
    with pytest.raises(InvalidDataError, match="neither a folder nor a zip"):
        check_bundle(tmp_path / "b.txt")


def test_seeds_that_everybody_knows(tmp_path):
    """A packaged configuration makes a bundle with a warning; seed 0, which means withheld, makes none."""
    (tmp_path / "zero.yaml").write_text(re.sub("seed: .*", "seed: 0", CONFIG))
    with pytest.raises(InvalidConfigError, match="the seed is 0"):
        bundle(tmp_path / "zero.yaml", tmp_path / "a")
    text = find_config("counting").read_text()
    (tmp_path / "few.yaml").write_text(re.sub(r"n_mu: \d+\n  n_toys: \d+", "n_mu: 1\n  n_toys: 2", text))
    found = bundle(tmp_path / "few.yaml", tmp_path / "b", image=IMAGE, n_threads=1)
    assert [f.where for f in found] == ["seed"]


def test_simulators_that_the_image_lacks_are_refused(tmp_path):
    """A simulator that is a path works here only."""
    (tmp_path / "path.yaml").write_text(CONFIG.replace("name: counting", f"name: {tmp_path}/mine.py"))
    (tmp_path / "mine.py").write_text(
        "from fairuniverse.simulators.counting import OnOffCounting as Simulator"
    )
    with pytest.raises(InvalidConfigError, match=r"mine\.py"):
        bundle(tmp_path / "path.yaml", tmp_path / "b")


def test_nothing_is_overwritten(original, tmp_path):
    """An output that exists is left alone."""
    (tmp_path / "secret.yaml").write_text(CONFIG)
    with pytest.raises(InvalidDataError, match="exists: choose a new folder"):
        bundle(tmp_path / "secret.yaml", original)


def test_the_command_line_says_it_all(original, copy):
    """Exit status 0 without errors, 1 with; each finding is a line."""
    good = CliRunner().invoke(main, ["bundle", "--check", str(original)])
    assert (good.exit_code, good.output) == (0, "nothing found\n")
    (copy / "scoring_program" / "metadata.yaml").unlink()
    bad = CliRunner().invoke(main, ["bundle", "--check", str(copy)])
    assert bad.exit_code == 1
    assert "has no metadata.yaml at its top" in bad.output
    assert CliRunner().invoke(main, ["bundle", "counting", "--check", str(original)]).exit_code == 2


def test_the_logo_is_its_drawing(original):
    """The PNG is what the SVG beside it shows."""
    import vl_convert

    import fairuniverse.codabench as package

    drawing = (Path(package.__file__).parent / "logo.svg").read_text()
    assert (original / "logo.png").read_bytes() == vl_convert.svg_to_png(drawing, scale=1)


def test_toys_come_from_their_files_as_they_were_drawn(tmp_path):
    """Every feature of the Higgs world, the derived ones too, is the same to the last bit."""
    config = load_config(find_config("quick"))
    world = make_simulator(config.simulator.name, config.simulator.options)
    events = world.generate(dict.fromkeys((p.name for p in world.processes), 200), seed=1)
    shifted = world.shift(events, {"tes": 1.013}, streams=Streams(1))
    write_table(tmp_path / "toy_000000.parquet", replace(shifted, weights=None, process=None))
    shutil.copy(find_config("quick"), tmp_path / "config.yaml")
    stored = StoredBenchmark(tmp_path).pseudo_experiments
    one, two = feature_columns(shifted), feature_columns(stored.draw(stored.truths()[0]).events)
    assert list(one) == list(two)
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def test_answers_in_a_secret_order_are_put_back(tmp_path):
    """Presented in any order, the same answers give the same scores."""
    results = gaussian_results(n_mu=3, n_toys=4)
    order = [7, 2, 11, 0, 5, 1, 9, 3, 10, 4, 6, 8]
    write_truth(results, tmp_path / "shuffled", order=order)
    write_truth(results, tmp_path / "plain")
    shown = results.table.iloc[order].reset_index(drop=True)
    shown = shown.assign(i_mu=0, i_toy=range(12))
    write_official(type(results)(shown, results.mu_range), tmp_path / "a")
    write_official(results, tmp_path / "b")
    one = score_card(read_official(tmp_path / "a", tmp_path / "shuffled"))
    two = score_card(read_official(tmp_path / "b", tmp_path / "plain"))
    assert one.to_flat() == two.to_flat()


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1, 2], "mine", [0, 1, 2, 4]])
def test_an_order_that_is_none_is_refused(tmp_path, order):
    """Each toy must appear once."""
    path = write_truth(gaussian_results(n_mu=2, n_toys=2), tmp_path)
    path.write_text(path.read_text()[:-1] + f', "order": {order!r}}}'.replace("'", '"'))
    with pytest.raises(InvalidDataError, match="order must"):
        read_truth(tmp_path)
