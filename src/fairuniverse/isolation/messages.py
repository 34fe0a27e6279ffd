"""Control messages between host and worker: JSON with its length in front, on an inherited socket."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
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
        TimeoutError: The socket's timeout passed before the whole message was here.
    """
    timeout_s = connection.gettimeout()
    if timeout_s is None:
        return _receive(connection, math.inf)
    try:
        return _receive(connection, time.monotonic() + timeout_s)
    finally:
        connection.settimeout(timeout_s)


def _receive(connection: socket.socket, until: float) -> dict[str, Any] | None:
    head = _read(connection, _LENGTH.size, until)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise SubmissionError("crashed", f"a reply of {length} bytes, at most {MAX_BYTES} are read")
    content = _read(connection, length, until)
    return None if content is None else _parse(content)


def _read(connection: socket.socket, length: int, until: float) -> bytes | None:
    """Bytes of a message, however few at a time a hostile worker sends; the time is for all of them."""
    content = b""
    while len(content) < length:
        if until < math.inf:
            connection.settimeout(_seconds(until))
        try:
            chunk = connection.recv(length - len(content))
        except ConnectionError:
            return None
        if not chunk:
            return None
        content += chunk
    return content


def _seconds(until: float) -> float:
    """Time that is left."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


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
