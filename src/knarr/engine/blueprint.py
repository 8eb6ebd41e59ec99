"""``Blueprint``: what all containers of one configuration have in common, worked out once.

A spec follows from configuration, image and machine, and names the container itself in
few places: its id, the id's start as host name, its range of user ids. So it is built
once with stand-ins, kept as text, and each container's own values are put in their
places. Stand-ins are random, so nothing else in a spec can be taken for one.
"""

from __future__ import annotations

import json
import secrets
import threading
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import binds, hostfiles, pulling, runtimes, sharing, spec_process
from knarr.engine.ids import RANGE_SIZE
from knarr.engine.paths import Paths
from knarr.engine.specbuild import build_spec
from knarr.engine.speccontext import gather, wants_user_namespace
from knarr.engine.translate import translated
from knarr.images.reference import Reference

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord
    from knarr.images.index import ImageRecord
    from knarr.runtime.users import ResolvedUser

KEPT = 64
_SHORT = 12
_FOR_LISTENERS = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
encode = json.JSONEncoder(separators=(",", ":")).encode  # specs as they are kept and sent


def with_console_size(spec: str, rows: int, columns: int) -> str:
    """Return a spec's text with the size of the process's terminal in it."""
    whole = json.loads(spec)
    size = {"height": rows, "width": columns}
    return encode({**whole, "process": {**whole["process"], "consoleSize": size}})


class Blueprint:
    """Everything but the identity of containers with one configuration; never changed.

    tag: the name by which the image was found, None when it was an id. user: who they run
    as, in the image's or the caller's words. profile: of what knarr makes their seccomp filter,
    None without one.
    nodes: device nodes to be made for each.
    """

    def __init__(
        self, engine: Engine, config: ContainerConfig, image: ImageRecord, tag: str | None
    ) -> None:
        self.image = image
        self.tag = tag
        self._first_id = engine.ranges.first_id
        self._id = secrets.token_hex(32)
        self._first = secrets.randbits(60) | 1 << 60
        spec = self._build(engine, config)
        self.profile: dict[str, Any] | None = spec["linux"].get("seccomp")
        if self.profile is not None and runtimes.is_foreign(config):
            # The other runtime makes its filter of the whole of it.
            rest = {name: each for name, each in self.profile.items() if name != "flags"}
            spec["linux"]["seccomp"] = {**rest, **_head(self.profile)}
            self.profile = None
        elif self.profile is not None:
            spec["linux"]["seccomp"] = _head(self.profile)
        self.user: str = spec["process"]["user"][spec_process.USER_NAME]
        self.binds = binds.listed(spec["mounts"])
        self._spec = spec
        self._texts: dict[ResolvedUser | None, str] = {None: encode(spec)}

    def _build(self, engine: Engine, config: ContainerConfig) -> dict[str, Any]:
        own = wants_user_namespace(config)
        first = self._first if own else sharing.first_id(engine, config)
        owner = sharing.network_owner(engine, config)
        context = gather(
            config,
            id=self._id,
            cgroups_path=engine.machine.cgroups_path(self._id, config.cgroup_parent),
            files=Paths(engine.settings, self._id if owner is None else owner.id).files,
            id_range=None if first is None else (first, RANGE_SIZE),
            namespaces=sharing.paths(config),
            hostname=None if owner is None else hostfiles.hostname(owner.config, owner.id),
            cgroup_version=engine.machine.cgroups.version or 2,
            apparmor_default=engine.machine.apparmor,
            nodes=Paths(engine.settings, self._id).data,
        )
        self.nodes = context.devices if context.id_range else ()
        return build_spec(config, engine.image_config(self.image.id), context)

    @property
    def model(self) -> dict[str, Any]:
        """The spec, with stand-ins for what is a container's own; not to be changed."""
        return self._spec

    def spec(self, record: ContainerRecord, user: ResolvedUser | None = None) -> str:
        """Return a container's spec as JSON; the runtime looks its user up unless it is given."""
        text = self._texts.get(user)
        if text is None:
            assert user is not None
            process = spec_process.with_user(self._spec["process"], user)
            text = self._texts[user] = encode({**self._spec, "process": process})
        text = text.replace(self._id, record.id).replace(self._id[:_SHORT], record.id[:_SHORT])
        if record.id_slot is None:
            return text
        return text.replace(str(self._first), str(self._first_id(record.id_slot)))

    def binds_of(self, record: ContainerRecord) -> list[binds.Bind]:
        """Return what is bind-mounted into a container."""
        return [
            bind._replace(source=bind.source.replace(self._id, record.id)) for bind in self.binds
        ]


def _head(profile: dict[str, Any]) -> dict[str, Any]:
    """Return what of a seccomp profile stays in the spec.

    The list of system calls is most of a spec's bytes, and the compiled filter stands beside
    it. That the key is present says that the filter must be; loading still needs the flags,
    but for the one that means something only with a listener, which there never is.
    """
    head = {"defaultAction": profile["defaultAction"]}
    flags = [flag for flag in profile.get("flags") or () if flag != _FOR_LISTENERS]
    return {**head, "flags": flags} if flags else head


class Blueprints:
    """The blueprints of one engine, found by configuration."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, Blueprint] = {}
        self._lock = threading.Lock()

    def get(self, config: ContainerConfig, key: str) -> Blueprint:
        """Return the blueprint for an effective configuration; key: its JSON without a name.

        Raises NotFound (image), InvalidArgument, Unsupported.
        """
        known = self._known.get(key)
        if known is not None:
            return known
        image, tag, fixed = find_image(self._engine, config)
        made = Blueprint(self._engine, config, image, tag)
        if fixed and _is_steady(config):
            with self._lock:
                while len(self._known) >= KEPT:
                    del self._known[next(iter(self._known))]
                self._known[key] = made
        return made

    def forget(self, key: str) -> None:
        """Drop a blueprint: its image is not what it was."""
        with self._lock:
            self._known.pop(key, None)


def _is_steady(config: ContainerConfig) -> bool:
    """Return whether the spec follows from what cannot change while an engine lives.

    Not so: profiles in files, devices, processors, the host's name, our own capabilities.
    """
    limits = config.limits
    return not (
        config.privileged
        or config.network == "host"
        or config.cap_add
        or config.security_opt
        or config.devices
        or not sharing.is_plain(config)
        or limits.cpuset_cpus
        or limits.cpuset_mems
        or limits.cpu_rt_period
        or limits.cpu_rt_runtime
        or limits.blkio_weight_device
        or limits.device_read_bps
        or limits.device_write_bps
        or limits.device_read_iops
        or limits.device_write_iops
    )


def find_image(engine: Engine, config: ContainerConfig) -> tuple[ImageRecord, str | None, bool]:
    """Return the image, the tag it was found by, and whether the words always mean it.

    A tag may be moved, which shows when a row is inserted; the start of an id may come to
    mean two images. Raises NotFound with how to get it.
    """
    if config.pull not in pulling.CHOICES:
        raise errors.InvalidArgument(
            f'invalid pull option: \'{config.pull}\': must be one of "always", "missing" or "never"'
        )
    with translated(f"image {config.image}"):
        image = engine.images.get(config.image, config.platform).record
        tag = _tag(engine, config.image, image)
    return image, tag, tag is not None or config.image == image.id


def _tag(engine: Engine, text: str, image: ImageRecord) -> str | None:
    """Return the tag that ``text`` is and that points at the image, None when it is no tag."""
    try:
        reference = Reference.parse(text)
    except errors.InvalidArgument:
        return None
    points = reference.digest is None and engine.index.resolve(str(reference)) == image.id
    return str(reference) if points else None
