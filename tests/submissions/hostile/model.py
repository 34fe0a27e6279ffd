"""Attacks what target.json says, in the way that the first event of the toy says."""

import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import fairuniverse

TARGET = json.loads(Path("target.json").read_text())
SCRATCH = Path(os.environ["HOME"])


def read_truth():
    return Path(TARGET["truth"]).read_text()


def follow_a_link_to_the_truth():
    (SCRATCH / "link").symlink_to(TARGET["truth"])
    return (SCRATCH / "link").read_text()


def find_seeds():
    folder = Path(fairuniverse.__file__).parent / "configs"
    configs = [*folder.glob("*.yaml"), *Path(TARGET["configs"]).glob("*.yaml")]
    return configs[0].read_text() if configs else _blocked("no configuration")


def find_the_host():
    words = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")]
    return next((w for w in words if b"pytest" in w), None) or _blocked("no process of the host")


def read_the_memory_of_parents():
    """Every page of them, their environment, descriptors and folders: nothing may tell of the run."""
    words = []
    for pid in {1, os.getppid()} - {os.getpid()}:
        for look in (_memory, _environment, _descriptors):
            try:
                words += look(f"/proc/{pid}")
            except OSError:
                pass
    traces = [w for w in words if TARGET["run"].encode() in w or b"mu_true" in w]
    return traces or _blocked("no memory of another")


def _memory(process):
    with open(f"{process}/maps") as maps, open(f"{process}/mem", "rb", buffering=0) as memory:
        for line in maps:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if line.split()[1].startswith("rw") and end - start < 1 << 28:
                memory.seek(start)
                yield memory.read(end - start)


def _environment(process):
    yield Path(f"{process}/environ").read_bytes()


def _descriptors(process):
    for path in (*Path(f"{process}/fd").iterdir(), Path(f"{process}/cwd"), Path(f"{process}/root")):
        yield os.readlink(path).encode()


def find_the_run_in_tables():
    """Mount tables, control groups, environment and arguments of every process that is seen."""
    words = []
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("mountinfo", "mounts", "cgroup", "cmdline", "environ"):
            try:
                words.append((path / name).read_bytes())
            except OSError:
                pass
    traces = [w for w in words if TARGET["run"].encode() in w or b"truth" in w]
    return traces or _blocked("no trace of the run")


def connect():
    return socket.create_connection(("127.0.0.1", TARGET["port"]))


def send_a_packet():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", TARGET["port"]))


def kill_the_host():
    os.kill(TARGET["pid"], signal.SIGKILL)


def kill_the_guard():
    os.kill(1, signal.SIGKILL)
    _blocked("still there")


def trace():
    _checked(ctypes.CDLL(None, use_errno=True).ptrace(16, 1, None, None))


def become_root():
    os.setuid(0)


def change_the_submission():
    Path("model.py").write_text("")


def forge_results():
    Path(TARGET["truth"]).with_name("results.parquet").write_bytes(b"")


def change_the_package():
    Path(fairuniverse.__file__).write_text("")


def fill_the_disk():
    _fill(SCRATCH)


def fill_shared_memory():
    _fill(Path("/dev/shm"))


def hide_memory():
    os.memfd_create("hidden")


def shrink_the_toy():
    """The host maps the same file: were it shorter, the host would die of a bus error."""
    done = []
    for fd in range(3, 64):
        try:
            os.set_inheritable(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), False)
            os.ftruncate(fd, 0)
            done.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return [d for d in done if "memfd" in d] or _blocked("no file of the host became shorter")


def fork_bomb():
    children = []
    try:
        while len(children) < 5000:
            pid = os.fork()
            if not pid:
                time.sleep(600)
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def leave_daemon():
    code = "import os, time\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  time.sleep(600)"
    subprocess.run([sys.executable, "-c", code], check=True)
    _blocked("left a daemon")


def allocate_in_children():
    for _ in range(5):
        if os.fork() == 0:
            hog = np.ones(14 << 20)  # 112 MiB, a permitted amount for one process
            time.sleep(60)
            os._exit(int(hog[0]))
    time.sleep(60)


def print_gigabytes():
    while True:
        sys.stdout.write("x" * (1 << 20))


def forge_a_reply():
    content = b'{"id": 1, "mu_hat": 1.0, "lower": 0.9, "upper": 1.1}'
    for fd in range(3, 64):
        try:
            host = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        host.sendall(struct.pack(">I", len(content)) + content)
        time.sleep(60)


def loop():
    while True:
        pass


def meet():
    """Names that two submissions could share if anything was common to them."""
    global _MET
    _MET = [socket.socket(socket.AF_UNIX)]
    _MET[0].bind("\0fairuniverse-test-meeting")
    for folder in ("/tmp", "/dev/shm"):
        _MET.append(open(f"{folder}/meeting", "x"))
    if len(list(Path("/proc").glob("[0-9]*"))) > 4:
        _blocked("processes of others")


MESSAGE = b"remembered"


def leave_messages():
    """For the next process of this submission, wherever a file outlives this one."""
    ways = (
        lambda fd: os.lseek(fd, len(MESSAGE), os.SEEK_SET),
        lambda fd: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK),
        lambda fd: os.fchmod(fd, 0o600),
        lambda fd: os.pwrite(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), MESSAGE, 0),
        lambda fd: os.utime(fd, (7, 7)),
    )
    for fd in list(_files()):
        for leave in ways:
            try:
                leave(fd)
            except OSError:
                pass


def find_messages():
    found = set()
    for fd in list(_files()):
        status = os.fstat(fd)
        found |= {"position"} if os.lseek(fd, 0, os.SEEK_CUR) else set()
        found |= {"flags"} if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK else set()
        found |= {"content"} if os.pread(fd, len(MESSAGE), 0) == MESSAGE else set()
        found |= {"times"} if status.st_mtime == 7 else set()
        found |= (
            {"mode"} if status.st_mode & 0o200 and "memfd" in os.readlink(f"/proc/self/fd/{fd}") else set()
        )
    _blocked(f"found: {sorted(found)}")


def _files():
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > 2 and stat.S_ISREG(os.fstat(fd).st_mode):
                yield fd
        except OSError:
            pass


def patch_the_worker():
    from fairuniverse.isolation import hosted

    hosted.HostedModel.handle = lambda self, request: {"mu_hat": "1.0", "lower": None, "upper": [1]}


DEEDS = (
    read_truth,
    follow_a_link_to_the_truth,
    find_seeds,
    find_the_host,
    read_the_memory_of_parents,
    find_the_run_in_tables,
    connect,
    send_a_packet,
    kill_the_host,
    kill_the_guard,
    trace,
    become_root,
    change_the_submission,
    forge_results,
    change_the_package,
    fill_the_disk,
    fill_shared_memory,
    hide_memory,
    shrink_the_toy,
    fork_bomb,
    leave_daemon,
    allocate_in_children,
    print_gigabytes,
    forge_a_reply,
    loop,
    patch_the_worker,
    meet,
    leave_messages,
    find_messages,
)
"""In the order of tests/isolation/hostility.py."""


def _fill(folder):
    path = folder / "filling"
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(4096):
                file.write(bytes(1 << 20))
    finally:
        path.unlink()


def _checked(code):
    if code < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _blocked(reason):
    raise OSError(errno.EACCES, reason)


class Model:
    def fit(self, train):
        pass

    def predict(self, test):
        return {"mu_hat": 1.0, "lower": 0.0, "upper": DEEDS[int(test["x"].iloc[0])]() or 2.0}
