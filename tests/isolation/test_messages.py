"""Control messages between host and worker."""

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.messages import MAX_BYTES, receive, send


@pytest.fixture
def pair():
    """Both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_messages_arrive_in_order(pair):
    """What is sent is received, one message at a time, also when it comes in pieces."""
    ours, theirs = pair
    send(ours, {"op": "predict", "id": 1})
    send(ours, {"text": "ü" * 1000})
    assert receive(theirs) == {"op": "predict", "id": 1}
    assert receive(theirs) == {"text": "ü" * 1000}


@pytest.mark.parametrize("sent", [b"", b"\0\0", struct.pack(">I", 9) + b"{"], ids=["nothing", "head", "body"])
def test_a_closed_connection_is_no_message(pair, sent):
    """Wherever the other side stops, the answer is None."""
    ours, theirs = pair
    ours.sendall(sent)
    ours.close()
    assert receive(theirs) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack(">I", MAX_BYTES + 1), "at most 65536 are read"),
        (struct.pack(">I", 2) + b"[]", "not a JSON object"),
        (struct.pack(">I", 4) + b"\xff\xfe{}", "not a JSON object"),
        (struct.pack(">I", 60_000) + b"[" * 60_000, "not a JSON object"),
    ],
    ids=["too long", "a list", "not text", "nested deeply"],
)
def test_nonsense_is_a_crash_of_the_worker(pair, content, message):
    """Nothing that a worker writes can hurt the host."""
    ours, theirs = pair
    ours.sendall(content)
    with pytest.raises(SubmissionError, match=message) as raised:
        receive(theirs)
    assert raised.value.status == "crashed"


def test_the_time_is_for_the_whole_message(pair):
    """A byte now and then does not keep the host waiting; the connection's timeout is as before."""
    ours, theirs = pair
    theirs.settimeout(0.3)
    message = struct.pack(">I", 2000) + b"{" + b" " * 1998 + b"}"

    def drip():
        with suppress(OSError):
            for i in range(len(message)):
                ours.sendall(message[i : i + 1])
                time.sleep(0.01)

    hostile = threading.Thread(target=drip)
    hostile.start()
    with pytest.raises(TimeoutError):
        receive(theirs)
    assert theirs.gettimeout() == 0.3
    theirs.close()
    hostile.join()
