"""Graphics processors in sandboxes: device files of their names, behind which there is /dev/null."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from fairuniverse.errors import IsolationError
from fairuniverse.isolation import gpu
from fairuniverse.isolation.backends import get_backend
from fairuniverse.runner import run_submission
from fairuniverse.submission import load_submission

SUBMISSION = Path(__file__).parents[1] / "submissions" / "uses_devices"
RENDER_GROUP = 44


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """One device file for everybody, one for a group, and something of such a name that is none."""
    folder = tmp_path / "dev"
    (folder / "dri").mkdir(parents=True)
    try:
        for name, mode, group in (("nvidia0", 0o666, 0), ("dri/renderD128", 0o660, RENDER_GROUP)):
            os.mknod(folder / name, stat.S_IFCHR, os.makedev(1, 3))
            os.chown(folder / name, 0, group)
            (folder / name).chmod(mode)
        (folder / "nvidia0").write_bytes(b"swallowed")
    except PermissionError:
        pytest.skip("device files can be made by root only, and used on some file systems only")
    (folder / "nvidia1").write_bytes(b"")
    monkeypatch.setattr(gpu, "DEVICES", folder)
    return folder


def test_what_counts(devices):
    """Device files of known names, with the group that may use them; nothing where there is none."""
    found = {(str(g.inside), g.group) for g in gpu.find_gpus()}
    assert found == {("/dev/nvidia0", None), ("/dev/dri/renderD128", RENDER_GROUP)}
    shutil.rmtree(devices)
    assert gpu.find_gpus() == ()


@pytest.mark.parametrize("name", ["bubblewrap", "podman"])
def test_sandboxes_have_them_if_told(devices, name, tiny_benchmark, tmp_path):
    """A submission can use both; without being told, a sandbox has none."""
    for with_gpus, n in ((True, 2), (False, 0)):
        try:
            backend = get_backend(name, with_gpus=with_gpus)
        except IsolationError as error:
            pytest.skip(f"no sandbox can be made here: {error}")
        folder = tmp_path / f"{name}-{with_gpus}"
        found = run_submission(tiny_benchmark(), load_submission(SUBMISSION), folder, backend=backend)
        assert found.table["mu_hat"].tolist() == [n] * len(found.table), found.table["message"].iloc[0]
        assert len(found.manifest["isolation"]["gpus"]) == n


def test_a_run_remembers_them(devices, tiny_benchmark, tmp_path):
    """A session without does not make a run look as if it never had any."""
    submission = load_submission(SUBMISSION)
    for with_gpus in (True, False):
        for part in tmp_path.glob("run/parts/*"):
            part.unlink()
        backend = get_backend("none", with_gpus=with_gpus)
        found = run_submission(tiny_benchmark(), submission, tmp_path / "run", backend=backend)
        assert found.manifest["isolation"]["gpus"] == ["/dev/dri/renderD128", "/dev/nvidia0"]


def test_the_limit_of_reserved_memory(devices, tiny_benchmark, tmp_path):
    """Drivers reserve more than they use: the kernel's limit on it is lifted, the watch on use is not."""
    (tmp_path / "greedy").mkdir()
    (tmp_path / "greedy" / "model.py").write_text(
        "import mmap\n"
        "from fairuniverse import Interval\n"
        "class Model:\n"
        "    def fit(self, train):\n"
        "        self.kept = mmap.mmap(-1, 8 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "    def predict(self, test):\n"
        "        return Interval(1, 0, 2)\n"
        "    def __getstate__(self):\n"
        "        return {}\n"
    )
    submission = load_submission(tmp_path / "greedy")
    for with_gpus, status in ((True, "ok"), (False, "fit_failed")):
        backend = get_backend("none", with_gpus=with_gpus)
        folder = tmp_path / f"run-{with_gpus}"
        found = run_submission(tiny_benchmark(memory_mib=2000), submission, folder, backend=backend)
        assert set(found.table["status"]) == {status}
