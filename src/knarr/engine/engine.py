"""``Engine``: the composition root. Every room below is made here and handed down."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from knarr import errors
from knarr.closing import Closing
from knarr.config import Settings
from knarr.content.store import ContentStore
from knarr.engine import eventreader, initprogram, memory, storagedriver, tidy
from knarr.engine import info as information
from knarr.engine import recover as recovery
from knarr.engine.blueprint import Blueprints
from knarr.engine.containers import Containers
from knarr.engine.filters import FilterCache
from knarr.engine.ids import RangePlan
from knarr.engine.imageevents import EngineImages
from knarr.engine.imageindex import StoredImageIndex
from knarr.engine.machine import Machine
from knarr.engine.policy.guard import Guard
from knarr.engine.records import ContainerRecord, ContainerTable
from knarr.engine.store import Store
from knarr.engine.tidy import Tidier
from knarr.engine.translate import translated
from knarr.supervisor.client import Launcher, LaunchFailed

if TYPE_CHECKING:
    from knarr.engine.diskusage import DiskUsage
    from knarr.engine.networks.service import Networks
    from knarr.engine.recover import RecoverReport
    from knarr.engine.security.users import ResolvedUser
    from knarr.images.service import Images
    from knarr.snapshots.driver import Driver

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Engine(Closing):
    """Containers and images below one data root and one run root.

    Safe to share between threads; a process that forks may use it on both
    sides. Nothing is read, written or started before the first use. Settings
    default to those of the environment (``KNARR_*``).
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = Settings.from_environment() if settings is None else settings
        self.store = Store(self.settings.data_root)
        self.ranges = RangePlan(self.settings.data_root)
        self.table = ContainerTable(self.store, self.ranges)
        self.index = StoredImageIndex(self.store)
        self.policy = Guard(self.settings)
        self.machine = Machine(self.settings, self._probe)
        self.filters = FilterCache(self.settings.data_root)
        self.containers = Containers(self)
        self.tidier = Tidier(self.empty_trash)
        self.users: Cache[tuple[str, str, tuple[str, ...]], ResolvedUser] = Cache()
        self._image_configs: Cache[str, dict[str, Any]] = Cache()
        self.blueprints = Blueprints(self)

    @cached_property
    def content(self) -> ContentStore:
        """The blobs."""
        with translated("content store"):
            return ContentStore(f"{self.settings.data_root}/content")

    @cached_property
    def driver(self) -> Driver:
        """The snapshot driver. Raises Unsupported when this machine has none that works."""
        with translated("snapshots"):
            return storagedriver.opened(self.settings)

    @cached_property
    def images(self) -> Images:
        """The images."""
        return EngineImages(self)

    @cached_property
    def networks(self) -> Networks:
        """The networks."""
        from knarr.engine.networks.service import Networks

        return Networks(self)

    @cached_property
    def launcher(self) -> Launcher:
        """The client of the launcher, which is started when it is first needed."""
        return Launcher(self.settings)

    @cached_property
    def init_program(self) -> int:
        """A sealed memory file with an init, for ``--init`` and sandboxes; kept open.

        Raises Unsupported on a machine for which there is none.
        """
        return memory.sealed("knarr-init", initprogram.find(os.uname().machine))

    def image_config(self, image_id: str) -> dict[str, Any]:
        """Return the OCI configuration of an image; kept, since its digest names it."""
        return self._image_configs.get(image_id, lambda: self.images.config(image_id))

    def image_defaults(self, image_id: str) -> dict[str, Any]:
        """Return what containers of an image inherit: the ``config`` in its configuration."""
        return self.image_config(image_id).get("config") or {}

    def labels(self, record: ContainerRecord) -> dict[str, str]:
        """Return the labels of a container: its image's under its own."""
        return {
            **(self.image_defaults(record.image_id).get("Labels") or {}),
            **record.config.labels,
        }

    def _probe(self, directory: str) -> dict[str, Any]:
        try:
            return self.launcher.features(directory)
        except LaunchFailed as failure:
            if failure.errno:  # the caller says what it was about
                raise OSError(failure.errno, failure.message) from failure
            raise errors.Unavailable(f"launcher: {failure.message}") from failure

    def is_running(self, container_id: str) -> bool:
        """Return whether there is a container with this id that runs."""
        try:
            return self.containers.get(container_id).state.running
        except errors.NotFound:
            return False

    def empty_trash(self) -> None:
        """Delete what removed containers left on disk. Raises OSError."""
        tidy.empty(self.settings.data_root)
        self.driver.purge_trash()

    def recover(self) -> RecoverReport:
        """Put right what dead processes and reboots left; safe beside running engines."""
        return recovery.recover(self)

    def recover_container(self, record: ContainerRecord, *, held: bool = False) -> None:
        """Put one container right whose supervisor died; ``held``: the caller has its lock."""
        recovery.recover_container(self, record, held=held)

    def info(self) -> dict[str, Any]:
        """Return the state of engine and machine under the names of ``docker info``."""
        return information.info(self)

    def disk_usage(self) -> DiskUsage:
        """Return what images and containers take on disk; may take long."""
        from knarr.engine import diskusage

        return diskusage.measure(self)

    def events(
        self,
        *,
        since: int | None = None,
        until: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Return an iterator over events as Docker's JSON objects, in their order.

        What happens after the call is in it. since, until: ns since the epoch; without since
        only what is new, without until it never ends. Raises InvalidArgument for a filter.
        """
        return eventreader.read(self.settings, since=since, until=until, filters=filters)

    def version(self) -> dict[str, Any]:
        """Return versions under the names of ``docker version``."""
        return information.version(self)

    def close(self) -> None:
        """Finish tidying up and close the database; containers go on.

        The engine may be used again.
        """
        self.tidier.wait()
        self.store.close()


class Cache(Generic[K, V]):
    """Values that never change for their key; bounded, oldest out first."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._values: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value for ``key``, made at most a few times when threads race."""
        value = self._values.get(key)
        if value is None:
            value = make()
            with self._lock:
                while len(self._values) >= self._limit:
                    del self._values[next(iter(self._values))]
                self._values[key] = value
        return value
