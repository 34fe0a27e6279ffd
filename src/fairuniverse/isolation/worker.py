"""What runs in a submission's process: ``python -m fairuniverse.isolation.worker FD FOLDER``.

It answers one request at a time from the host: start, fit, save, load, predict. Strangers' code runs in this
process, so nothing here can be trusted by the host, and nothing here knows a truth.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Answer the host until it closes the connection."""
    fd, folder = int(sys.argv[1]), Path(sys.argv[2])
    sys.argv[1:] = []
    serve(fd, folder)


def serve(fd: int, folder: Path) -> None:
    """Answer requests until the host closes the connection."""
    import socket

    from fairuniverse.isolation.hosted import HostedModel, failure
    from fairuniverse.isolation.messages import receive, send

    os.set_inheritable(fd, False)
    connection = socket.socket(fileno=fd)
    hosted = HostedModel(folder)
    while (request := receive(connection)) is not None:
        try:
            reply = hosted.handle(request)
        except BaseException as error:
            reply = failure(error, folder)
        send(connection, {"id": request["id"], **reply})


if __name__ == "__main__":
    main()
