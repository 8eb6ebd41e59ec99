"""The values that go into and come out of the engine: pure data, no behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from knarr.engine.endpointconfig import EndpointConfig
from knarr.errors import InvalidArgument

HEALTH_CHECKS = ("CMD", "CMD-SHELL", "NONE")
_LAST_PORT = 65535
_LONGEST = 2**63 - 1  # ns, in a signed number of 64 bits
PROTOCOLS = ("tcp", "udp", "sctp")
OTHER = "container:"  # what the name of a container whose namespace is joined stands behind


def _check_words(what: str, words: Sequence[object]) -> None:
    if isinstance(words, str):
        example = "('example.org',)" if what == "egress_allow" else "('ls', '-l')"
        raise InvalidArgument(f"{what} {words!r}: give its words, such as {example}")
    for word in words:
        if not isinstance(word, str):
            raise InvalidArgument(f"{what}: {word!r} is not a text")


@dataclass(frozen=True, slots=True)
class BindMount:
    """A host path seen inside the container (``-v HOST:CONTAINER[:OPTIONS]``).

    recursive_read_only: whether ``read_only`` holds for what is mounted below, too: None is
    where the kernel can (5.12), True is or else an error. by_mount: said with ``--mount``.
    inherited: another container's (``--volumes-from``).
    """

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    create_source: bool = True
    recursive: bool = True
    recursive_read_only: bool | None = None
    by_mount: bool = False
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """A tmpfs inside the container (``--tmpfs PATH[:OPTIONS]``); options as mount(8) has them.

    by_mount: said with ``--mount``.
    """

    target: str
    options: tuple[str, ...] = ()
    by_mount: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the host inside the container (``--device HOST[:CONTAINER][:rwm]``).

    source: a device node, or a directory for all below it. access: of ``r``, ``w``, ``m``.
    """

    source: str
    target: str
    access: str = "rwm"


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A limit of setrlimit(2) by its name there, in lower case (``nofile``); -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class ThrottleDevice:
    """A block device and its rate: bytes per second, I/Os per second, or weight 10 to 1000."""

    path: str
    rate: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Resource limits of one container; None means no limit of its own.

    memory, memory_reservation, memory_swap: bytes (memory_swap counts memory
    plus swap, as Docker's; -1 is unlimited swap). memory_swappiness: 0 to 100.
    nano_cpus: 10**9 is one processor. cpu_*_period, cpu_quota, cpu_rt_runtime: microseconds.
    pids: -1 is unlimited. blkio_weight and the rates of blkio_weight_device: 10 to 1000.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_rt_period: int | None = None
    cpu_rt_runtime: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    blkio_weight: int | None = None
    blkio_weight_device: tuple[ThrottleDevice, ...] = ()
    device_read_bps: tuple[ThrottleDevice, ...] = ()
    device_write_bps: tuple[ThrottleDevice, ...] = ()
    device_read_iops: tuple[ThrottleDevice, ...] = ()
    device_write_iops: tuple[ThrottleDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of a container and where the host has it (``-p [ADDRESS:][PORT:]PORT[/PROTOCOL]``).

    port: the container's. address: of the host; "" is all of them. first, last: the
    host's port; any free one of a range where they differ, any free one at all where they are 0.
    Raises InvalidArgument in Docker's words.
    """

    port: int
    protocol: str = "tcp"
    address: str = ""
    first: int = 0
    last: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no port."""
        if self.protocol not in PROTOCOLS:
            raise InvalidArgument(f"invalid proto: {self.protocol}")
        if not 0 < self.port <= _LAST_PORT:
            raise InvalidArgument(f'invalid port specification: "{self.key}"')
        if not 0 <= self.first <= self.last <= _LAST_PORT or (self.last and not self.first):
            raise InvalidArgument(f"invalid port range: {self.first}-{self.last}")

    @property
    def key(self) -> str:
        """The container's port as Docker writes it, ``80/tcp``."""
        return f"{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a container that has ended is started again (``--restart``).

    name: ``no``, ``always``, ``unless-stopped`` or ``on-failure``, with which retries is how
    often at most (0: without end). Raises InvalidArgument in Docker's words.
    """

    name: str = "no"
    retries: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no policy."""
        if self.name not in ("no", "always", "on-failure", "unless-stopped"):
            raise InvalidArgument(
                f"invalid restart policy: unknown policy '{self.name}'; "
                "use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )
        if self.name != "on-failure" and self.retries:
            raise InvalidArgument(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'"
            )
        if self.retries < 0:
            raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a container's health is checked (``--health-cmd`` and its settings).

    test: ``("CMD", PROGRAM, …)``, ``("CMD-SHELL", TEXT)``, ``("NONE",)`` for no check, empty for
    the image's. interval, timeout, start_period, start_interval: nanoseconds, at least 1 ms.
    retries: failures in a row that make it unhealthy. 0 is the image's, else Docker's default: 30
    s, 30 s, none, 5 s, 3. Raises InvalidArgument in Docker's words.
    """

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    def __post_init__(self) -> None:
        """Refuse times that would be a mistake of unit, and what is no command."""
        _check_words("health check", self.test)
        if self.test and self.test[0] not in HEALTH_CHECKS:
            kinds = ", ".join(HEALTH_CHECKS)
            raise InvalidArgument(
                f"health check {self.test[0]!r}: the first word is one of {kinds}"
            )
        for name, value in (
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ):
            if value and value < 1_000_000:
                raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
            if value > _LONGEST:
                raise InvalidArgument(f"{name} in Healthcheck is more than 290 years")
        if self.retries < 0:
            raise InvalidArgument("Retries in Healthcheck cannot be negative")


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Everything a caller may say about a container before it is created.

    ``None`` (or an empty tuple) means: as the image says, else Docker's default.
    env entries are ``NAME=value``, or ``NAME`` alone to unset the image's value.
    cap_add and cap_drop take names with or without ``CAP_`` and ``ALL``.
    security_opt takes Docker's strings (``seccomp=unconfined``, ``seccomp=FILE``,
    ``no-new-privileges``, ``apparmor=PROFILE``, ``systempaths=unconfined``).
    network: ``none``, ``host``, ``container:NAME`` or a network; pid: ``host`` or
    ``container:NAME``; ipc, uts, cgroupns: ``host`` too. endpoints: how it is to be joined to
    networks; None: to ``network``, as it is.
    ports: what of it is reached at the host; publish_all: what it exposes too, at free ports.
    expose: ``80/tcp``, beside what the image and ``ports`` have. network_rate_in, _out: bits a
    second over each interface. egress_allow: all that it may reach outside its networks, as
    ``--egress-allow`` has it; None is everything.
    volumes_from: ``CONTAINER[:ro]``, whose bind mounts this one gets when it is created.
    group_add: further groups, names of the container's /etc/group or numbers. extra_hosts:
    ``NAME:ADDRESS``. device_cgroup_rules: ``c 1:3 rwm``. oom_score_adj: -1000 to 1000.
    sandbox: pid 1 is knarr's init in waiting mode; image command and entrypoint are ignored.
    runtime: ``knarr``, or another OCI runtime by name or absolute path; None is the settings'.
    cidfile: where the id was written, for ``inspect``; nothing is written by the engine.
    log_driver, log_opts: as ``--log-driver`` and ``--log-opt``; None keeps all output.
    health: what differs from the image's health check, which a sandbox does not have.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    entrypoint: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    hostname: str | None = None
    domainname: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    tty: bool = False
    open_stdin: bool = False
    auto_remove: bool = False
    init: bool = False
    sandbox: bool = False
    stop_signal: str | None = None
    stop_timeout: int | None = None
    read_only: bool = False
    tmpfs: tuple[Tmpfs, ...] = ()
    binds: tuple[BindMount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    privileged: bool = False
    userns: str | None = None
    network: str | None = None
    endpoints: tuple[EndpointConfig, ...] | None = None
    ports: tuple[HostPort, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    network_rate_in: int | None = None
    network_rate_out: int | None = None
    egress_allow: tuple[str, ...] | None = None
    pid: str | None = None
    ipc: str | None = None
    uts: str | None = None
    cgroupns: str | None = None
    pull: str = "missing"
    platform: str | None = None
    shm_size: int = 64 * 1024 * 1024
    limits: Limits = field(default_factory=Limits)
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    group_add: tuple[str, ...] = ()
    oom_score_adj: int = 0
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    cgroup_parent: str | None = None
    kill_on_owner_exit: bool = False
    restart: RestartPolicy = RestartPolicy()
    runtime: str | None = None
    cidfile: str | None = None
    log_driver: str | None = None
    log_opts: dict[str, str] = field(default_factory=dict)
    health: HealthCheck | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a command that is no words: one text would be its letters."""
        _check_words("command", self.command)
        _check_words("entrypoint", self.entrypoint or ())
        _check_words("egress_allow", self.egress_allow or ())


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container or a command in one used, from the kernel's accounting.

    cpu_*: nanoseconds. memory_*: bytes. io_*: bytes and operations on block
    devices. What is not accounted is None. A container's figures are its cgroup's; a
    command's are those of wait4(2): of it and the children it waited for, and its
    memory_peak is the resident memory of the largest one.
    """

    cpu_total: int | None = None
    cpu_user: int | None = None
    cpu_system: int | None = None
    memory_peak: int | None = None
    memory_current: int | None = None
    io_read_bytes: int | None = None
    io_write_bytes: int | None = None
    io_read_ops: int | None = None
    io_write_ops: int | None = None
    pids_peak: int | None = None


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a container ended: exit code 0 to 255 (128+n when signal n killed it)."""

    exit_code: int
    oom_killed: bool = False
    error: str = ""
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class HealthResult:
    """One health check. start, end: ns since the epoch. exit_code: 0 is good, -1 is no end."""

    start: int
    end: int
    exit_code: int
    output: str


@dataclass(frozen=True, slots=True)
class Health:
    """What the health checks of a container found; status: starting, healthy, unhealthy, none.

    failing_streak: failures in a row. log: the last five, oldest first. A container that is
    paused or does not run is unhealthy, as with Docker.
    """

    status: str = "none"
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecConfig:
    """One command to run inside a running container.

    env entries are ``NAME=value``. user as ``UID[:GID]`` or names of the container.
    """

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    tty: bool = False
    privileged: bool = False
    detach_keys: str | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a command that is no words."""
        _check_words("command", self.command)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a finished command left: its output, exit code and resource use."""

    stdout: bytes
    stderr: bytes
    exit_code: int
    usage: Usage = field(default_factory=Usage)
    timed_out: bool = False
    oom_killed: bool = False

    @property
    def text(self) -> str:
        """Return stdout decoded as UTF-8 (undecodable bytes replaced)."""
        return self.stdout.decode("utf-8", "replace")
