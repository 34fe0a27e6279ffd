"""Graphics processors of a machine, by the device files that a sandbox needs to use them."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

DEVICES = Path("/dev")

NAMES = (
    *("nvidia[0-9]*", "nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-caps/*"),
    *("kfd", "dri/renderD*"),
)
"""Device files of NVIDIA's driver, and of AMD's and others' in the kernel."""

DESCRIPTIONS = ("/sys/bus", "/sys/class", "/sys/dev", "/sys/devices", "/sys/module")
"""Where drivers look for their devices."""


@dataclass(frozen=True)
class GpuDevice:
    """A device file.

    Attributes:
        path: Where it is.
        inside: Where a sandbox has it.
        group: Group that may use it, where not everybody may.
    """

    path: Path
    inside: Path
    group: int | None


def find_gpus() -> tuple[GpuDevice, ...]:
    """Device files of the graphics processors of this machine; none where there is none."""
    found = sorted({path for name in NAMES for path in DEVICES.glob(name)})
    return tuple(
        GpuDevice(path, Path("/dev") / path.relative_to(DEVICES), _group_of(path))
        for path in found
        if path.is_char_device()
    )


def _group_of(path: Path) -> int | None:
    status = path.stat()
    for_all = stat.S_IROTH | stat.S_IWOTH
    return None if status.st_mode & for_all == for_all else status.st_gid
