"""``create``: a configuration becomes a container on disk, complete or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from knarr import errors
from knarr.content.durable import sync_directory
from knarr.engine import (
    binds,
    discarded,
    events,
    health,
    hostdevices,
    hostfiles,
    initprogram,
    logoptions,
    networkrates,
    pulling,
    remove,
    restartrules,
    runtimes,
    serial,
    sharing,
    unfinished,
    volumesfrom,
)
from knarr.engine.blueprint import encode
from knarr.engine.crashpoint import reached
from knarr.engine.paths import Paths
from knarr.engine.ports import starting as ports
from knarr.engine.records import ImageMoved
from knarr.engine.security import apparmor
from knarr.engine.spec_process import USER_NAME, with_user
from knarr.engine.speccontext import wants_user_namespace
from knarr.engine.translate import translated
from knarr.images.context import ignore_progress
from knarr.images.find import ImageNotFound
from knarr.kernel.files import write_all
from knarr.supervisor import healthstate

if TYPE_CHECKING:
    from knarr.engine.binds import Bind
    from knarr.engine.blueprint import Blueprint
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.policy.rules import Rules
    from knarr.engine.records import ContainerRecord
    from knarr.images.context import Progress
    from knarr.images.index import ImageRecord
    from knarr.runtime.users import ResolvedUser
    from knarr.spec.mount import Mount


@dataclass(frozen=True, slots=True)
class Prepared:
    """A container that can be started.

    cgroup: where its group goes. user: who it runs as, by name; None when the spec has ids
    already. filtered: knarr makes it a seccomp filter. checked: its health is. spec: returns
    the spec as JSON, with a user's ids in it if they are given.
    """

    record: ContainerRecord
    paths: Paths
    rootfs: list[Mount]
    cgroup: str
    binds: list[Bind]
    user: str | None
    filtered: bool
    checked: bool
    spec: Callable[[ResolvedUser | None], str]


@contextmanager
def made(
    engine: Engine,
    config: ContainerConfig,
    source: str | None = None,
    progress: Progress = ignore_progress,
) -> Iterator[Prepared]:
    """Make the container and hold its lock while the block runs.

    source: id of a container of the same image, whose files it begins with. progress: is told
    of the image's pull, if there is one.

    The row is this process's until the spec is written. Raises NotFound (image, source), Conflict
    (name), InvalidArgument, RefusedByPolicy, ResourceExhausted and what the disk says; nothing is
    left then. What the block raises does not undo it.
    """
    config = effective(engine, config)
    rules = engine.policy.rules()
    if config.pull == "always" and source is None:
        pulling.always(engine, config, progress)
    try:
        blueprint, record = _insert(engine, config, rules)
    except (ImageNotFound, errors.PlatformNotFound):
        if source is not None or not pulling.missing(engine, config, progress):
            raise
        blueprint, record = _insert(engine, config, rules)
    paths = Paths(engine.settings, record.id)
    with paths.locked():
        with _undone_on_error(engine, record, paths):
            reached("create.row")
            if source is None:
                rootfs = _snapshot(engine, record, blueprint.image)
            else:
                rootfs = engine.driver.copy(source, record.id)
            if rules is not None:
                from knarr.engine.policy import check

                check.of_image(engine, rules, record, blueprint.user)
            reached("create.snapshot")
            _make_directory(paths.data)
            hostfiles.write(paths.data, config, record.id)
            hostdevices.write(paths.data, blueprint.nodes)
            if config.restart.name != "no":
                restartrules.write(engine.settings, paths, config.restart)
            checked = health.write(paths, config, engine.image_defaults(blueprint.image.id))
            reached("create.directory")
            if blueprint.profile is not None:
                engine.filters.link(blueprint.profile, paths.filter)
            write_spec(paths, blueprint.spec(record), durable=not config.auto_remove)
            reached("create.spec")
            if not config.auto_remove:
                engine.table.confirm(record.id)
            events.note(engine, record, "create")
        yield Prepared(
            record,
            paths,
            rootfs,
            engine.machine.cgroups_path(record.id, config.cgroup_parent),
            blueprint.binds_of(record),
            blueprint.user,
            blueprint.profile is not None,
            checked,
            partial(blueprint.spec, record),
        )


def load(engine: Engine, record: ContainerRecord) -> Prepared:
    """Return an existing container ready to start. Raises Internal when its spec is damaged."""
    paths = Paths(engine.settings, record.id)
    with translated(f"container {record.name}"):
        with open(paths.spec, "rb", buffering=0) as file:
            text = file.read().decode()
        try:
            spec = json.loads(text)
        except ValueError as error:
            raise errors.Internal(f"container {record.name}: {paths.spec} is damaged") from error
        process = spec["process"]
        if process.get("apparmorProfile") == apparmor.NAME:
            _ = engine.machine.apparmor  # a boot forgets profiles: asking for its name loads it
        return Prepared(
            record,
            paths,
            engine.driver.mounts(record.id),
            spec["linux"]["cgroupsPath"],
            binds.listed(spec["mounts"]),
            process["user"].get(USER_NAME),
            "seccomp" in spec["linux"] and not runtimes.is_foreign(record.config),
            os.path.exists(f"{paths.data}/{healthstate.CHECK}"),
            lambda user: (
                text if user is None else encode({**spec, "process": with_user(process, user)})
            ),
        )


def effective(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return the configuration with what this machine and the settings decide filled in."""
    if not config.image:
        raise errors.InvalidArgument("no image given")
    if config.auto_remove and config.restart.name != "no":
        raise errors.InvalidArgument("conflicting options: cannot specify both --restart and --rm")
    if config.log_driver or config.log_opts:
        logoptions.check(config)
    runtime = runtimes.settled(engine.settings, config.runtime)
    if runtime != config.runtime:
        config = replace(config, runtime=runtime)
    limits = discarded.kept(engine.machine, config.limits)
    if limits is not config.limits:
        config = replace(config, limits=limits)
    if not sharing.is_plain(config):
        config = sharing.settled(engine, config)
    config = _networked(engine, config)
    if config.extra_hosts:
        hostfiles.check(config)
    if config.volumes_from:
        config = volumesfrom.resolved(engine, config)
    if config.binds:
        binds.check(config.binds)
    if config.sandbox:
        initprogram.require_own(os.uname().machine)
    elif config.init:
        _ = engine.init_program  # refused now, not when it is started
    if (
        config.userns is None
        and wants_user_namespace(config)
        and not engine.machine.private_users()
    ):
        return replace(config, userns="host")
    return config


