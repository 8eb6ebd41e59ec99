"""``info`` and ``version``: engine and machine under Docker's names."""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr._version import __version__
from knarr.engine import logoptions, runtimes, storagedriver, when
from knarr.engine.specbuild import OCI_VERSION

if TYPE_CHECKING:
    from knarr.engine.engine import Engine

API_VERSION = "1.44"  # the release of Docker's Engine API whose objects ``inspect`` follows


def version(engine: Engine) -> dict[str, Any]:
    """Return versions under the names of ``docker version``."""
    del engine
    system = os.uname()
    return {
        "Version": __version__,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": API_VERSION,
        "Os": "linux",
        "Arch": _architecture(system.machine),
        "KernelVersion": system.release,
        "PythonVersion": platform.python_version(),
        "OciVersion": OCI_VERSION,
    }


def info(engine: Engine) -> dict[str, Any]:
    """Return the state of engine and machine under the names of ``docker info``.

    Warnings has one line for each thing that this machine cannot do.
    """
    system = os.uname()
    counts = _counts(engine)
    cgroups = engine.machine.cgroup_names()
    release = _os_release()
    policies, distrusted = _policies(engine)
    return {
        "ID": engine.settings.data_root,
        "Containers": sum(counts.values()),
        "ContainersRunning": counts["running"],
        "ContainersPaused": counts["paused"],
        "ContainersStopped": counts["stopped"],
        "Images": len(engine.index.list()),
        "Driver": _driver(engine),
        "DriverStatus": _driver_status(engine),
        "LoggingDriver": logoptions.DEFAULT,
        "CgroupDriver": cgroups[0],
        "CgroupVersion": cgroups[1],
        "KernelVersion": system.release,
        "OperatingSystem": release.get("PRETTY_NAME", system.sysname),
        "OSVersion": release.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": system.machine,
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "DockerRootDir": engine.settings.data_root,
        "RunRoot": engine.settings.run_root,
        "Name": system.nodename,
        "ServerVersion": __version__,
        "Runtimes": runtimes.listed(engine.settings),
        "DefaultRuntime": engine.settings.runtime,
        "SecurityOptions": _security(engine),
        "PolicyFiles": policies,
        "SystemTime": when.rfc3339(time.time_ns()),
        "Features": dict(engine.machine.features),
        "Warnings": [*engine.machine.warnings(), *distrusted, *_firewalls(engine)],
    }


def _policies(engine: Engine) -> tuple[list[str], list[str]]:
    """Return the policy files that hold, and what is wrong with one, which refuses everything."""
    try:
        files = engine.policy.files()
        engine.policy.rules()
    except errors.RefusedByPolicy as error:
        return [error.file], [f"{error}; until then no container is started"]
    return files, []


def _firewalls(engine: Engine) -> list[str]:
    """Return what keeps containers from others, as far as there are networks on this host."""
    firewall = engine.networks.on_host.firewall
    try:
        return firewall.obstacles() if firewall.present() else []
    except OSError:  # no nf_tables, or not ours to look at: then there are no networks either
        return []


def _counts(engine: Engine) -> dict[str, int]:
    counts = {"running": 0, "paused": 0, "stopped": 0}
    for container in engine.containers.list(all=True):
        state = container.state
        counts["paused" if state.paused else "running" if state.running else "stopped"] += 1
    return counts


def _driver(engine: Engine) -> str:
    try:
        return engine.driver.name
    except errors.Unsupported:
        return "none"


def _driver_status(engine: Engine) -> list[list[str]]:
    try:
        return storagedriver.status(engine.settings, engine.driver)
    except errors.Unsupported:
        return []


def _security(engine: Engine) -> list[str]:
    options = ["name=seccomp,profile=builtin", "name=cgroupns"]
    if engine.machine.private_users():
        options.insert(1, "name=userns")
    return options


def _architecture(machine: str) -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}  # a machine without that file (os-release(5))
