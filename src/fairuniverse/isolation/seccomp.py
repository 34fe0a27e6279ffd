"""The system calls that strangers' code may not make, as a filter program for the Linux kernel.

Default is to allow; refused is what reaches out of a sandbox (debugging, mounting, name spaces, keys, kernel
interfaces with a history of holes) and memory that no limit counts (unmapped shared memory).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairuniverse.errors import IsolationError

_REFUSED = {
    # name: number on x86-64, number on 64-bit ARM (arch/x86/entry/syscalls/syscall_64.tbl and
    # include/uapi/asm-generic/unistd.h of Linux 6.1)
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "request_key": (249, 218),
    "setns": (308, 268),
    "shmget": (29, 194),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}

_ABSENT = {"clone3": (435, 435), "memfd_create": (319, 279)}
"""Answered as if the kernel were too old for them: programs then use clone and ordinary files.

The flags of clone3 lie in memory, where no filter can read them.
"""

_INSPECTED = {"clone": (56, 220), "ioctl": (16, 29), "socket": (41, 198)}

_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX
_AF_UNIX = 1
_X32_BIT = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL_PROCESS, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


@dataclass(frozen=True)
class _Machine:
    audit: int
    column: int


_MACHINES: Mapping[str, _Machine] = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}


def filter_program(machine: str) -> bytes:
    """The filter as an array of ``struct sock_filter``, for one kind of processor.

    Args:
        machine: Name of the processor as `platform.machine` has it.

    Raises:
        IsolationError: The system calls of this processor are not known.
    """
    if machine not in _MACHINES:
        raise IsolationError(
            f"no system call filter for the processor {machine!r}; there are: {', '.join(_MACHINES)}"
        )
    known = _MACHINES[machine]
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, known.audit, yes=1),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
        _step(_JUMP_GREATER_EQUAL, _X32_BIT, no=1),
        _refuse(errno.ENOSYS),
    ]
    for numbers, code in ((_REFUSED, errno.EPERM), (_ABSENT, errno.ENOSYS)):
        for number in numbers.values():
            program += [_step(_JUMP_EQUAL, number[known.column], no=1), _refuse(code)]
    not_permitted = _refuse(errno.EPERM)
    program += _inspect("clone", known, 0, [_step(_JUMP_ANY_BIT, _NEW_NAMESPACES, no=1), not_permitted])
    for request in _TERMINAL_INPUT:
        program += _inspect("ioctl", known, 1, [_step(_JUMP_EQUAL, request, no=1), not_permitted])
    only_unix = [_step(_JUMP_EQUAL, _AF_UNIX, yes=1), _refuse(errno.EAFNOSUPPORT)]
    program += _inspect("socket", known, 0, only_unix)
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def container_profile(machine: str) -> dict[str, Any]:
    """The same rules in the form that container programs read.

    Raises:
        IsolationError: As for `filter_program`.
    """
    filter_program(machine)
    rules = [_rule([*_REFUSED], errno.EPERM), _rule([*_ABSENT], errno.ENOSYS)]
    for flag in (1 << bit for bit in range(32) if _NEW_NAMESPACES >> bit & 1):
        rules.append(_rule(["clone"], errno.EPERM, 0, "SCMP_CMP_MASKED_EQ", flag, flag))
    rules += [_rule(["ioctl"], errno.EPERM, 1, "SCMP_CMP_EQ", request) for request in _TERMINAL_INPUT]
    rules.append(_rule(["socket"], errno.EAFNOSUPPORT, 0, "SCMP_CMP_NE", _AF_UNIX))
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [f"SCMP_ARCH_{machine.upper()}"],
        "syscalls": rules,
    }


def _rule(
    names: Sequence[str], code: int, argument: int = 0, comparison: str = "", value: int = 0, second: int = 0
) -> dict[str, Any]:
    test = {"index": argument, "value": value, "valueTwo": second, "op": comparison}
    return {
        "names": names,
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": code,
        "args": [test] if comparison else [],
    }


def _inspect(name: str, machine: _Machine, argument: int, judge: list[bytes]) -> list[bytes]:
    """Judge the low half of one argument of a system call; fall through with the number loaded again."""
    body = [_step(_LOAD, _ARGUMENTS + 8 * argument), *judge, _step(_LOAD, _NUMBER)]
    return [_step(_JUMP_EQUAL, _INSPECTED[name][machine.column], no=len(body)), *body]


def _refuse(code: int) -> bytes:
    return _step(_RETURN, _ERRNO | code)


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; `yes` and `no` are how many to skip after a comparison."""
    return struct.pack("=HBBI", code, yes, no, value)
