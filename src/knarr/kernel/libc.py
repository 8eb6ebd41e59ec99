"""The C library and raw system calls through ctypes, with errors as OSError.

``PYLIBC`` keeps the interpreter lock during the call, which clone3 needs: the
child must find the lock as its parent held it.
"""

import ctypes
import os

LIBC = ctypes.CDLL(None, use_errno=True)
PYLIBC = ctypes.PyDLL(None, use_errno=True)

_syscall = LIBC.syscall
_syscall.restype = ctypes.c_long

# Calls added since Linux 5.0 have one number on every architecture; the older
# ones are listed for the two families that Python runs on (asm/unistd.h).
_OLD = {
    "x86_64": {"pivot_root": 155, "seccomp": 317, "bpf": 321, "keyctl": 250, "sched_setattr": 314,
               "ioprio_set": 251, "set_mempolicy": 238, "capget": 125, "capset": 126,
               "rt_sigaction": 13},
    "generic": {"pivot_root": 41, "seccomp": 277, "bpf": 280, "keyctl": 219, "sched_setattr": 274,
                "ioprio_set": 30, "set_mempolicy": 237, "capget": 90, "capset": 91,
                "rt_sigaction": 134},
}  # fmt: skip
_NEW = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
}
MACHINE = os.uname().machine
NUMBERS = {**_NEW, **_OLD["x86_64" if MACHINE == "x86_64" else "generic"]}


def fail(name: str, path: "str | bytes | None" = None) -> OSError:
    """Return the OSError for the errno that the last call in this thread left."""
    code = ctypes.get_errno()
    text = f"{name}: {os.strerror(code)}"
    return OSError(code, text, os.fsdecode(path)) if path is not None else OSError(code, text)


def syscall(name: str, *args: object, path: "str | bytes | None" = None) -> int:
    """Return the result of one raw system call; raises OSError naming the call."""
    result: int = _syscall(ctypes.c_long(NUMBERS[name]), *args)
    if result == -1:
        raise fail(name, path)
    return result


def call(name: str, *args: object, path: "str | bytes | None" = None) -> int:
    """Return the result of one C library function; raises OSError naming it."""
    result: int = getattr(LIBC, name)(*args)
    if result == -1:
        raise fail(name, path)
    return result
