"""Values that can be enumerated: containers, images, signals, files, what flags take.

Everything is read from the tables and objects that the commands themselves use. Without a
database there are no containers, and none is made for asking.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from knarr.cli import mountargs
from knarr.engine.listing import STATUSES
from knarr.engine.model import OTHER
from knarr.spec import capabilities, signals
from knarr.spec.kernelnames import ULIMITS

if TYPE_CHECKING:
    from knarr.cli.command import Command
    from knarr.cli.context import Context
    from knarr.cli.flags import Flag
    from knarr.engine.engine import Engine

_MOST = 1000  # files of one directory that are told
_RUNNING = frozenset({"attach", "exec", "kill", "pause", "port", "stats", "stop", "top"})


class Candidate(NamedTuple):
    """What a word could be, and what that is."""

    value: str
    what: str = ""


Source = Callable[["Context", str], list[Candidate]]


def unquoted(word: str) -> str:
    """Return a word that is not finished as the shell would read it."""
    try:
        found = shlex.split(word)
    except ValueError:
        return word.lstrip("'\"")  # the quote that is still open
    return found[0] if len(found) == 1 else word


def of_flag(context: Context, command: Command | None, flag: Flag, typed: str) -> list[Candidate]:
    """Return what could follow a flag."""
    if flag.name == "filter" and command is not None:
        return _filters(context, command, flag, typed)
    if flag.name == "format":
        return _that_begin(typed, _FORMATS.get(command.name if command else "", _ONE_OR_MANY))
    if flag.name == "mount":
        return _of_mount(typed)
    if flag.name == "since" and command is not None and command.name == "save":
        return images(context, typed)
    known = VALUES.get(flag.name)
    if known is None:
        return []
    if callable(known):
        return known(context, typed)
    return _that_begin(typed, known)


def of_argument(
    context: Context, command: Command, place: str, typed: str, before: list[str]
) -> list[Candidate]:
    """Return what could stand in a place of a command's usage. before: arguments before it."""
    found: list[Candidate] = []
    if command.name == "cp":
        return _of_copy(context, typed)
    if command.name == "completion":
        return _that_begin(typed, ("bash", "fish", "zsh"))
    if command.name == "bootstrap":
        from knarr.images.bootstrap import names

        return _that_begin(typed, names.known())
    if command.name in ("login", "logout"):
        return _registries(typed)
    if ("NETWORK" in place and command.name != "network create") or "NAME|ID" in place:
        found += networks(context, typed)
    if "CONTAINER" in place or "NAME|ID" in place:
        found += containers(context, typed, command.name)
    if command.name in ("pull", "push"):
        return images(context, typed)
    if "IMAGE" in place or "REPOSITORY" in place or "NAME|ID" in place:
        found += images(context, typed)
    if "file" in place:
        found += files(context, typed)
    return [each for each in found if each.value not in before]


def _registries(typed: str) -> list[Candidate]:
    """Return the registries for which there are credentials."""
    from knarr.errors import KnarrError
    from knarr.registry import names
    from knarr.registry.credentials import Credentials

    try:
        auths = Credentials(os.environ).config().get("auths")
    except (KnarrError, OSError):
        return []
    found = [names.hostname_of(name) for name in auths] if isinstance(auths, dict) else []
    return _that_begin(typed, [name for name in found if not names.is_hub(name)])


def containers(context: Context, typed: str, verb: str = "") -> list[Candidate]:
    """Return names of containers that a verb is for; ids where no name begins so."""
    engine = _engine(context)
    if engine is None:
        return []
    status = {"start": ("created", "exited"), "unpause": ("paused",)}.get(verb)
    listed = engine.containers.list(
        all=verb not in _RUNNING, filters={"status": status} if status else None
    )
    found = [Candidate(each.name, f"{each.image}, {each.describe()}") for each in listed]
    ids = [Candidate(each.short_id, each.name) for each in listed]
    return _named_or_by_id(found, ids, typed)


def images(context: Context, typed: str) -> list[Candidate]:
    """Return names of images; ids where no name begins so."""
    engine = _engine(context)
    if engine is None:
        return []
    listed = engine.images.list()
    found = [Candidate(tag, each.short_id) for each in listed for tag in each.tags]
    ids = [Candidate(each.short_id, ", ".join(each.tags)) for each in listed]
    return _named_or_by_id(found, ids, typed)


def networks(context: Context, typed: str) -> list[Candidate]:
    """Return names of networks; ids where no name begins so."""
    engine = _engine(context)
    if engine is None:
        return _that_begin(typed, ("bridge", "host", "none"))
    listed = engine.networks.list()
    found = [Candidate(each.name, each.driver) for each in listed]
    ids = [Candidate(each.id[:12], each.name) for each in listed]
    return _named_or_by_id(found, ids, typed)


