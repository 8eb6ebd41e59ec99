"""Frozen settings of one engine: where it keeps things and how it behaves.

Kept free of imports beyond ``os`` since the start path reads it too.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_ROOT = "/var/lib/knarr"
RUN_ROOT = "/run/knarr"
POLICY = "/etc/knarr/policy.toml"
RUNTIME = "knarr"
RUNTIME_TIMEOUT = 60.0
LAUNCHER_IDLE = 300.0
SERVER_IDLE = 300.0
# What the kernel waits at most where it is told in milliseconds, in whole millions of seconds.
_LONGEST = 2e6
_CHOICES = {"userns": ("auto", "host"), "cgroup_manager": ("auto", "cgroupfs", "systemd", "none")}


class Settings:
    """Settings of an engine; every attribute is read-only after construction.

    data_root: what survives a reboot (SQLite file, blobs, snapshots, container directories).
    run_root: what is true until reboot (sockets, state files, undo records).
    userns: ``auto`` (own user namespace and id range for each container) or ``host``.
    cgroup_manager: ``auto``, ``cgroupfs``, ``systemd`` or ``none``.
    cgroup_parent: parent of all container cgroups; cgroupfs path such as ``/knarr``.
    runtime: what makes containers that say nothing of it: ``knarr``, or another OCI runtime by
    name or absolute path. runtime_timeout: seconds that one call of such a runtime may take.
    default_network: what containers are on that were not given any: ``bridge``, ``none`` or the
    name of another.
    keep_compressed: layers stay as they came, also where a driver keeps their tars.
    storage_driver: ``auto``, ``erofs``, ``overlay``, or one that another package brings.
    policy: path of a policy file that holds beside POLICY, which always does if it is there.
    launcher_idle, server_idle: seconds without work after which the process ends.
    Raises ValueError for what none of these can be.
    """

    __slots__ = (
        "cgroup_manager",
        "cgroup_parent",
        "data_root",
        "default_network",
        "keep_compressed",
        "launcher_idle",
        "policy",
        "run_root",
        "runtime",
        "runtime_timeout",
        "server_idle",
        "storage_driver",
        "userns",
    )

    def __init__(
        self,
        *,
        data_root: str = DATA_ROOT,
        run_root: str = RUN_ROOT,
        userns: str = "auto",
        cgroup_manager: str = "auto",
        cgroup_parent: str = "/knarr",
        storage_driver: str = "auto",
        default_network: str = "bridge",
        keep_compressed: bool = False,
        policy: "str | None" = None,
        runtime: str = RUNTIME,
        runtime_timeout: float = RUNTIME_TIMEOUT,
        launcher_idle: float = LAUNCHER_IDLE,
        server_idle: float = SERVER_IDLE,
    ) -> None:
        values = locals()
        for name, choices in _CHOICES.items():
            if values[name] not in choices:
                raise ValueError(f"{name}: {values[name]!r} is none of {', '.join(choices)}")
        for name in ("launcher_idle", "server_idle"):
            if not 0 <= values[name] <= _LONGEST:
                raise ValueError(f"{name}: {values[name]} is not between 0 and {_LONGEST:.0f}")
        if not 0 < runtime_timeout <= _LONGEST:
            raise ValueError(f"runtime_timeout: {runtime_timeout} is not in (0, {_LONGEST:.0f}]")
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    if TYPE_CHECKING:
        data_root: str
        run_root: str
        userns: str
        cgroup_manager: str
        cgroup_parent: str
        storage_driver: str
        default_network: str
        keep_compressed: bool
        policy: "str | None"
        runtime: str
        runtime_timeout: float
        launcher_idle: float
        server_idle: float

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: {name}")

    @classmethod
    def from_environment(cls, environ: "Mapping[str, str] | None" = None) -> "Settings":
        """Return settings read from ``KNARR_*`` variables, defaults for the rest.

        KNARR_ROOT, KNARR_RUN_ROOT, KNARR_USERNS, KNARR_CGROUP_MANAGER,
        KNARR_CGROUP_PARENT, KNARR_STORAGE_DRIVER, KNARR_DEFAULT_NETWORK, KNARR_KEEP_COMPRESSED
        (true or false), KNARR_POLICY, KNARR_RUNTIME, KNARR_RUNTIME_TIMEOUT, KNARR_LAUNCHER_IDLE,
        KNARR_SERVER_IDLE (the last three in seconds).
        Raises ValueError naming what is wrong with one.
        """
        env = os.environ if environ is None else environ
        return cls(
            data_root=os.path.abspath(env.get("KNARR_ROOT") or DATA_ROOT),
            run_root=os.path.abspath(env.get("KNARR_RUN_ROOT") or RUN_ROOT),
            userns=env.get("KNARR_USERNS") or "auto",
            cgroup_manager=env.get("KNARR_CGROUP_MANAGER") or "auto",
            cgroup_parent=env.get("KNARR_CGROUP_PARENT") or "/knarr",
            storage_driver=env.get("KNARR_STORAGE_DRIVER") or "auto",
            default_network=env.get("KNARR_DEFAULT_NETWORK") or "bridge",
            keep_compressed=_switch(env, "KNARR_KEEP_COMPRESSED"),
            policy=os.path.abspath(env["KNARR_POLICY"]) if env.get("KNARR_POLICY") else None,
            runtime=env.get("KNARR_RUNTIME") or RUNTIME,
            runtime_timeout=_seconds(env, "KNARR_RUNTIME_TIMEOUT", RUNTIME_TIMEOUT),
            launcher_idle=_seconds(env, "KNARR_LAUNCHER_IDLE", LAUNCHER_IDLE),
            server_idle=_seconds(env, "KNARR_SERVER_IDLE", SERVER_IDLE),
        )


def _switch(env: "Mapping[str, str]", name: str) -> bool:
    text = env.get(name, "").lower()
    if text in ("true", "1"):
        return True
    if text in ("false", "0", ""):
        return False
    raise ValueError(f"{name}: {text!r} is neither true nor false")


def _seconds(env: "Mapping[str, str]", name: str, default: float) -> float:
    text = env.get(name)
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number of seconds") from None
