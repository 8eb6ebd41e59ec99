"""Having networks made when they are first used, and keeping them while somebody starts on them.

A file below the run root is lock and note of each network: whoever is about to join a container
holds it shared, whoever makes or removes the network alone. In it stands what was made, as the
driver noted it; a boot forgets it, and the network is made again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import egress
from knarr.engine.crashpoint import reached
from knarr.engine.networks import namespace
from knarr.engine.ports import current
from knarr.engine.translate import translated
from knarr.networks import driver as drivers
from knarr.networks import naming
from knarr.networks.firewall import Firewall
from knarr.runtime import portmap
from knarr.runtime.egress import allow, guard

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.networks.definition import Definition

_TRIES = 20
_LONGEST = 256


class OnHost:
    """What networks of an engine have on the host."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._folder = f"{engine.settings.run_root}/network-locks"
        self.firewall = Firewall(naming.table(engine.settings.data_root))

    @contextmanager
    def ready(self, networks: Iterable[Definition]) -> Iterator[None]:
        """Have networks made, and not removed while the block runs.

        Raises NotFound when one is removed meanwhile, and what the kernel says.
        """
        with ExitStack() as stack:
            for network in sorted(networks, key=lambda each: each.id):
                with translated(f"network {network.name}"):
                    stack.callback(os.close, self._ready(network))
            yield

    def _ready(self, network: Definition) -> int:
        """Return the network's lock, held shared, once it is made."""
        driver = drivers.find(network.driver)
        for _ in range(_TRIES):
            handle = self._lock(network.id, fcntl.LOCK_SH)
            try:
                self._require(network)
                if driver.is_made(network, self.firewall, _read(handle)):
                    return handle
            except BaseException:  # also a signal's: nobody else closes it
                os.close(handle)
                raise
            os.close(handle)
            handle = self._lock(network.id, fcntl.LOCK_EX)
            try:
                self._require(network)
                if not driver.is_made(network, self.firewall, _read(handle)):
                    namespace.require(self._engine.settings.run_root, settle=True)
                    _write(handle, "")
                    if not self.firewall.present():
                        self.restore(making=True)
                    note = driver.make(network, self.firewall)
                    reached("network.made")
                    _write(handle, note)
            finally:
                os.close(handle)
        raise errors.Unavailable(f"network {network.name}: is taken away again and again")

    def restore(self, *, making: bool = False) -> None:
        """Make the table of rules anew, for all that is made and published. Raises OSError.

        Where nothing is made there is to be no table: it went with the last network. making: a
        network is about to be made, perhaps once more, and those who are on it run.
        """
        table = self._engine.networks.table
        going = {network.id for network in table.removing()}
        made = []
        for network in table.all():
            rules = drivers.find(network.driver).rules(network)
            if rules is not None and network.id not in going and self._note(network):
                made.append(rules)
        if not made and not making:
            return
        ports = current.bindings(self._engine.settings)
        plans = egress.current(self._engine.settings)
        if not (made or ports or plans):
            return
        if plans:
            guard()
        self.firewall.install(made, ports, plans)
        # Who published, or was limited, meanwhile wrote that down first.
        for plan in egress.current(self._engine.settings):
            if plan not in plans:
                allow(plan)
        for later in current.bindings(self._engine.settings):
            if later not in ports:
                portmap.publish(self.firewall.table, [later])

    def is_made(self, network: Definition) -> bool:
        """Return whether a network is whole on the host; somebody may be about to make it."""
        driver = drivers.find(network.driver)
        return driver.is_made(network, self.firewall, self._note(network))

    def _note(self, network: Definition) -> str:
        """Return what was noted when a network was made; "" for one that is not."""
        try:
            with open(f"{self._folder}/{network.id}", encoding="utf-8") as file:
                return file.read(_LONGEST)
        except FileNotFoundError:
            return ""

    def _require(self, network: Definition) -> None:
        if self._engine.networks.table.get(network.id) is None:
            raise errors.NotFound(f"network {network.name} not found")

    @contextmanager
    def alone(self, network: Definition) -> Iterator[None]:
        """Keep others from joining containers to a network while the block runs."""
        handle = self._lock(network.id, fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(handle)

    def unmake(self, network: Definition) -> None:
        """Take a network away from the host; the caller has it :meth:`alone`."""
        with translated(f"network {network.name}"):
            if self._note(network):
                namespace.require(self._engine.settings.run_root)
            drivers.find(network.driver).unmake(network, self.firewall)

    def forget(self, network: Definition) -> None:
        """Remove the lock of a network that is gone; the caller has it :meth:`alone`."""
        try:
            os.unlink(f"{self._folder}/{network.id}")
        except FileNotFoundError:
            return

    def _lock(self, network_id: str, how: int) -> int:
        path = f"{self._folder}/{network_id}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            try:
                handle = os.open(path, flags, 0o600)
            except FileNotFoundError:
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
                continue
            try:
                fcntl.flock(handle, how)
                here = os.fstat(handle)
                try:
                    there = os.stat(path)
                except FileNotFoundError:
                    there = None
                if there is not None and os.path.samestat(here, there):
                    return handle
            except BaseException:  # also a signal's: the wait for a lock is where one comes
                os.close(handle)
                raise
            os.close(handle)


def _read(handle: int) -> str:
    return os.pread(handle, _LONGEST, 0).decode(errors="replace")


def _write(handle: int, note: str) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, note.encode(), 0)
