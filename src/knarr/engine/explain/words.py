"""Table of plain words: what each namespace, capability and mount is for."""

from __future__ import annotations

NAMESPACES = {
    "user": "what its user and group ids mean on this host, and over what its capabilities hold",
    "mount": "which file systems it sees, and where",
    "pid": "which processes it sees and may signal, and under which numbers",
    "network": "interfaces, addresses, routes, ports and firewall rules",
    "ipc": "System V shared memory, semaphores, message queues, and POSIX queues",
    "uts": "host name and domain name",
    "cgroup": "where in the tree of control groups it believes to be",
    "time": "offsets of the monotonic clock and of the time since boot",
}

CAPABILITIES = {
    "CAP_CHOWN": "change the owner of any file",
    "CAP_DAC_OVERRIDE": "read and write files without regard to their permissions",
    "CAP_DAC_READ_SEARCH": "read any file, also by a handle",
    "CAP_FOWNER": "do what else only a file's owner may",
    "CAP_FSETID": "keep set-user-ID bits when a file is changed",
    "CAP_KILL": "send signals to processes of other users",
    "CAP_SETGID": "become any group",
    "CAP_SETUID": "become any user",
    "CAP_SETPCAP": "take capabilities from its own sets",
    "CAP_LINUX_IMMUTABLE": "set and clear the immutable and append-only attributes of files",
    "CAP_NET_BIND_SERVICE": "listen on ports below 1024",
    "CAP_NET_BROADCAST": "(unused by the kernel)",
    "CAP_NET_ADMIN": "configure interfaces, routes and firewall rules",
    "CAP_NET_RAW": "send and receive raw packets",
    "CAP_IPC_LOCK": "lock memory without limit",
    "CAP_IPC_OWNER": "use System V objects without regard to their permissions",
    "CAP_SYS_MODULE": "load and remove kernel modules",
    "CAP_SYS_RAWIO": "access I/O ports, /dev/mem and raw disk commands",
    "CAP_SYS_CHROOT": "change its root directory",
    "CAP_SYS_PTRACE": "look into and change other processes",
    "CAP_SYS_PACCT": "switch process accounting",
    "CAP_SYS_ADMIN": "mount, and a great deal of other administration",
    "CAP_SYS_BOOT": "reboot, load another kernel",
    "CAP_SYS_NICE": "raise priorities, bind other processes to processors",
    "CAP_SYS_RESOURCE": "exceed limits and quotas",
    "CAP_SYS_TIME": "set the clock",
    "CAP_SYS_TTY_CONFIG": "hang up terminals",
    "CAP_MKNOD": "make device nodes",
    "CAP_LEASE": "take leases on any file",
    "CAP_AUDIT_WRITE": "write to the kernel's audit log",
    "CAP_AUDIT_CONTROL": "configure auditing",
    "CAP_SETFCAP": "give files capabilities",
    "CAP_MAC_OVERRIDE": "pass over a security module's policy (Smack)",
    "CAP_MAC_ADMIN": "change a security module's policy",
    "CAP_SYSLOG": "read and clear the kernel's log, see kernel addresses",
    "CAP_WAKE_ALARM": "wake the machine by a timer",
    "CAP_BLOCK_SUSPEND": "keep the machine from suspending",
    "CAP_AUDIT_READ": "read the audit log",
    "CAP_PERFMON": "watch the performance counters of the whole machine",
    "CAP_BPF": "load BPF programs",
    "CAP_CHECKPOINT_RESTORE": "checkpoint and restore processes",
}

# Whose absence keeps most attacks on the host from working, in the order in which to tell it.
DANGEROUS = (
    "CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_PERFMON",
    "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_TIME", "CAP_SYSLOG",
)  # fmt: skip

MOUNTS = {
    "/proc": "processes as its PID namespace shows them",
    "/dev": "device nodes: empty but for those below",
    "/dev/pts": "terminals of its own",
    "/dev/shm": "POSIX shared memory of its own",
    "/dev/mqueue": "POSIX message queues of its IPC namespace",
    "/sys": "devices and, of the network, its own namespace",
    "/sys/fs/cgroup": "its own control groups",
    "/etc/hosts": "names, written by knarr",
    "/etc/hostname": "its host name, written by knarr",
    "/etc/resolv.conf": "name servers, written by knarr",
}
