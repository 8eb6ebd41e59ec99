"""The part of a spec that is about the process: arguments, environment, directory, host name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knarr.errors import InvalidArgument
from knarr.spec import signals
from knarr.spec.kernelnames import ULIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from knarr.engine.model import ContainerConfig
    from knarr.engine.speccontext import BuildContext
    from knarr.runtime.users import ResolvedUser

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Name under which pid 1 sees itself; the program is knarr's own init, handed over by the runtime.
INIT_NAME = "/dev/init"
# Member of a spec's user that has the runtime look a name up in the container's own files.
USER_NAME = "x-knarr-name"
# Member of a spec's user with further groups to be looked up there, names or numbers.
GROUPS = "x-knarr-groups"
MAX_HOST_NAME = 64
_UNLIMITED = 2**64 - 1


def image_member(image_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ``config`` member of an image configuration, empty when there is none."""
    member = image_config.get("config") or {}
    if not isinstance(member, dict):
        raise InvalidArgument("image configuration: config is not an object")
    return member


def arguments(config: ContainerConfig, image: Mapping[str, Any]) -> list[str]:
    """Return the argument vector: the command line, with ``init`` after knarr's own.

    Raises InvalidArgument ("no command specified").
    """
    words = command_line(config, image)
    return [INIT_NAME, "--", *words] if config.init and not config.sandbox else words


def command_line(config: ContainerConfig, image: Mapping[str, Any]) -> list[str]:
    """Return entrypoint then command, by Docker's rules; a sandbox is knarr's init, waiting.

    An entrypoint of the caller's drops the image's command; ``("",)`` means none at all.
    Raises InvalidArgument ("no command specified").
    """
    if config.sandbox:
        return [INIT_NAME]
    command = list(config.command)
    entrypoint = None if config.entrypoint is None else list(config.entrypoint)
    if not entrypoint:
        command = command or _strings(image, "Cmd")
        entrypoint = _strings(image, "Entrypoint") if entrypoint is None else []
    if entrypoint == [""]:
        entrypoint = []
    argv = entrypoint + command
    if not argv or not argv[0]:
        raise InvalidArgument("no command specified")
    if any("\0" in word for word in argv):
        raise InvalidArgument("a command cannot contain a NUL byte")
    return argv


def user(
    config: ContainerConfig, image: Mapping[str, Any], known: ResolvedUser | None
) -> dict[str, Any]:
    """Return who the process is: by name, for the runtime to look up, unless that is ``known``."""
    if known is not None:
        return _ids(known)
    wanted = config.user
    if wanted is None:
        wanted = image.get("User") or ""
    if not isinstance(wanted, str) or "\0" in wanted:
        raise InvalidArgument("image configuration: User is not a text")
    unknown = {"uid": 0, "gid": 0, "additionalGids": [], USER_NAME: wanted}
    return {**unknown, GROUPS: list(config.group_add)} if config.group_add else unknown


def rlimits(config: ContainerConfig) -> list[dict[str, Any]]:
    """Return ``process.rlimits``; the last of several for one resource counts.

    Raises InvalidArgument for an unknown name, or a soft limit above the hard one.
    """
    found = {}
    for limit in config.ulimits:
        if limit.name not in ULIMITS:
            raise InvalidArgument(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft == -1 or limit.soft > limit.hard):
            raise InvalidArgument(
                "ulimit soft limit must be less than or equal to hard limit:"
                f" {limit.soft} > {limit.hard}"
            )
        kind = "RLIMIT_" + limit.name.upper()
        soft, hard = (_UNLIMITED if each < 0 else each for each in (limit.soft, limit.hard))
        found[kind] = {"type": kind, "soft": soft, "hard": hard}
    return list(found.values())


def oom_score(config: ContainerConfig) -> int:
    """Return ``process.oomScoreAdj``. Raises InvalidArgument out of its range."""
    if not -1000 <= config.oom_score_adj <= 1000:
        raise InvalidArgument(
            f"Invalid value {config.oom_score_adj}, range for oom score adj is [-1000, 1000]"
        )
    return config.oom_score_adj


