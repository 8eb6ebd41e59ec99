"""The default seccomp profile: which system calls a container may make.

The policy is Docker's: everything is refused with EPERM but what is listed here. A rule can
depend on the container's capabilities, so that ``--cap-add SYS_ADMIN`` also opens mount(2).
Left out on purpose, among others: io_uring (bypasses the filter's view and had too many
holes), userfaultfd, keyctl and its kin (keys are not namespaced), kexec, swapon, quotactl.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from knarr.engine.security import profile

if TYPE_CHECKING:
    from collections.abc import Collection

_FILES = """
    access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup
    dup2 dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat
    fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock
    fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
    ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat ioctl lchown
    lchown32 lgetxattr link linkat listmount listxattr listxattrat llistxattr _llseek
    lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
    newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv removexattr removexattrat rename renameat renameat2
    rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64
    statmount statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64
    umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
"""
_WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old fanotify_mark inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
    io_setup io_submit _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select
"""
# socket(2) itself stands below, with its conditions.
_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown
    socketcall socketpair
"""
_TIME = """
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64
    clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer
    gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
"""
_MEMORY = """
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2
    mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc
    pkey_free pkey_mprotect process_mrelease remap_file_pages
"""
_IDENTITY = """
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
    getresgid getresgid32 getresuid getresuid32 getuid getuid32 landlock_add_rule
    landlock_create_ruleset landlock_restrict_self seccomp setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid
    setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
"""
_EXCHANGE = """
    eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
    get_robust_list ipc mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv
    msgsnd pipe pipe2 semctl semget semop semtimedop semtimedop_time64 set_robust_list shmat
    shmctl shmdt shmget
"""
_PROCESSES = """
    execve execveat exit exit_group fork get_thread_area getcpu getpgid getpgrp getpid
    getppid getpriority getrandom getrlimit getrusage getsid gettid ioprio_get ioprio_set
    pidfd_open prctl prlimit64 restart_syscall riscv_hwprobe rseq sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield set_thread_area set_tid_address setpgid
    setpriority setrlimit setsid sysinfo ugetrlimit uname uretprobe vfork wait4 waitid
    waitpid
"""
_SIGNALS = """
    kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
    sigaltstack signalfd signalfd4 sigprocmask sigreturn tgkill tkill
"""
_ALWAYS = (
    _FILES + _WAITING + _SOCKETS + _TIME + _MEMORY + _IDENTITY + _EXCHANGE + _PROCESSES + _SIGNALS
)

# Capability of the container -> the calls that it opens.
_BY_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog
        umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": """
        kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace
    """,
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

_BY_ARCH = (
    (("ppc64le",), "sync_file_range2 swapcontext"),
    (
        ("arm", "arm64"),
        """
        arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls
        """,
    ),
    (("amd64",), "arch_prctl modify_ldt"),
    (("s390", "s390x"), "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    (("riscv64",), "riscv_flush_icache"),
)  # fmt: skip

# Every flag of clone(2) that makes a namespace but CLONE_NEWTIME, which shares a bit with the
# exit signal: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_CLONE_NAMESPACES = 0x7E020000
_AF_ALG = 38  # the kernel's crypto by socket: large, rarely used, often vulnerable
_AF_VSOCK = 40  # reaches the hypervisor; not namespaced
# PER_LINUX, PER_LINUX32, UNAME26 with either, and the question what it is now.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_ENOSYS = 38
_EPERM = 1

_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",),
    "SCMP_ARCH_S390X": ("SCMP_ARCH_S390",),
    "SCMP_ARCH_RISCV64": (),
    "SCMP_ARCH_LOONGARCH64": (),
}


def default_profile(
    caps: Collection[str], arch: str, kernel: tuple[int, int] = (6, 1)
) -> dict[str, Any]:
    """Return the default ``linux.seccomp`` for a container with these capabilities.

    ``caps`` are names (``CAP_SYS_ADMIN``), ``arch`` the machine as uname(2) names it,
    ``kernel`` the first two numbers of the release. The same arguments give the same
    object, which is not to be changed.
    """
    return _cached(frozenset(caps), arch, kernel)


@functools.lru_cache(maxsize=64)
def _cached(caps: frozenset[str], arch: str, kernel: tuple[int, int]) -> dict[str, Any]:
    return profile.resolve(conditional_profile(), caps, arch, kernel)


def conditional_profile() -> dict[str, Any]:
    """Return the profile with its conditions, in the form that ``seccomp=FILE`` takes."""
    rules = [
        _allow(_ALWAYS),
        # Before 4.8 a tracer could change the call after the filter had seen it.
        _allow("process_vm_readv process_vm_writev ptrace", includes={"minKernel": "4.8"}),
        *(_allow("socket", args=[_compare(op, value)]) for op, value in (
            ("SCMP_CMP_LT", _AF_ALG), ("SCMP_CMP_EQ", _AF_ALG + 1), ("SCMP_CMP_GT", _AF_VSOCK),
        )),
        *(_allow("personality", args=[_compare("SCMP_CMP_EQ", v)]) for v in _PERSONALITIES),
        *(_allow(names, includes={"arches": list(arches)}) for arches, names in _BY_ARCH),
        *(_allow(names, includes={"caps": [cap]}) for cap, names in _BY_CAPABILITY.items()),
        *_clone_rules(),
    ]  # fmt: skip
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "archMap": [
            {"architecture": arch, "subArchitectures": list(others)}
            for arch, others in _ARCHITECTURES.items()
        ],
        "syscalls": rules,
    }


def _clone_rules() -> list[dict[str, Any]]:
    """Allow clone(2) without new namespaces unless CAP_SYS_ADMIN allows it as a whole.

    The flags of clone3(2) lie in memory where no filter looks, so it does not exist: with
    ENOSYS the C library falls back to clone.
    """
    args = {
        index: [{**_compare("SCMP_CMP_MASKED_EQ", _CLONE_NAMESPACES, index), "valueTwo": 0}]
        for index in (0, 1)  # s390 has the first two arguments the other way round
    }
    admin, s390 = ["CAP_SYS_ADMIN"], ["s390", "s390x"]
    return [
        _allow("clone", args=args[0], excludes={"caps": admin, "arches": s390}),
        _allow("clone", args=args[1], includes={"arches": s390}, excludes={"caps": admin}),
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": _ENOSYS,
            "excludes": {"caps": admin},
        },
    ]


def _allow(names: str, **more: Any) -> dict[str, Any]:
    return {"names": names.split(), "action": "SCMP_ACT_ALLOW", **more}


def _compare(operator: str, value: int, index: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "op": operator}
