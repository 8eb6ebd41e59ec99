"""Types of ``config.json`` of the OCI runtime spec 1.3 for Linux, for the type checker alone.

A spec is a plain dict, the JSON itself. These classes name its members; they do not
exist at run time, so that the start path need not load ``typing``: import them
under ``if TYPE_CHECKING`` and quote the annotations.

Source: runtime-spec, config.md and config-linux.md. Members without ``Required`` may be
missing. Sizes are bytes, CPU times microseconds, unless noted.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, NotRequired, Required, TypedDict

    class Root(TypedDict):
        """``root``: where the container's file system is, absolute or relative to the bundle."""

        path: str
        readonly: NotRequired[bool]

    class IDMapping(TypedDict):
        """One range of ids: ``size`` of them, from containerID inside, from hostID outside."""

        containerID: int
        hostID: int
        size: int

    class Mount(TypedDict, total=False):
        """One entry of ``mounts``."""

        destination: Required[str]
        type: str
        source: str
        options: list[str]
        uidMappings: list[IDMapping]
        gidMappings: list[IDMapping]

    class User(TypedDict, total=False):
        """``process.user``: ids inside the container."""

        uid: Required[int]
        gid: Required[int]
        umask: int
        additionalGids: list[int]

    class Box(TypedDict):
        """``process.consoleSize``, in characters."""

        height: int
        width: int

    class Capabilities(TypedDict, total=False):
        """``process.capabilities``: names with ``CAP_``."""

        bounding: list[str]
        effective: list[str]
        inheritable: list[str]
        permitted: list[str]
        ambient: list[str]

    class Rlimit(TypedDict):
        """One limit of ``process.rlimits``: ``RLIMIT_*`` and its values (setrlimit(2))."""

        type: str
        hard: int
        soft: int

    class Scheduler(TypedDict, total=False):
        """``process.scheduler`` (sched_setattr(2)); runtime, deadline, period in nanoseconds."""

        policy: Required[
            Literal[
                "SCHED_OTHER",
                "SCHED_FIFO",
                "SCHED_RR",
                "SCHED_BATCH",
                "SCHED_ISO",
                "SCHED_IDLE",
                "SCHED_DEADLINE",
            ]
        ]
        nice: int
        priority: int
        flags: list[
            Literal[
                "SCHED_FLAG_RESET_ON_FORK",
                "SCHED_FLAG_RECLAIM",
                "SCHED_FLAG_DL_OVERRUN",
                "SCHED_FLAG_KEEP_POLICY",
                "SCHED_FLAG_KEEP_PARAMS",
                "SCHED_FLAG_UTIL_CLAMP_MIN",
                "SCHED_FLAG_UTIL_CLAMP_MAX",
            ]
        ]
        runtime: int
        deadline: int
        period: int

    # ``process.ioPriority`` (ioprio_set(2)): class IOPRIO_CLASS_RT, _BE or _IDLE and
    # priority 0 (first) to 7. Not a class here since "class" is a keyword.
    IOPriority = TypedDict("IOPriority", {"class": str, "priority": int})

    class CPUAffinity(TypedDict, total=False):
        """``process.execCPUAffinity``: CPU lists before and after entering the cgroup."""

        initial: str
        final: str

    class Process(TypedDict, total=False):
        """``process``: what runs, as whom, with which rights."""

        terminal: bool
        consoleSize: Box
        user: Required[User]
        args: list[str]
        env: list[str]
        cwd: Required[str]
        capabilities: Capabilities
        rlimits: list[Rlimit]
        noNewPrivileges: bool
        apparmorProfile: str
        oomScoreAdj: int
        scheduler: Scheduler
        selinuxLabel: str
        ioPriority: IOPriority
        execCPUAffinity: CPUAffinity

    class Hook(TypedDict, total=False):
        """One hook: an absolute path, arguments, environment; timeout in seconds."""

        path: Required[str]
        args: list[str]
        env: list[str]
        timeout: int

    class Hooks(TypedDict, total=False):
        """``hooks`` by the moment they run."""

        prestart: list[Hook]
        createRuntime: list[Hook]
        createContainer: list[Hook]
        startContainer: list[Hook]
        poststart: list[Hook]
        poststop: list[Hook]

    class Namespace(TypedDict):
        """A namespace to make, or with ``path`` to join."""

        type: Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]
        path: NotRequired[str]

    class Device(TypedDict, total=False):
        """A device node to make: type ``c``, ``b``, ``u`` or ``p``."""

        path: Required[str]
        type: Required[str]
        major: int
        minor: int
        fileMode: int
        uid: int
        gid: int

    class DeviceRule(TypedDict, total=False):
        """One rule of ``resources.devices``; access is made of ``r``, ``w``, ``m``."""

        allow: Required[bool]
        type: Literal["a", "b", "c"]
        major: int
        minor: int
        access: str

    class NetDevice(TypedDict, total=False):
        """What a network device of the host is called inside."""

        name: str

    class Memory(TypedDict, total=False):
        """``resources.memory``: -1 is unlimited; swap counts memory plus swap."""

        limit: int
        reservation: int
        swap: int
        kernel: int
        kernelTCP: int
        swappiness: int
        disableOOMKiller: bool
        useHierarchy: bool
        checkBeforeUpdate: bool

    class CPU(TypedDict, total=False):
        """``resources.cpu``."""

        shares: int
        quota: int
        burst: int
        period: int
        realtimeRuntime: int
        realtimePeriod: int
        cpus: str
        mems: str
        idle: int

    class Pids(TypedDict, total=False):
        """``resources.pids``: -1 is unlimited, 0 allows none."""

        limit: int

    class WeightDevice(TypedDict, total=False):
        """The share of one block device, 10 to 1000."""

        major: Required[int]
        minor: Required[int]
        weight: int
        leafWeight: int

    class ThrottleDevice(TypedDict):
        """The rate of one block device: bytes or operations per second."""

        major: int
        minor: int
        rate: int

    class BlockIO(TypedDict, total=False):
        """``resources.blockIO``."""

        weight: int
        leafWeight: int
        weightDevice: list[WeightDevice]
        throttleReadBpsDevice: list[ThrottleDevice]
        throttleWriteBpsDevice: list[ThrottleDevice]
        throttleReadIOPSDevice: list[ThrottleDevice]
        throttleWriteIOPSDevice: list[ThrottleDevice]

    class HugepageLimit(TypedDict):
        """The limit for pages of one size ("2MB")."""

        pageSize: str
        limit: int

    class InterfacePriority(TypedDict):
        """The priority of traffic on one interface."""

        name: str
        priority: int

    class Network(TypedDict, total=False):
        """``resources.network`` (cgroup v1 only)."""

        classID: int
        priorities: list[InterfacePriority]

    class Rdma(TypedDict, total=False):
        """The limits of one RDMA device."""

        hcaHandles: int
        hcaObjects: int

    class Resources(TypedDict, total=False):
        """``linux.resources``: what the container's cgroup allows; unified is file -> value."""

        devices: list[DeviceRule]
        memory: Memory
        cpu: CPU
        pids: Pids
        blockIO: BlockIO
        hugepageLimits: list[HugepageLimit]
        network: Network
        rdma: dict[str, Rdma]
        unified: dict[str, str]

    class SeccompArg(TypedDict, total=False):
        """One comparison of a system call's argument, of 64 bits."""

        index: Required[int]
        value: Required[int]
        valueTwo: int
        op: Required[str]

    class SeccompRule(TypedDict, total=False):
        """One entry of ``seccomp.syscalls``."""

        names: Required[list[str]]
        action: Required[str]
        errnoRet: int
        args: list[SeccompArg]

    class Seccomp(TypedDict, total=False):
        """``linux.seccomp``; see `knarr.runtime.seccomp`."""

        defaultAction: Required[str]
        defaultErrnoRet: int
        architectures: list[str]
        flags: list[str]
        listenerPath: str
        listenerMetadata: str
        syscalls: list[SeccompRule]

    class IntelRdt(TypedDict, total=False):
        """``linux.intelRdt``: cache and memory bandwidth by resctrl."""

        closID: str
        schemata: list[str]
        l3CacheSchema: str
        memBwSchema: str
        enableMonitoring: bool

    class MemoryPolicy(TypedDict, total=False):
        """``linux.memoryPolicy`` (set_mempolicy(2))."""

        mode: Required[
            Literal[
                "MPOL_DEFAULT",
                "MPOL_BIND",
                "MPOL_INTERLEAVE",
                "MPOL_WEIGHTED_INTERLEAVE",
                "MPOL_PREFERRED",
                "MPOL_PREFERRED_MANY",
                "MPOL_LOCAL",
            ]
        ]
        nodes: str
        flags: list[
            Literal["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]
        ]

    class Personality(TypedDict):
        """``linux.personality`` (personality(2))."""

        domain: Literal["LINUX", "LINUX32"]
        flags: NotRequired[list[str]]

    class TimeOffset(TypedDict, total=False):
        """The offset of one clock in the time namespace."""

        secs: int
        nanosecs: int

    class TimeOffsets(TypedDict, total=False):
        """``linux.timeOffsets``."""

        boottime: TimeOffset
        monotonic: TimeOffset

    class Linux(TypedDict, total=False):
        """``linux``: all that only Linux has."""

        uidMappings: list[IDMapping]
        gidMappings: list[IDMapping]
        sysctl: dict[str, str]
        resources: Resources
        cgroupsPath: str
        namespaces: list[Namespace]
        devices: list[Device]
        netDevices: dict[str, NetDevice]
        seccomp: Seccomp
        rootfsPropagation: Literal["shared", "slave", "private", "unbindable", ""]
        maskedPaths: list[str]
        readonlyPaths: list[str]
        mountLabel: str
        intelRdt: IntelRdt
        memoryPolicy: MemoryPolicy
        personality: Personality
        timeOffsets: TimeOffsets

    class Spec(TypedDict, total=False):
        """The whole of ``config.json``."""

        ociVersion: Required[str]
        root: Root
        process: Process
        hostname: str
        domainname: str
        mounts: list[Mount]
        hooks: Hooks
        annotations: dict[str, str]
        linux: Linux