def with_user(process: Mapping[str, Any], known: ResolvedUser) -> dict[str, Any]:
    """Return the process with ids in place of the user's name, and HOME unless somebody set it."""
    env = process["env"]
    if not any(entry.startswith("HOME=") for entry in env):
        env = [*env, "HOME=" + known.home]
    return {**process, "user": _ids(known), "env": env}


def _ids(known: ResolvedUser) -> dict[str, Any]:
    return {
        "uid": known.uid,
        "gid": known.gid,
        "additionalGids": list(known.additional_gids or (known.gid,)),
    }


def environment(
    config: ContainerConfig, image: Mapping[str, Any], hostname: str, home: str | None
) -> list[str]:
    """Return the environment: defaults, overridden by the image's, overridden by the caller's.

    ``NAME`` without ``=`` takes the variable away. Order as Docker's: PATH, HOSTNAME, TERM
    (with a terminal), the caller's, the rest of the image's; HOME last unless someone set it
    or ``home`` is None, for the runtime to find.
    """
    defaults = [DEFAULT_PATH, "HOSTNAME=" + hostname, *(["TERM=xterm"] if config.tty else [])]
    own = _by_name(config.env)
    inherited = {k: v for k, v in _by_name(_strings(image, "Env")).items() if k not in own}
    merged = _by_name(defaults) | own | inherited
    result = [entry for entry in merged.values() if "=" in entry]
    return result if home is None or "HOME" in merged else [*result, "HOME=" + home]


def written_environment(own: Iterable[str], image: Iterable[str]) -> list[str]:
    """Return the image's variables under the container's, without what every process gets.

    ``NAME`` alone takes one away.
    """
    found = {entry.partition("=")[0]: entry for entry in (*image, *own)}
    return [entry for entry in found.values() if "=" in entry]


def working_directory(config: ContainerConfig, image: Mapping[str, Any]) -> str:
    """Return the absolute directory the process starts in. Raises InvalidArgument otherwise."""
    path = config.working_dir or image.get("WorkingDir") or "/"
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise InvalidArgument(
            f"the working directory '{path}' is invalid, it needs to be an absolute path"
        )
    return path


def host_name(config: ContainerConfig, ctx: BuildContext) -> str:
    """Return the host name: the caller's, the context's, or the id's first twelve digits.

    Raises InvalidArgument for one that is too long or cannot stand in /etc/hosts.
    """
    name = config.hostname or ctx.hostname or ctx.id[:12]
    for kind, value in (("hostname", name), ("domainname", config.domainname or "")):
        if len(value.encode()) > MAX_HOST_NAME:
            raise InvalidArgument(f'{kind} "{value}" is too long (maximum {MAX_HOST_NAME} bytes)')
        if not value.isprintable() or any(c.isspace() or c in "/#" for c in value):
            raise InvalidArgument(f"invalid {kind} format: {value!r}")
    return name


def stop_signal(config: ContainerConfig, image_config: Mapping[str, Any]) -> int:
    """Return the number of the signal that stops this container: its own, the image's, SIGTERM.

    Raises InvalidArgument ("invalid signal: X").
    """
    wanted = config.stop_signal or image_member(image_config).get("StopSignal") or "SIGTERM"
    try:
        return signals.parse(wanted)
    except ValueError as error:
        raise InvalidArgument(str(error)) from error


def _strings(image: Mapping[str, Any], key: str) -> list[str]:
    value: Sequence[object] = image.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidArgument(f"image configuration: {key} is not a list of strings")
    return [str(item) for item in value]


def _by_name(entries: Sequence[str]) -> dict[str, str]:
    """Return entries by variable name; the last of several wins, at the first one's place."""
    result = {}
    for entry in entries:
        name = entry.partition("=")[0]
        if not name or "\0" in entry:
            raise InvalidArgument(f"invalid environment variable: {entry!r}")
        result[name] = entry
    return result
