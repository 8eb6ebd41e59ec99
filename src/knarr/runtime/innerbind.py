"""Bind mounts whose source is in the container's own root, as it is when their turn comes.

Other bind mounts show what the host has, and are cloned before the process begins. These show
what the mounts before them have made of the root. The source is found below the root: a link of
the image leads to no file of the host.
"""

import os
import stat

from knarr.runtime import child
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import TEMPORARY
from knarr.runtime.program.paths import (
    check_type,
    ensure_directory,
    ensure_file,
    open_in_root,
    status,
)
from knarr.runtime.rootfs import idmap
from knarr.runtime.steps.base import Setting, Stop
from knarr.runtime.steps.mounts import BindMount, attach, clone, set_attributes, set_propagation
from knarr.runtime.steps.procguard import keep_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.process import Created, Recipe

_MOUNT, _TARGET, _SOURCE = TEMPORARY[1], TEMPORARY[2], TEMPORARY[3]


class InnerBind(BindMount):
    """Make something that the root has visible at another place. source: its path in the root."""

    __slots__ = ()
    is_prepared = False

    def key(self, setting: Setting) -> "tuple[object, ...]":
        """See Step."""
        del setting
        return self._values()

    def emit(self, b: Builder, setting: Setting) -> None:
        """See open_tree(2)."""
        del setting
        file, there = Label(), Label()
        open_in_root(b, self.source, _SOURCE)
        clone(b, _SOURCE, _MOUNT, recursive=self.options.recursive)
        self._map(b)
        status(b, _SOURCE)
        check_type(b, stat.S_IFDIR, orelse=file)
        ensure_directory(b, self.destination, _TARGET, asks=True)
        b.jump(there)
        b.place(file)
        ensure_file(b, self.destination, _TARGET, asks=True)
        b.place(there)
        b.call("close", _SOURCE)
        keep_out(b, _TARGET, self.destination)
        attach(b, _MOUNT, _TARGET, self.destination)
        b.call("close", _TARGET)
        set_propagation(b, _MOUNT, self.options.propagation)
        set_attributes(b, _MOUNT, self.options)
        b.call("close", _MOUNT)

    def _map(self, b: Builder) -> None:
        """Nothing to do."""

    def in_turn(self) -> BindMount:
        """Return itself: it comes to be when its turn is."""
        return self


class MappedInnerBind(InnerBind, Stop):
    """One that is seen through an id map, which its maker, outside, gives the clone."""

    __slots__ = ()

    def _map(self, b: Builder) -> None:
        child.stop(b)

    def outside(self, recipe: "Recipe", created: "Created") -> None:
        """Map: through its own ids, or those of the container. Raises RuntimeFailure."""
        from knarr.runtime import usernamespace
        from knarr.runtime.process import not_mapped

        maps = recipe.plan.mount_maps.get(self.index)
        field = "uidMappings" if maps else "options: idmap"
        try:
            if maps:
                userns = usernamespace.make(*maps)
            else:
                userns = os.open(f"/proc/{created.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            try:
                idmap(_MOUNT.get(), userns, recursive=self.options.idmap_recursive)
            finally:
                os.close(userns)
        except OSError as error:
            raise not_mapped(self, field, error) from error
