"""The OCI process object of an ``exec``: the container's own, with what the caller changed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import accounts, host
from knarr.engine.inspect import own_namespaces, read_spec
from knarr.engine.security import capabilities
from knarr.engine.spec_process import GROUPS, USER_NAME, with_user
from knarr.spec import capabilities as names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from knarr.engine.container import Container
    from knarr.engine.model import ExecConfig
    from knarr.engine.paths import Paths
    from knarr.engine.security.users import ResolvedUser
    from knarr.engine.state import ContainerState

Object = dict[str, Any]


# What of a container's ``linux`` holds for all its processes.
_COMMON = ("seccomp", "personality")


def _available(spec: Object) -> int:
    """Return what a command can be given, by the rule for containers (``speccontext``)."""
    own = own_namespaces(spec.get("linux") or {})
    return names.ALL_MASK if "user" in own else host.capabilities()


def build(paths: Paths, state: ContainerState, config: ExecConfig) -> tuple[Object, Object]:
    """Return the process object, and what of the container's ``linux`` holds for it as well.

    Who it runs as is looked up now, in the container's own files. Raises UnknownUser,
    NotExecutable for a relative directory, InvalidArgument for a bad environment.
    """
    if not config.command or not config.command[0]:
        raise errors.InvalidArgument("no command specified")
    spec = read_spec(paths)
    own: Object = dict(spec.get("process") or {})
    for name in ("consoleSize", "oomScoreAdj"):
        own.pop(name, None)
    user = config.user
    if user is None:
        user = (own.get("user") or {}).get(USER_NAME)
    if user is not None:
        groups = (own.get("user") or {}).get(GROUPS) or ()
        own = with_user(own, _user(user, paths, state, groups))
    environment = list(own.get("env") or [])
    if config.tty and not any(entry.startswith("TERM=") for entry in environment):
        environment.append("TERM=xterm")
    own["env"] = merge_environment(environment, config.env)
    own["args"] = list(config.command)
    own["cwd"] = _directory(config.working_dir, own)
    own["terminal"] = config.tty
    if config.privileged:
        every = capabilities.effective(privileged=True, available=_available(spec))
        own["capabilities"] = {
            "bounding": every, "effective": every, "permitted": every,
            "inheritable": [], "ambient": [],
        }  # fmt: skip
    linux = spec.get("linux") or {}
    return own, {name: linux[name] for name in _COMMON if name in linux}


def merge_environment(base: list[str], changes: tuple[str, ...]) -> list[str]:
    """Return ``base`` with each ``NAME=value`` set and bare ``NAME`` taken away.

    Raises InvalidArgument.
    """
    merged = {entry.partition("=")[0]: entry for entry in base}
    for entry in changes:
        name, has_value, _ = entry.partition("=")
        if not name or "\0" in entry:
            raise errors.InvalidArgument(f"invalid environment variable: {entry!r}")
        merged.pop(name, None)
        if has_value:
            merged[name] = entry
    return list(merged.values())


def _directory(wanted: str | None, own: Object) -> str:
    path = wanted or str(own.get("cwd") or "/")
    if "\0" in path:
        raise errors.InvalidArgument(f"invalid working directory: {path!r}")
    if not path.startswith("/"):
        # Docker leaves it to its runtime, for which the command cannot be executed.
        raise errors.NotExecutable(f"Cwd must be an absolute path: '{path}'")
    return path


def _user(user: str, paths: Paths, state: ContainerState, groups: Sequence[str]) -> ResolvedUser:
    """Return the ids of a user as the running container's files have them. Raises Conflict."""
    try:
        root = os.open(f"/proc/{state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise not_running(paths.id) from error
    try:
        return accounts.resolve(user, root, groups)
    finally:
        os.close(root)


@contextmanager
def gone_is_not_running(container: Container) -> Iterator[None]:
    """Have a file that is not there mean that the container was removed, if it was."""
    try:
        yield
    except FileNotFoundError as error:
        if container.has_spec():
            raise
        raise not_running(container.id) from error


def not_running(container_id: str) -> errors.Conflict:
    """Return the refusal of a container that does not run, in Docker's words."""
    return errors.Conflict(f"container {container_id} is not running")
