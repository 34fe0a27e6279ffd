"""Control messages between host and worker: JSON with its length in front, on an inherited socket."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

from fairuniverse.errors import SubmissionError

MAX_BYTES = 64 << 10
"""Largest message, bytes: a hostile worker cannot make the host read more."""

_LENGTH = struct.Struct(">I")


def send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    """Send one message.

    Raises:
        OSError: The other side is gone.
    """
    content = json.dumps(message).encode()
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """Next message; None if the other side is gone.

    Raises:
        SubmissionError: The message is too long or is not a JSON object (status "crashed").
        TimeoutError: The socket's timeout passed.
    """
    head = _read(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise SubmissionError("crashed", f"a reply of {length} bytes, at most {MAX_BYTES} are read")
    content = _read(connection, length)
    return None if content is None else _parse(content)


def _read(connection: socket.socket, length: int) -> bytes | None:
    content = b""
    while len(content) < length:
        try:
            chunk = connection.recv(length - len(content))
        except ConnectionError:
            return None
        if not chunk:
            return None
        content += chunk
    return content


def _parse(content: bytes) -> dict[str, Any]:
    try:
        message = json.loads(content)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise SubmissionError(
            "crashed", "a reply that is not a JSON object: model.py must not write to the socket"
        )
    return message
