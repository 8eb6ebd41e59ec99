"""Namespaces: their names, unshare(2), setns(2) and the ioctls of ioctl_ns(2)."""

import fcntl

from knarr.kernel.libc import call

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# Name in the OCI runtime spec -> (clone flag, file below /proc/PID/ns).
NAMESPACES = {
    "user": (CLONE_NEWUSER, "user"),
    "mount": (CLONE_NEWNS, "mnt"),
    "pid": (CLONE_NEWPID, "pid"),
    "network": (CLONE_NEWNET, "net"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "uts": (CLONE_NEWUTS, "uts"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "time": (CLONE_NEWTIME, "time"),
}

_NS_GET_NSTYPE = 0xB703


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own (unshare(2))."""
    call("unshare", flags)


def setns(fd: int, flags: int = 0) -> None:
    """Enter the namespace(s) behind a namespace or pid descriptor (setns(2))."""
    call("setns", fd, flags)


def namespace_type(fd: int) -> int:
    """Return the CLONE_NEW* flag of the namespace behind ``fd`` (ioctl_ns(2))."""
    return fcntl.ioctl(fd, _NS_GET_NSTYPE)


def sethostname(name: str) -> None:
    """Set the host name of this UTS namespace (sethostname(2))."""
    raw = name.encode()
    call("sethostname", raw, len(raw))


def setdomainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace (setdomainname(2))."""
    raw = name.encode()
    call("setdomainname", raw, len(raw))
