"""The rules of policies, and what each says of a container that breaks it.

What is looked at is the configuration, and the spec that is going to be carried out: what a
container is, not how it was asked for.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from knarr.config import RUNTIME as OWN
from knarr.engine.security import options
from knarr.errors import RefusedByPolicy

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig, Limits
    from knarr.engine.policy.file import Policy

Rule = Callable[["Policy", "Facts"], str]

NAMESPACES = ("cgroup", "ipc", "network", "pid", "user", "uts")
_PERIOD = 100_000  # microseconds: the kernel's period for a CPU quota that comes without one
_BILLION = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Facts:
    """A container as rules see it.

    spec: as it is going to be carried out. uid: whom its command runs as, None while that is
    known by name only. shared: kinds of namespaces that are the host's, others' included.
    names, digests: what its image is called, and what it is, by config, manifest and index.
    """

    config: ContainerConfig
    spec: Mapping[str, Any]
    uid: int | None
    shared: frozenset[str]
    names: Sequence[str]
    digests: frozenset[str]


class Rules:
    """All rules that hold; each method raises RefusedByPolicy for the first that is broken."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies

    @property
    def non_root(self) -> bool:
        """Whether some policy wants to know who commands run as."""
        return any(policy.containers.non_root for policy in self._policies)

    @property
    def checks_binds(self) -> bool:
        """Whether some policy says what may be mounted."""
        return any(policy.containers.bind_mounts is not None for policy in self._policies)

    def container(self, facts: Facts) -> None:
        """Check a container that is going to be made or started."""
        for policy in self._policies:
            for name, rule in _RULES.items():
                _refuse(policy, name, rule(policy, facts))
        self.limits(facts.config.limits)

    def user(self, uid: int) -> None:
        """Check whom a command is going to run as."""
        for policy in self._policies:
            if policy.containers.non_root and uid == 0:
                _refuse(policy, "containers.non_root", _AS_ROOT)

    def command(self, process: Mapping[str, Any], *, privileged: bool) -> None:
        """Check a further command in a container: its process object, and what was asked for."""
        for policy in self._policies:
            if privileged and not policy.containers.privileged:
                _refuse(policy, "containers.privileged", "leave --privileged away")
            _refuse(policy, "containers.capabilities", _capabilities(policy, process))
            _refuse(policy, "containers.no_new_privileges", _new_privileges(policy, process))
        self.user(int(process["user"]["uid"]))

    def limits(self, limits: Limits) -> None:
        """Check the limits that a container is going to have."""
        for policy in self._policies:
            for name, reason in _limits(policy, limits):
                _refuse(policy, name, reason)

    def bind(self, path: str, *, read_only: bool) -> None:
        """Check a path of the host that is going to be mounted, as the kernel found it."""
        for policy in self._policies:
            _refuse(policy, "containers.bind_mounts", _bind(policy, path, read_only=read_only))


def _refuse(policy: Policy, name: str, reason: str) -> None:
    if reason:
        raise RefusedByPolicy(policy.path, name, reason)


_AS_ROOT = "the command would run as root: name another user with --user, such as --user 1000:1000"


def _non_root(policy: Policy, facts: Facts) -> str:
    return _AS_ROOT if policy.containers.non_root and facts.uid == 0 else ""


def _read_only_root(policy: Policy, facts: Facts) -> str:
    if not policy.containers.read_only_root or facts.spec["root"].get("readonly"):
        return ""
    return "the root file system would be writable: add --read-only, and --tmpfs for what it writes"


def _privileged(policy: Policy, facts: Facts) -> str:
    if policy.containers.privileged or not facts.config.privileged:
        return ""
    return "leave --privileged away, and add what is needed with --cap-add and --device"


def _no_new_privileges(policy: Policy, facts: Facts) -> str:
    return _new_privileges(policy, facts.spec["process"])


def _new_privileges(policy: Policy, process: Mapping[str, Any]) -> str:
    if not policy.containers.no_new_privileges or process.get("noNewPrivileges"):
        return ""
    return "programs could gain privileges: add --security-opt no-new-privileges"


def _ceiling(policy: Policy, facts: Facts) -> str:
    return _capabilities(policy, facts.spec["process"])


def _capabilities(policy: Policy, process: Mapping[str, Any]) -> str:
    allowed = policy.containers.capabilities
    if allowed is None or "ALL" in allowed:
        return ""
    held = {name for names in (process.get("capabilities") or {}).values() for name in names}
    beyond = sorted(name.removeprefix("CAP_") for name in held - set(allowed))
    if not beyond:
        return ""
    keep = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in allowed)
    return f"{', '.join(beyond)} would be held: use --cap-drop ALL, and at most {keep or 'that'}"


def _host_namespaces(policy: Policy, facts: Facts) -> str:
    allowed = policy.containers.host_namespaces
    if allowed is None:
        return ""
    for kind in NAMESPACES:
        if kind in facts.shared and kind not in allowed:
            return f"the {kind} namespace would be the host's: {_OWN[kind]}"
    return ""


_OWN = {
    "cgroup": "leave --cgroupns host away",
    "ipc": "leave --ipc host away",
    "network": "use --network none",
    "pid": "leave --pid host away",
    "user": "leave --userns host away, and --privileged and the host's namespaces, which imply it",
    "uts": "leave --uts host away",
}


def _masked_paths(policy: Policy, facts: Facts) -> str:
    if not policy.containers.masked_paths or facts.spec["linux"].get("maskedPaths"):
        return ""
    return "paths of /proc and /sys would not be masked: leave systempaths=unconfined away"


