"""A Slurm with two nodes on this machine, for as long as a test needs it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")

_CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
MpiDefault=none
ReturnToService=2
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000 Features=cpu
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000 Features=cpu
PartitionName=debug Nodes=n1,n2 Default=YES State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; empty if there can."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    path = f"{os.environ['PATH']}:/usr/sbin"
    absent = [p for p in PROGRAMS if not shutil.which(p, path=path)]
    return f"no {', '.join(absent)}: make slurm installs them" if absent else ""


@contextmanager
def slurm(folder: Path) -> Iterator[Path]:
    """Two nodes with a core each, behind their own controller and key; gives the configuration's path."""
    configuration = folder / "slurm.conf"
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    configuration.write_text(_CONFIGURATION.format(folder=folder, ports=[_free_port() for _ in range(3)]))
    environment = {**os.environ, "SLURM_CONF": str(configuration), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    with ExitStack() as stack:
        _munge(folder / "munge", stack)
        for command in (
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", "n1"],
            ["slurmd", "-D", "-N", "n2"],
        ):
            daemon = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
        _wait_for_nodes(environment)
        yield configuration


def _munge(folder: Path, stack: ExitStack) -> None:
    """Authentication with a key that nobody else has."""
    folder.mkdir()
    shutil.chown(folder, "munge", "munge")
    key = folder / "key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    shutil.chown(key, "munge", "munge")
    folder.chmod(0o755)
    files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed", "key-file": "key"}
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    as_munge = ["setpriv", "--reuid", "munge", "--regid", "munge", "--clear-groups"]
    program = shutil.which("munged", path="/usr/sbin:/usr/bin")
    daemon = subprocess.Popen(
        [*as_munge, program, "--foreground", "--force", *options], stderr=subprocess.DEVNULL
    )
    stack.callback(daemon.wait)
    stack.callback(daemon.terminate)


def _wait_for_nodes(environment: dict[str, str], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = subprocess.run(
            ["sinfo", "-h", "-o", "%t %D"], env=environment, capture_output=True, text=True
        )
        if "idle 2" in found.stdout:
            return
        time.sleep(0.5)
    raise TimeoutError(f"the nodes did not come up: {found.stdout}{found.stderr}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
