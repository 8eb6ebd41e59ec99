"""``create``: a configuration becomes a container on disk, complete or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import accounts, hostfiles, remove
from knarr.engine.crashpoint import reached
from knarr.engine.ids import RANGE_SIZE
from knarr.engine.paths import Paths
from knarr.engine.security import apparmor
from knarr.engine.security.users import resolve_user
from knarr.engine.specbuild import build_spec
from knarr.engine.speccontext import gather, wants_user_namespace
from knarr.engine.translate import translated
from knarr.images.platform import Platform, rank

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord
    from knarr.engine.security.users import ResolvedUser
    from knarr.images.index import ImageRecord
    from knarr.spec.mount import Mount


@dataclass(frozen=True, slots=True)
class Prepared:
    """A container that can be started. rootfs and spec are as :func:`load` would read them."""

    record: ContainerRecord
    paths: Paths
    spec: dict[str, Any]
    rootfs: list[Mount]


def create(engine: Engine, config: ContainerConfig) -> Prepared:
    """Make the container: image, row, snapshot, files, spec; return it ready to start.

    The caller need not hold a lock: the row is this process's until the spec is
    written. Raises NotFound (image), Conflict (name), InvalidArgument,
    ResourceExhausted and what the disk says; nothing is left then.
    """
    image = find_image(engine, config)
    config = effective(engine, config)
    record = engine.table.insert(config, image.id, with_range=wants_user_namespace(config))
    paths = Paths(engine.settings, record.id)
    with paths.locked(), _undone_on_error(engine, record, paths):
        reached("create.row")
        rootfs = engine.driver.prepare(record.id, image.chain_id or None)
        reached("create.snapshot")
        os.makedirs(paths.data, mode=0o700)
        hostfiles.write(paths.data, config, record.id)
        reached("create.directory")
        spec = make_spec(engine, record, config, image, paths)
        _keep_filter(engine, spec, paths)
        write_spec(paths, spec, durable=not config.auto_remove)
        reached("create.spec")
        if not config.auto_remove:
            engine.table.confirm(record.id)
    return Prepared(record, paths, spec, rootfs)


def load(engine: Engine, record: ContainerRecord) -> Prepared:
    """Return an existing container ready to start. Raises Internal when its spec is damaged."""
    paths = Paths(engine.settings, record.id)
    with translated(f"container {record.name}"):
        with open(paths.spec, "rb") as file:
            data = file.read()
        try:
            spec = json.loads(data)
        except ValueError as error:
            raise errors.Internal(f"container {record.name}: {paths.spec} is damaged") from error
        if (spec.get("process") or {}).get("apparmorProfile") == apparmor.NAME:
            _ = engine.machine.apparmor  # a boot forgets profiles: asking for its name loads it
        return Prepared(record, paths, spec, engine.driver.mounts(record.id))


def find_image(engine: Engine, config: ContainerConfig) -> ImageRecord:
    """Return the image, unpacked. Raises NotFound with how to get it, Unsupported for pulls."""
    if config.pull == "always":
        raise errors.Unsupported(
            "--pull always: this release has no registry client; use knarr load or knarr bootstrap"
        )
    if config.pull not in ("missing", "never"):
        raise errors.InvalidArgument(
            f'invalid pull option: \'{config.pull}\': must be one of "always", "missing" or "never"'
        )
    with translated(f"image {config.image}"):
        image = engine.images.get(config.image)
        _check_platform(config, image.record)
        engine.images.unpack(image)
    return image.record


def _check_platform(config: ContainerConfig, image: ImageRecord) -> None:
    if config.platform is None:
        return
    wanted = Platform.parse(config.platform)
    if rank(wanted, image.platform) is None:
        raise errors.NotFound(
            f"image {config.image} was found but does not provide the specified platform"
            f" ({config.platform}): it is for {image.platform}"
        )


def effective(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return the configuration with what this machine and the settings decide filled in."""
    if not config.image:
        raise errors.InvalidArgument("no image given")
    if (
        config.userns is None
        and wants_user_namespace(config)
        and not engine.machine.private_users()
    ):
        return replace(config, userns="host")
    return config


def make_spec(
    engine: Engine,
    record: ContainerRecord,
    config: ContainerConfig,
    image: ImageRecord,
    paths: Paths,
) -> dict[str, Any]:
    """Return the OCI spec of the container. Raises InvalidArgument, Unsupported."""
    image_config = engine.image_config(image.id)
    slot = record.id_slot
    context = gather(
        config,
        id=record.id,
        cgroups_path=engine.machine.cgroups_path(record.id),
        files=paths.files,
        user=_user(engine, config, image, image_config),
        id_range=None if slot is None else (engine.ranges.first_id(slot), RANGE_SIZE),
        cgroup_version=engine.machine.cgroups.version or 2,
        apparmor_default=engine.machine.apparmor,
    )
    return build_spec(config, image_config, context)


def _user(
    engine: Engine, config: ContainerConfig, image: ImageRecord, image_config: dict[str, Any]
) -> ResolvedUser:
    """Return who the container runs as; looked up once per image and user."""
    wanted = config.user
    if wanted is None:
        wanted = (image_config.get("config") or {}).get("User") or ""
    return engine.users.get(
        (image.id, wanted), lambda: _resolve_in_image(engine, image.chain_id, wanted)
    )


def _resolve_in_image(engine: Engine, chain_id: str, user: str) -> ResolvedUser:
    if not chain_id:
        return resolve_user(user, b"", b"")
    root = accounts.open_root(engine.driver.view(chain_id))
    try:
        return accounts.resolve(user, root)
    finally:
        os.close(root)


def _keep_filter(engine: Engine, spec: dict[str, Any], paths: Paths) -> None:
    """Put the compiled filter beside the spec, and leave of the profile only its head there.

    The list of system calls is most of a spec's bytes and nobody reads it
    again; that the key is present says that the filter must be.
    """
    profile = spec["linux"].get("seccomp")
    if profile is not None:
        engine.filters.link(profile, paths.filter)
        head = ("defaultAction", "flags")  # loading still needs the flags
        spec["linux"]["seccomp"] = {key: profile[key] for key in head if key in profile}


def write_spec(paths: Paths, spec: dict[str, Any], *, durable: bool) -> None:
    """Write spec.json by rename. Raises OSError."""
    data = json.dumps(spec, separators=(",", ":")).encode()
    temporary = f"{paths.data}/.spec.json"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, 0o600)
    try:
        os.write(handle, data)
        if durable:
            os.fsync(handle)
    finally:
        os.close(handle)
    os.rename(temporary, paths.spec)
    if durable:
        _sync_directory(paths.data)
        _sync_directory(os.path.dirname(paths.data))


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _undone_on_error(engine: Engine, record: ContainerRecord, paths: Paths) -> Iterator[None]:
    """Take away everything of the container when the block fails; foreign errors get its name."""
    try:
        with translated(f"container {record.name}"):
            yield
    except BaseException:
        remove.erase(engine, record, paths)
        raise