def _seccomp(policy: Policy, facts: Facts) -> str:
    allowed = policy.containers.seccomp
    if allowed is None:
        return ""
    asked = options.parse(facts.config.security_opt).seccomp or options.BUILTIN
    if "seccomp" not in facts.spec["linux"]:
        asked = options.UNCONFINED
    return _profile("seccomp", asked, allowed)


def _apparmor(policy: Policy, facts: Facts) -> str:
    allowed = policy.containers.apparmor
    if allowed is None:
        return ""
    profile = facts.spec["process"].get("apparmorProfile") or options.UNCONFINED
    return _profile("apparmor", profile, allowed)


def _profile(kind: str, profile: str, allowed: Sequence[str]) -> str:
    # A file is what its path says only where no link of the caller's leads there.
    direct = not profile.startswith("/") or os.path.realpath(profile) == profile
    if direct and any(fnmatch.fnmatchcase(profile, pattern) for pattern in allowed):
        return ""
    shown = "a profile that was given as text" if profile.startswith("{") else profile
    return f"{kind} would be {shown}: use {' or '.join(allowed) or 'none of these containers'}"


def _devices(policy: Policy, facts: Facts) -> str:
    allowed, config = policy.containers.devices, facts.config
    if allowed is None:
        return ""
    if config.privileged:
        return "--privileged gives every device: leave it away, and name devices with --device"
    if config.device_cgroup_rules:
        return "leave --device-cgroup-rule away, and name devices with --device"
    for device in config.devices:
        path = device.source
        if os.path.realpath(path) == path and any(
            fnmatch.fnmatchcase(path, pattern) for pattern in allowed
        ):
            continue
        return f"{path} is none of the devices that are allowed ({', '.join(allowed) or 'none'})"
    return ""


def _runtimes(policy: Policy, facts: Facts) -> str:
    asked, allowed = facts.config.runtime, policy.containers.runtimes or ()
    if asked is None or asked == OWN:
        return ""
    # A path is what it says only where no link leads elsewhere.
    if asked in allowed and ("/" not in asked or os.path.realpath(asked) == asked):
        return ""
    return f"OCI runtime {asked} would make it: use --runtime {' or '.join((OWN, *allowed))}"


def _binds(policy: Policy, facts: Facts) -> str:
    for bind in facts.config.binds:
        reason = _bind(policy, os.path.realpath(bind.source), read_only=bind.read_only)
        if reason:
            return reason
    return ""


def _bind(policy: Policy, path: str, *, read_only: bool) -> str:
    allowed = policy.containers.bind_mounts
    if allowed is None:
        return ""
    within = [entry for entry in allowed if _is_below(path, entry.removesuffix(":ro"))]
    if any(read_only or not entry.endswith(":ro") for entry in within):
        return ""
    if within:
        return f"{path} would be mounted writable: add :ro"
    return f"{path} is not below {' or '.join(allowed) or 'anything that may be mounted'}"


def _is_below(path: str, folder: str) -> bool:
    folder = os.path.normpath(folder)
    return folder in (path, "/") or path.startswith(folder + "/")


def _images(policy: Policy, facts: Facts) -> str:
    references, digests = policy.images.references, policy.images.digests
    if references is None and digests is None:
        return ""
    if facts.digests & set(digests or ()):
        return ""
    if any(_is_called(name, pattern) for name in facts.names for pattern in references or ()):
        return ""
    shown = ", ".join((*(references or ()), *(digests or ()))) or "none"
    return f"image {facts.config.image} is none of those that are allowed: {shown}"


def _is_called(name: str, pattern: str) -> bool:
    """Return whether a pattern fits the name of an image.

    A name with a digest tells where the image came from and which it is: the tag beside it, if one
    is there, was never compared with anything. So it fits patterns of any tag, or of the digest.
    """
    from knarr.images.filters import matches
    from knarr.images.reference import Reference

    reference = Reference.parse(name)
    if reference.digest is None:
        return matches(reference, pattern)
    if "@" in pattern:
        return matches(replace(reference, tag=None), pattern)
    return matches(replace(reference, tag=None, digest=None), pattern.removesuffix(":*"))


def _limits(policy: Policy, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield each limit that is missing or too large: its rule, and what to do."""
    cpus = limits.nano_cpus
    if cpus is None and limits.cpu_quota:
        cpus = limits.cpu_quota * _BILLION // (limits.cpu_period or _PERIOD)
    swap = limits.memory_swap or 2 * (limits.memory or 0)
    wanted = policy.limits
    for name, flag, most, found, shown in (
        ("memory", "--memory", wanted.memory, limits.memory, wanted.memory),
        ("memory_swap", "--memory-swap", wanted.memory_swap, swap, wanted.memory_swap),
        ("pids", "--pids-limit", wanted.pids, limits.pids, wanted.pids),
        ("cpus", "--cpus", wanted.cpus, cpus, (wanted.cpus or 0) / _BILLION),
    ):
        if most is not None and not (found and 0 < found <= most):
            yield f"limits.{name}", f"set a limit with {flag}, of at most {shown:.10g}"


_RULES: dict[str, Rule] = {
    "containers.non_root": _non_root,
    "containers.read_only_root": _read_only_root,
    "containers.privileged": _privileged,
    "containers.no_new_privileges": _no_new_privileges,
    "containers.masked_paths": _masked_paths,
    "containers.host_namespaces": _host_namespaces,
    "containers.capabilities": _ceiling,
    "containers.seccomp": _seccomp,
    "containers.apparmor": _apparmor,
    "containers.bind_mounts": _binds,
    "containers.devices": _devices,
    "containers.runtimes": _runtimes,
    "images": _images,
}
