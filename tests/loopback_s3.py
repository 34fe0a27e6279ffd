"""An S3 server on this machine, spoken to over HTTP."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

BUCKET = "bucket"


def missing() -> str:
    """What is not installed; empty if nothing."""
    absent = [name for name in ("moto", "flask", "flask_cors", "s3fs") if find_spec(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """A server with an empty bucket, in a process of its own.

    Yields:
        The environment variables that clients need.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"{url}/moto-api/")
            put = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
            urllib.request.urlopen(put, timeout=30).close()
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
        finally:
            process.terminate()


def _wait_for(url: str, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
