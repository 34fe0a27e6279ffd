"""Places of every kind: a folder, fsspec's memory, and a real S3 server."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

import loopback_s3
from fairuniverse.store import lease


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """URL of a bucket; processes that are started find its server, too."""
    if reason := loopback_s3.missing():
        pytest.skip(reason)
    with loopback_s3.server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield f"s3://{loopback_s3.BUCKET}"


@pytest.fixture(params=["path", "memory", "s3"])
def where(request, tmp_path) -> str:
    """A new place: its path or URL."""
    if request.param == "path":
        return str(tmp_path / "place")
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{uuid4().hex}/place"
    return f"{request.getfixturevalue('s3')}/{uuid4().hex}/place"


@pytest.fixture(params=["path", "s3"])
def shared(request, tmp_path) -> str:
    """A new place that other processes see, too."""
    if request.param == "path":
        return str(tmp_path / "place")
    return f"{request.getfixturevalue('s3')}/{uuid4().hex}/place"


@pytest.fixture(autouse=True)
def quick_leases(monkeypatch):
    """Holders renew, and others lose patience, within a second."""
    monkeypatch.setattr(lease, "RENEWAL_S", 0.2)
    monkeypatch.setattr(lease, "PATIENCE_S", 1.0)
    monkeypatch.setattr(lease, "_SETTLING_S", 0.1)