def _network_mode(context: Context, typed: str) -> list[Candidate]:
    """Return what ``--network`` can be."""
    if typed.startswith(OTHER):
        return _behind(OTHER, containers(context, typed.removeprefix(OTHER), "exec"))
    if typed.startswith("name="):
        return _behind("name=", networks(context, typed.removeprefix("name=")))
    return [*networks(context, typed), *_that_begin(typed, (OTHER,))]


def _network_options(_context: Context, typed: str) -> list[Candidate]:
    from knarr.networks.drivers import bridge, ipvlan, macvlan

    known = bridge.KNOWN | macvlan.KNOWN | ipvlan.KNOWN
    return _that_begin(typed, (f"{name}=" for name in sorted(known)))


def _drivers(_context: Context, typed: str) -> list[Candidate]:
    from knarr.networks import driver

    return _that_begin(typed, driver.names())


def files(_context: Context, typed: str) -> list[Candidate]:
    """Return the files that begin so, in the caller's directory; directories end with a slash."""
    folder, slash, _ = typed.rpartition("/")
    base = os.path.expanduser(folder + slash) or "."
    try:
        with os.scandir(base) as entries:
            found = [f"{folder}{slash}{each.name}{'/' * each.is_dir()}" for each in entries]
    except OSError:
        return []
    hidden = typed[len(folder + slash) :].startswith(".")
    return [
        Candidate(path)
        for path in sorted(found)
        if path.startswith(typed) and (hidden or not path[len(folder + slash) :].startswith("."))
    ][:_MOST]


def _engine(context: Context) -> Engine | None:
    """Return the engine; None where nothing was ever made, or for who may not look."""
    path = f"{context.settings.data_root}/knarr.db"
    return context.engine if os.access(path, os.R_OK | os.W_OK) else None


def _that_begin(typed: str, values: Iterable[str]) -> list[Candidate]:
    return [Candidate(value) for value in values if value.startswith(typed)]


def _named_or_by_id(names: list[Candidate], ids: list[Candidate], typed: str) -> list[Candidate]:
    found = [each for each in names if each.value.startswith(typed)]
    return sorted(found or [each for each in ids if typed and each.value.startswith(typed)])


def _behind(prefix: str, found: Iterable[Candidate]) -> list[Candidate]:
    return [Candidate(prefix + each.value, each.what) for each in found]


def _of_others(*modes: str) -> Source:
    """Return a source of words, and of ``container:NAME``."""

    def source(context: Context, typed: str) -> list[Candidate]:
        if typed.startswith(OTHER):
            return _behind(OTHER, containers(context, typed.removeprefix(OTHER), "exec"))
        return _that_begin(typed, (*modes, OTHER))

    return source


def _host_path(context: Context, typed: str) -> list[Candidate]:
    """Return files of the host for ``HOST:CONTAINER``; nothing is known of what follows."""
    return [] if ":" in typed else files(context, typed)


def _device(context: Context, typed: str) -> list[Candidate]:
    return _host_path(context, typed or "/dev/")


def _runtimes(context: Context, typed: str) -> list[Candidate]:
    """Return the runtimes that are installed; a path is one of the host."""
    from knarr.engine import runtimes

    if "/" in typed:
        return files(context, typed)
    return _that_begin(typed, runtimes.listed(context.settings))


def _log_options(_context: Context, typed: str) -> list[Candidate]:
    from knarr.engine import logoptions

    return _that_begin(typed, (f"{name}=" for name in logoptions.names()))


def _security(context: Context, typed: str) -> list[Candidate]:
    key, equals, value = typed.partition("=")
    if key == "seccomp" and equals:
        paths = _behind("seccomp=", files(context, value))
        return [*_that_begin(typed, ("seccomp=builtin", "seccomp=unconfined")), *paths]
    return _that_begin(
        typed,
        ("apparmor=", "apparmor=unconfined", "no-new-privileges", "seccomp=",
         "systempaths=unconfined"),
    )  # fmt: skip


def _of_mount(typed: str) -> list[Candidate]:
    """Return what can follow in ``--mount``, whose parts stand between commas."""
    done, comma, part = typed.rpartition(",")
    key, equals, value = part.partition("=")
    if equals:
        values: Iterable[Candidate] = ()
        if key == "type":
            values = _that_begin(value, ("bind", "tmpfs"))
        elif key == "bind-propagation":
            values = _that_begin(value, sorted(mountargs.PROPAGATIONS))
        return _behind(f"{done}{comma}{key}=", values)
    keys = ("bind-propagation=", "bind-recursive=", "readonly", "source=", "target=",
            "tmpfs-mode=", "tmpfs-size=", "type=")  # fmt: skip
    return _behind(done + comma, _that_begin(part, keys))


