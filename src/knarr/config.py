"""Frozen settings of one engine: where it keeps things and how it behaves.

Kept free of imports beyond ``os`` since the start path reads it too.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_ROOT = "/var/lib/knarr"
RUN_ROOT = "/run/knarr"
LAUNCHER_IDLE = 300.0
SERVER_IDLE = 300.0


class Settings:
    """Settings of an engine; every attribute is read-only after construction.

    data_root: what survives a reboot (SQLite file, blobs, snapshots, container directories).
    run_root: what is true until reboot (sockets, state files, undo records).
    userns: ``auto`` (own user namespace and id range for each container) or ``host``.
    cgroup_manager: ``auto``, ``cgroupfs``, ``systemd`` or ``none``.
    cgroup_parent: parent of all container cgroups; cgroupfs path such as ``/knarr``.
    launcher_idle, server_idle: seconds without work after which the process ends.
    """

    __slots__ = (
        "cgroup_manager",
        "cgroup_parent",
        "data_root",
        "launcher_idle",
        "run_root",
        "server_idle",
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
        launcher_idle: float = LAUNCHER_IDLE,
        server_idle: float = SERVER_IDLE,
    ) -> None:
        values = locals()
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    if TYPE_CHECKING:
        data_root: str
        run_root: str
        userns: str
        cgroup_manager: str
        cgroup_parent: str
        launcher_idle: float
        server_idle: float

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: {name}")

    @classmethod
    def from_environment(cls, environ: "Mapping[str, str] | None" = None) -> "Settings":
        """Return settings read from ``KNARR_*`` variables, defaults for the rest.

        KNARR_ROOT, KNARR_RUN_ROOT, KNARR_USERNS, KNARR_CGROUP_MANAGER,
        KNARR_CGROUP_PARENT, KNARR_LAUNCHER_IDLE, KNARR_SERVER_IDLE (seconds).
        Raises ValueError when an idle time is not a number.
        """
        env = os.environ if environ is None else environ
        return cls(
            data_root=os.path.abspath(env.get("KNARR_ROOT") or DATA_ROOT),
            run_root=os.path.abspath(env.get("KNARR_RUN_ROOT") or RUN_ROOT),
            userns=env.get("KNARR_USERNS") or "auto",
            cgroup_manager=env.get("KNARR_CGROUP_MANAGER") or "auto",
            cgroup_parent=env.get("KNARR_CGROUP_PARENT") or "/knarr",
            launcher_idle=float(env.get("KNARR_LAUNCHER_IDLE") or LAUNCHER_IDLE),
            server_idle=float(env.get("KNARR_SERVER_IDLE") or SERVER_IDLE),
        )
