"""Does what the first event of the toy says: one hostile thing each."""

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np

ANSWER = {"mu_hat": 1.0, "lower": 0.0, "upper": 2.0}


def loop():
    while True:
        pass


def allocate():
    return np.ones(1 << 31)


def allocate_in_children():
    for _ in range(5):
        if os.fork() == 0:
            hog = np.ones(25 << 20)  # 200 MiB, a permitted amount for one process
            time.sleep(60)
            os._exit(int(hog[0]))
    time.sleep(60)


def leave():
    os._exit(3)


def segfault():
    ctypes.string_at(0)


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def flood():
    for _ in range(64):
        print("x" * (1 << 16))


def leave_daemon():
    """A daemon with a session of its own whose parents are gone."""
    code = "import os, sys, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  time.sleep(600)"
    subprocess.run([sys.executable, "-c", code, "fairuniverse-test-daemon"], check=True)


def _host():
    return next(s for s in map(_socket, range(3, 64)) if s)


def _socket(fd):
    try:
        return socket.socket(fileno=os.dup(fd))
    except OSError:
        return None


def forge():
    content = b'{"id": 1, "mu_hat": 1.0, "lower": 0.9, "upper": 1.1}'
    _host().sendall(struct.pack(">I", len(content)) + content)


def reply_without_end():
    _host().sendall(struct.pack(">I", 1 << 30) + b"x" * 100_000)


def reply_half():
    _host().sendall(struct.pack(">I", 100) + b"{")
    time.sleep(60)


def print_gigabytes():
    while True:
        sys.stdout.write("x" * (1 << 20))


def write_to_toy(test):
    test.to_numpy()[0, 0] = 7.0


DEEDS = (
    loop,
    allocate,
    allocate_in_children,
    leave,
    segfault,
    be_killed,
    flood,
    leave_daemon,
    forge,
    reply_without_end,
    reply_half,
    print_gigabytes,
)


class Model:
    def fit(self, train):
        pass

    def predict(self, test):
        deed = int(test["x"].iloc[0])
        if deed >= 0:
            DEEDS[deed]()
        else:
            write_to_toy(test)
        return ANSWER
