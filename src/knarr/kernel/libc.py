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
_X86_64 = {
    "bpf": 321, "capget": 125, "capset": 126, "chdir": 80, "chroot": 161, "clock_gettime": 228,
    "close": 3, "dup3": 292,
    "execve": 59, "execveat": 322, "exit_group": 231, "fchdir": 81,
    "fchown": 93, "fchownat": 260, "fcntl": 72, "fstatfs": 138, "getcwd": 79, "ioctl": 16,
    "ioprio_get": 252, "ioprio_set": 251, "keyctl": 250, "madvise": 28, "mkdirat": 258,
    "mknodat": 259, "mmap": 9,
    "mount": 165, "openat": 257, "personality": 135, "pivot_root": 155, "ppoll": 271,
    "prctl": 157, "prlimit64": 302, "pwrite64": 18,
    "read": 0, "rt_sigaction": 13, "rt_sigprocmask": 14, "sched_setaffinity": 203,
    "sched_setattr": 314, "seccomp": 317, "sendmsg": 46,
    "set_mempolicy": 238, "setdomainname": 171, "setgroups": 116, "sethostname": 170,
    "setns": 308, "setresgid": 119, "setresuid": 117, "setsid": 112, "socket": 41, "statx": 332,
    "symlinkat": 266, "umask": 95, "umount2": 166, "unshare": 272, "wait4": 61, "write": 1,
}  # fmt: skip
_GENERIC = {
    "bpf": 280, "capget": 90, "capset": 91, "chdir": 49, "chroot": 51, "clock_gettime": 113,
    "close": 57, "dup3": 24,
    "execve": 221, "execveat": 281, "exit_group": 94, "fchdir": 50,
    "fchown": 55, "fchownat": 54, "fcntl": 25, "fstatfs": 44, "getcwd": 17, "ioctl": 29,
    "ioprio_get": 31, "ioprio_set": 30, "keyctl": 219, "madvise": 233, "mkdirat": 34,
    "mknodat": 33, "mmap": 222,
    "mount": 40, "openat": 56, "personality": 92, "pivot_root": 41, "ppoll": 73, "prctl": 167,
    "prlimit64": 261, "pwrite64": 68,
    "read": 63, "rt_sigaction": 134, "rt_sigprocmask": 135, "sched_setaffinity": 122,
    "sched_setattr": 274, "seccomp": 277, "sendmsg": 211,
    "set_mempolicy": 237, "setdomainname": 162, "setgroups": 159, "sethostname": 161,
    "setns": 268, "setresgid": 149, "setresuid": 147, "setsid": 157, "socket": 198, "statx": 291,
    "symlinkat": 36, "umask": 166, "umount2": 39, "unshare": 97, "wait4": 260, "write": 64,
}  # fmt: skip
_NEW = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "faccessat2": 439,
    "mount_setattr": 442,
}
MACHINE = os.uname().machine
NUMBERS = {**_NEW, **(_X86_64 if MACHINE == "x86_64" else _GENERIC)}


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