def _filters(context: Context, command: Command, flag: Flag, typed: str) -> list[Candidate]:
    """Return ``NAME=VALUE`` by the names that the flag's help lists."""
    name, equals, value = typed.partition("=")
    if not equals:
        known = flag.help.rpartition(": ")[2].split(", ")
        return _that_begin(typed, (f"{each}=" for each in known))
    of_images = command.name in ("images", "image prune")
    found: list[Candidate] = []
    if name in ("before", "since"):
        found = images(context, value) if of_images else containers(context, value)
    elif name in ("ancestor", "image", "reference"):
        found = images(context, value)
    elif name == "network" or (name in ("name", "id") and command.name == "network ls"):
        found = networks(context, value)
    elif name in ("name", "container", "id"):
        found = containers(context, value)
    elif name == "driver":
        found = _drivers(context, value)
    else:
        of_networks = _NETWORK_FILTERS if command.name == "network ls" else {}
        found = _that_begin(value, of_networks.get(name) or _FILTERS.get(name, ()))
    return _behind(f"{name}=", found)


def _of_copy(context: Context, typed: str) -> list[Candidate]:
    """Return files of the host, containers, and what is in one."""
    name, colon, path = typed.partition(":")
    if not colon or "/" in name:
        inside = [] if "/" in typed else containers(context, typed)
        return [*(Candidate(each.value + ":", each.what) for each in inside),
                *files(context, typed)]  # fmt: skip
    engine = _engine(context)
    if engine is None:
        return []
    folder, slash, _ = path.rpartition("/")
    entries = engine.containers.get(name).list_directory((folder + slash) or "/")
    start = f"{name}:{folder}{slash}" if slash else f"{name}:/"
    found = [f"{start}{each.name}{'/' * stat.S_ISDIR(each.mode)}" for each in entries[:_MOST]]
    return _that_begin(typed if slash else f"{name}:/", found)


_ONE_OR_MANY = ("json", "table")
_FORMATS = {
    "save": ("docker-archive", "oci", "oci-dir"),
    **dict.fromkeys(
        (
            "container inspect",
            "events",
            "image inspect",
            "info",
            "inspect",
            "network inspect",
            "version",
        ),
        ("json",),
    ),
}
_FILTERS = {
    "dangling": ("false", "true"),
    "health": ("healthy", "none", "starting", "unhealthy"),
    "is-task": ("false", "true"),
    "scope": ("local",),
    "status": STATUSES,
    "type": ("container", "image"),
}
_NETWORK_FILTERS = {"dangling": ("false", "true"), "type": ("builtin", "custom")}
_SIGNALS = tuple(f"SIG{name}" for name in signals.NUMBERS if name not in ("CLD", "IOT", "UNUSED"))
_CAPABILITIES = ("ALL", *(name.removeprefix("CAP_") for name in capabilities.NAMES))
_PLATFORMS = ("linux/386", "linux/amd64", "linux/arm/v7", "linux/arm64", "linux/ppc64le",
              "linux/riscv64", "linux/s390x")  # fmt: skip

# Flags, by name, whose values can be told: the values, or what finds them.
VALUES: dict[str, Sequence[str] | Source] = {
    "access": files,
    "attach": ("stderr", "stdin", "stdout"),
    "cap-add": _CAPABILITIES,
    "cap-drop": _CAPABILITIES,
    "cgroupns": ("host", "private"),
    "cidfile": files,
    "client-ca": files,
    "compress": ("gzip", "zstd"),
    "device": _device,
    "driver": _drivers,
    "driver-opt": ("com.docker.network.endpoint.ifname=",),
    "device-read-bps": _device,
    "device-read-iops": _device,
    "device-write-bps": _device,
    "device-write-iops": _device,
    "blkio-weight-device": _device,
    "env-file": files,
    "file": files,
    "htpasswd": files,
    "input": files,
    "ipam-driver": ("default",),
    "ipc": _of_others("host", "none", "private", "shareable"),
    "label-file": files,
    "lock-file": files,
    "log-driver": ("journald", "json-file", "local", "none", "syslog"),
    "log-opt": _log_options,
    "network": _network_mode,
    "opt": _network_options,
    "output": files,
    "pid": _of_others("host"),
    "platform": _PLATFORMS,
    "publish": ("0.0.0.0:", "127.0.0.1:", "[::]:", "published="),
    "pull": ("always", "missing", "never", "lazy"),
    "restart": ("always", "no", "on-failure", "on-failure:", "unless-stopped"),
    "root": files,
    "run-root": files,
    "runtime": _runtimes,
    "security-opt": _security,
    "source": files,
    "signal": _SIGNALS,
    "stop-signal": _SIGNALS,
    "type": ("container", "image", "network"),
    "tls-cert": files,
    "tls-key": files,
    "ulimit": tuple(f"{name}=" for name in sorted(ULIMITS)),
    "userns": ("host",),
    "uts": ("host",),
    "volume": _host_path,
    "volumes-from": containers,
}
