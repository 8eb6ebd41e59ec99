"""Names of the kernel that containers may use: limits of setrlimit(2), parameters of sysctl(8)."""

# getrlimit(2) in lower case; "as" is left out, as with Docker.
ULIMITS = frozenset((
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
    "rss", "rtprio", "rttime", "sigpending", "stack",
))  # fmt: skip
# ipc_namespaces(7): what belongs to the namespace of System V IPC.
_SYSCTLS = frozenset(
    "kernel." + name
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni",
                 "shm_rmid_forced")
)  # fmt: skip


def is_sysctl(name: str) -> bool:
    """Return whether a parameter belongs to a namespace that a container has to itself."""
    return name in _SYSCTLS or name.startswith(("net.", "fs.mqueue."))