def _networked(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return the configuration with its networks settled. Raises InvalidArgument."""
    if config.network is None and config.endpoints is None:
        config = replace(config, network=engine.settings.default_network)
    if ports.are_published(config):
        ports.check(config)
    if networkrates.are_limited(config):
        networkrates.check(config)
    if config.egress_allow is not None:
        from knarr.engine import egress

        egress.check(config)
    if sharing.is_plainly_networked(config):
        return config
    from knarr.engine.networks import settling

    return settling.settled(engine, config)


def _insert(
    engine: Engine, config: ContainerConfig, rules: Rules | None
) -> tuple[Blueprint, ContainerRecord]:
    """Return the container's blueprint and its new row. Raises RefusedByPolicy."""
    text, ranged = serial.encode(config), wants_user_namespace(config)
    key = text if config.name is None else serial.encode(replace(config, name=None))
    while True:
        blueprint = engine.blueprints.get(config, key)
        if rules is not None:
            from knarr.engine.policy import check

            check.new(engine, rules, config, blueprint.image, blueprint.tag, blueprint.model)
        try:
            record = engine.table.insert(
                config, blueprint.image.id, with_range=ranged, text=text, tag=blueprint.tag
            )
        except (ImageMoved, errors.NotFound):
            engine.blueprints.forget(key)  # the image has changed since; look again
            continue
        except errors.Conflict:
            if config.name is None or not unfinished.freed(engine, config.name):
                raise
            continue  # it was that of a container whose maker was killed
        return blueprint, record


def _snapshot(engine: Engine, record: ContainerRecord, image: ImageRecord) -> list[Mount]:
    """Return the mounts of the container's new root, for which the image is unpacked if needed."""
    try:
        return engine.driver.prepare(record.id, image.chain_id or None)
    except errors.NotFound:
        with translated(f"image {record.config.image}"):
            engine.images.unpack(image.id)
        return engine.driver.prepare(record.id, image.chain_id or None)


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        os.makedirs(path, mode=0o700)  # the first one of this data root


def write_spec(paths: Paths, spec: str, *, durable: bool) -> None:
    """Write spec.json by rename. Raises OSError."""
    data = spec.encode()
    temporary = f"{paths.data}/.spec.json"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, 0o600)
    try:
        write_all(handle, data)
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(temporary, paths.spec)
    if durable:
        sync_directory(paths.data)
        sync_directory(os.path.dirname(paths.data))


@contextmanager
def _undone_on_error(engine: Engine, record: ContainerRecord, paths: Paths) -> Iterator[None]:
    """Take away everything of the container when the block fails; foreign errors get its name."""
    try:
        with translated(f"container {record.name}"):
            yield
    except BaseException:  # also a signal's: half a container must not stay
        remove.erase(engine, record, paths)
        raise
