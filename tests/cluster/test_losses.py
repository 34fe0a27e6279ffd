"""What a run says of workers that were lost, and of what was done again because of them."""

import json
import shutil
import threading
import time

from click.testing import CliRunner
from fairuniverse.scoring import score_card

from fairuniverse import backlog
from fairuniverse.api import report, run_status
from fairuniverse.cli import main
from fairuniverse.executors.processes import ProcessPool
from fairuniverse.store import read_manifest
from processes import running_below
from sample_runs import run, wait_for_part


def test_losses_are_told_while_the_run_goes_on_and_ever_after(tmp_path, monkeypatch):
    """In the manifest at once, for the client may be the next; then in status, scores and report."""
    monkeypatch.setattr(backlog, "TASK_S", 0.1)
    told = []

    def kill_one():
        wait_for_part(tmp_path)
        running_below("spawn_main")[0].kill()
        end = time.monotonic() + 60
        while not told and time.monotonic() < end:
            manifest = read_manifest(tmp_path / "slow")
            if manifest["sessions"][-1].get("retries"):
                told.append("finished" in manifest)
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one, daemon=True)
    with ProcessPool(2) as pool:
        killer.start()
        found = run(tmp_path, ["slow"], pool, n_toys=40)["slow"]
    killer.join()
    assert told == [False]

    (status,) = run_status([tmp_path])
    assert status.account.n_workers_lost == 1
    assert all("a worker process ended" in retry for retry in status.account.retries)
    assert status.account.core_hours > 0
    assert status.account.cpu_s_per_toy > 0
    line = CliRunner().invoke(main, ["status", str(tmp_path)]).output
    assert "1 workers lost" in line
    assert f"{len(status.account.retries)} times something done again" in line
    assert json.loads(CliRunner().invoke(main, ["status", str(tmp_path), "--json"]).output)[0]["retries"]

    card = score_card(found)
    flat = card.to_flat()
    assert (flat["workers_lost"], flat["retries"]) == (1, len(status.account.retries))
    assert flat["core_hours"] == status.account.core_hours
    assert "1 workers lost" in card.render()
    assert card.to_json()["account"]["retries"] == list(status.account.retries)

    page = report([tmp_path], tmp_path / "report.html").read_text()
    for text in ("What it took", "Done again", "a worker process ended"):
        assert text in page

    shutil.copytree(tmp_path / "slow", tmp_path / "bad")
    part = next((tmp_path / "bad" / "parts").iterdir())
    part.write_bytes(part.read_bytes()[:100])
    told = CliRunner().invoke(main, ["report", str(tmp_path), "--output", str(tmp_path / "good.html")])
    assert told.exit_code == 1
    assert told.stderr.startswith(f"Error: cannot read {part}")
    assert "What it took" in (tmp_path / "good.html").read_text()
