"""Steps that build the container's mount tree, each through descriptors."""

import errno
import os
import struct

from knarr.kernel import mounts as k
from knarr.kernel.files import PROC_SUPER_MAGIC
from knarr.kernel.namespaces import CLONE_NEWNS
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.mountopts import (
    PROPAGATION,
    MountOptions,
    attributes,
    superblock_flags,
    superblock_options,
)
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import (
    MODE,
    MOUNT_NAMESPACE,
    PROC,
    ROOT,
    SCRATCH,
    SCRATCH_PATH,
    STATFS,
    TARGET,
    TEMPORARY,
    Cell,
    mount_cell,
)
from knarr.runtime.program.paths import (
    ensure_directory,
    ensure_file,
)
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.steps.procguard import keep_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.program.builder import Explain

_CONTEXT, _MOUNT, _TARGET, _AGAIN = TEMPORARY[0], TEMPORARY[1], TEMPORARY[2], TEMPORARY[3]
# Kernel file systems in which a symbolic link of the image must not decide the place.
_FIXED = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"))
_REFUSED = (errno.EPERM, errno.EACCES)
_BY_DESCRIPTOR = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
_CLONE = k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC


class PrivateTree(Step):
    """Cut the copied mount tree off from the host's, so that nothing made here reaches it."""

    __slots__ = ("slave",)

    def __init__(self, slave: bool) -> None:
        self.slave = slave

    def emit(self, b: Builder, setting: Setting) -> None:
        """See mount_namespaces(7), "Shared subtrees"."""
        del setting
        flags = k.MS_REC | (k.MS_SLAVE if self.slave else k.MS_PRIVATE)
        b.call("mount", None, "/", None, flags, None, path="/")

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"mount tree: {'slave of' if self.slave else 'private from'} the host's"


class AttachRoot(Step):
    """Attach the prepared root file system; submounts can only be made on an attached one."""

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """See move_mount(2)."""
        del setting
        attach(b, ROOT, TARGET)
        b.call("close", TARGET)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "attach root file system"


def attach(
    b: Builder,
    mount: Cell,
    target: Cell,
    path: "str | None" = None,
    explain: "Explain | None" = None,
) -> None:
    """Attach a detached mount on what ``target`` refers to, by no path (move_mount(2))."""
    b.call("move_mount", mount, "", target, "", _BY_DESCRIPTOR, path=path, explain=explain)


def clone(
    b: Builder, mount: Cell, out: Cell, *, recursive: bool = False, orelse: "Label | None" = None
) -> None:
    """Make a detached clone of the mount, or of the part of one, behind a descriptor.

    orelse: where to go on when the kernel clones no mount that is not attached (before 6.15).
    """
    flags = _CLONE | k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0)
    errors = (errno.EINVAL,) if orelse else ()
    b.call("open_tree", mount, "", flags, out=out, orelse=orelse, errors=errors)


def set_attributes(
    b: Builder, mount: Cell, options: MountOptions, path: "str | None" = None
) -> None:
    """Apply the flags of ``options`` to an attached mount, recursive ones to its subtree."""
    attr_set, attr_clr = attributes(options.set_flags, options.clear_flags)
    if attr_set or attr_clr:
        old_flags = options.set_flags & ~superblock_flags(options.set_flags)
        old_flags |= k.MS_REMOUNT | k.MS_BIND
        _setattr(b, mount, 0, (attr_set, attr_clr, 0), old_flags, path)
    rec_set, rec_clr = attributes(options.recursive_set, options.recursive_clear)
    if rec_set or rec_clr:
        _setattr(b, mount, k.AT_RECURSIVE, (rec_set, rec_clr, 0), None, path)


def set_propagation(b: Builder, mount: Cell, propagation: "list[tuple[int, bool]]") -> None:
    """Set the propagation of an attached mount, private where nothing is asked."""
    for flag, recursive in propagation or [(k.MS_PRIVATE, True)]:
        old_flags = flag | (k.MS_REC if recursive else 0)
        _setattr(b, mount, k.AT_RECURSIVE if recursive else 0, (0, 0, flag), old_flags)


def _setattr(
    b: Builder,
    mount: Cell,
    flags: int,
    values: "tuple[int, int, int]",
    old_flags: "int | None",
    path: "str | None" = None,
) -> None:
    """Change a mount; before Linux 5.12 through mount(2) and a path that leads to the descriptor.

    values: attributes to set and to clear, propagation. old_flags: None: only the new way.
    """
    data = struct.pack("=QQQQ", *values, 0)
    arguments = (mount, "", flags | k.AT_EMPTY_PATH, data, len(data))
    if old_flags is None:
        b.call("mount_setattr", *arguments, path=path)
        return
    old, end = Label(), Label()
    b.call("mount_setattr", *arguments, orelse=old, errors=(errno.ENOSYS,), path=path)
    b.jump(end)
    b.place(old)
    b.call("dup3", mount, SCRATCH, os.O_CLOEXEC)
    b.call("mount", None, SCRATCH_PATH, None, old_flags, None)
    b.place(end)


def count_versions(b: Builder, mount: Cell, options: MountOptions) -> None:
    """Carry out ``iversion`` and ``noiversion`` on an attached mount: only mount(2) knows them."""
    if (options.set_flags | options.clear_flags) & k.MS_I_VERSION:
        b.call("dup3", mount, SCRATCH, os.O_CLOEXEC)
        b.call("mount", None, SCRATCH_PATH, None, k.MS_REMOUNT | options.own_flags(), None)


class NewMount(Step):
    """Mount a file system of its own: proc, tmpfs, devpts, mqueue, sysfs, cgroup2 …"""

    __slots__ = ("destination", "fstype", "options", "source")
    _inherits = False  # see ``new_mount``

    def __init__(self, destination: str, fstype: str, source: str, options: MountOptions) -> None:
        self.destination = destination
        self.fstype = fstype
        self.source = source
        self.options = options

    def emit(self, b: Builder, setting: Setting) -> None:
        """See fsopen(2), fsconfig(2), fsmount(2)."""
        del setting
        self.mount(b)

    def mount(self, b: Builder, refused: "Label | None" = None) -> None:
        """Add the operations; ``refused``: where to go on when the kernel does not permit it."""
        self._reach(b, _TARGET)
        if self.fstype not in _FIXED:
            keep_out(b, _TARGET, self.destination)
        new_mount(
            b, self.fstype, self.source, self.options, _MOUNT, refused, inherits=self._inherits
        )
        attach(b, _MOUNT, _TARGET, self.destination)
        b.call("close", _TARGET)
        if self.options.propagation:
            set_propagation(b, _MOUNT, self.options.propagation)
        count_versions(b, _MOUNT, self.options)
        if self.fstype == "proc":
            b.call("fstatfs", _MOUNT, STATFS)
            b.test(STATFS, 0xFFFFFFFF, PROC_SUPER_MAGIC, path=self.destination)
            b.set(PROC, _MOUNT)
        else:
            b.call("close", _MOUNT)

    def _reach(self, b: Builder, out: Cell) -> None:
        """Open the place, made where missing."""
        follow = self.fstype not in _FIXED
        ensure_directory(b, self.destination, out, follow=follow, asks=follow)

    def describe(self) -> str:
        """Return the step as one line of text."""
        data = ",".join(self.options.data)
        return f"mount {self.fstype} on {self.destination}" + (f" ({data})" if data else "")


def new_mount(
    b: Builder,
    fstype: str,
    source: str,
    options: MountOptions,
    out: Cell,
    refused: "Label | None" = None,
    *,
    writable: bool = False,
    inherits: bool = False,
) -> None:
    """Make a detached mount of a new file-system instance with the given options.

    writable: also where the options say otherwise; see there. inherits: its mode is in MODE.
    """
    b.call("fsopen", fstype, k.FSOPEN_CLOEXEC, out=_CONTEXT, path=fstype, orelse=refused,
           errors=_REFUSED if refused else ())  # fmt: skip
    words = [f"source={source}"] if source else []
    configure(b, _CONTEXT, [*words, *options.data, *superblock_options(options)], refused)
    if inherits:
        b.call("fsconfig", _CONTEXT, k.FSCONFIG_SET_STRING, "mode", MODE, 0, path="mode")
    b.call("fsconfig", _CONTEXT, k.FSCONFIG_CMD_CREATE, None, None, 0, orelse=refused,
           errors=_REFUSED if refused else ())  # fmt: skip
    flags = options.own_flags() & ~(k.MS_RDONLY if writable else 0)
    b.call("fsmount", _CONTEXT, k.FSMOUNT_CLOEXEC, attributes(flags, options.clear_flags)[0],
           out=out, orelse=refused, errors=_REFUSED if refused else ())  # fmt: skip
    b.call("close", _CONTEXT)


def configure(
    b: Builder, context: Cell, options: "list[str]", refused: "Label | None" = None
) -> None:
    """Give a file-system context options as mount(8) has them: names, and names with values."""
    for item in options:
        key, mark, value = item.partition("=")
        command, given = (k.FSCONFIG_SET_STRING, value) if mark else (k.FSCONFIG_SET_FLAG, None)
        b.call("fsconfig", context, command, key, given, 0, path=key, orelse=refused,
               errors=_REFUSED if refused else ())  # fmt: skip


class SysfsMount(NewMount):
    """Mount sysfs; with the host's network namespace the kernel only allows the host's own."""

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """A new sysfs needs a network namespace of our user namespace (sysfs_init_fs_context)."""
        refused, end = Label(), Label()
        self.mount(b, refused)
        b.jump(end)
        b.place(refused)
        options = MountOptions(["rbind", "nosuid", "nodev", "noexec", "rro"])
        BindMount(-1, self.destination, "/sys", options).emit(b, setting)
        b.place(end)


class BindMount(Step):
    """Make a directory or file of the host visible inside.

    is_prepared: the maker has a clone of it before the process begins.
    """

    __slots__ = ("destination", "index", "options", "source")
    is_prepared = True

    def __init__(self, index: int, destination: str, source: str, options: MountOptions) -> None:
        self.index = index
        self.destination = destination
        self.source = source
        self.options = options

    def key(self, setting: Setting) -> "tuple[object, ...]":
        """See Step; of a prepared mount the source does not matter."""
        number, is_directory = setting.binds.get(self.index, (-1, True))
        source = "" if number >= 0 else self.source
        return (self.destination, self.options, number, is_directory, source)

    def emit(self, b: Builder, setting: Setting) -> None:
        """See open_tree(2); the parent has prepared a clone, and looked at what it is."""
        number, is_directory = setting.binds.get(self.index, (-1, True))
        mount = _MOUNT
        if number >= 0:
            mount = mount_cell(number)
        else:
            flags = _CLONE | (k.AT_RECURSIVE if self.options.recursive else 0)
            b.call("open_tree", k.AT_FDCWD, self.source, flags, out=mount, path=self.source)
        ensure = ensure_directory if is_directory else ensure_file
        ensure(b, self.destination, _TARGET, asks=True)
        keep_out(b, _TARGET, self.destination)
        attach(b, mount, _TARGET, explain=_NotAttached(self.destination, is_directory))
        if number >= 0:
            self._renew(b, mount)
        b.call("close", _TARGET)
        set_propagation(b, mount, self.options.propagation)
        set_attributes(b, mount, self.options)
        b.call("close", mount)

    def describe(self) -> str:
        """Return the step as one line of text."""
        read_only = (self.options.set_flags | self.options.recursive_set) & k.MS_RDONLY
        return f"bind {self.source} on {self.destination}" + (" read-only" if read_only else "")

    def in_turn(self) -> "BindMount":
        """Return the same for who counts on the order in /proc/PID/mountinfo."""
        return BindInTurn(self.index, self.destination, self.source, self.options)

    def _renew(self, b: Builder, mount: Cell) -> None:
        """Nothing to do."""


class BindInTurn(BindMount):
    """A bind mount that came to be when its turn was.

    Since Linux 6.8 /proc/PID/mountinfo has mounts in the order in which they came to be, and
    a prepared one is older than all that the steps before it made. So it is cloned once more,
    which can be done only when it is attached: the kernel clones no detached mount that was made
    in another mount namespace.
    """

    __slots__ = ()

    def _renew(self, b: Builder, mount: Cell) -> None:
        clone(b, mount, _AGAIN, recursive=True)
        # The host's mounts below the source would be unmounted with their peers in here.
        set_propagation(b, mount, [(k.MS_PRIVATE, True)])
        b.call("dup3", mount, SCRATCH, os.O_CLOEXEC)
        b.call("umount2", SCRATCH_PATH, k.MNT_DETACH)
        b.call("dup3", _AGAIN, mount, os.O_CLOEXEC)
        b.call("close", _AGAIN)
        attach(b, mount, _TARGET, self.destination)


class _NotAttached:
    """Explains why a bind mount could not be attached: a file on a directory is EINVAL.

    The other way round it has failed before, since a directory was wanted.
    """

    __slots__ = ("destination", "is_directory")

    def __init__(self, destination: str, is_directory: bool) -> None:
        self.destination = destination
        self.is_directory = is_directory

    def __call__(self, name: str, number: int) -> RuntimeFailure:
        """Return the failure for an error number."""
        text = f"{os.strerror(number)}: {self.destination}"
        if number == errno.EINVAL and not self.is_directory:
            text = (
                f"a file cannot be mounted on the directory {self.destination}: "
                "check that the host path is of the expected type"
            )
        return RuntimeFailure("error", name, f"{name}: {text}", number)


class PivotRoot(Step):
    """Make the new root the only one: the host's tree is unmounted from this namespace."""

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """See pivot_root(2), "pivot_root(".", ".")": no directory for the old root is needed."""
        del setting
        b.call("fchdir", ROOT)
        b.call("pivot_root", ".", ".")
        b.call("umount2", ".", k.MNT_DETACH)
        b.call("chdir", "/")

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "pivot root, let go of the host's tree"


class MoveRoot(Step):
    """Put the new root over the old one, where that cannot be exchanged: a RAM disk (--no-pivot).

    The old tree stays below, for whoever may chroot(2) to climb to. The host's own procfs and
    sysfs go from it first, or are covered: the container has others.
    """

    __slots__ = ("places",)

    def __init__(self, places: "tuple[str, ...]") -> None:
        self.places = places

    def emit(self, b: Builder, setting: Setting) -> None:
        """See mount(2), MS_MOVE, and pivot_root(2), "NOTES"."""
        del setting
        for place in self.places:
            cover, gone = Label(), Label()
            b.call("umount2", place, k.MNT_DETACH, orelse=cover)
            b.jump(gone)
            b.place(cover)
            covered = Label()
            b.call("mount", "tmpfs", place, "tmpfs", 0, None, path=place, orelse=covered,
                   errors=(errno.ENOENT,))  # fmt: skip
            b.place(covered)
            b.place(gone)
        b.call("move_mount", ROOT, "", k.AT_FDCWD, "/", k.MOVE_MOUNT_F_EMPTY_PATH, path="/")
        b.call("fchdir", ROOT)
        b.call("chroot", ".")
        b.call("chdir", "/")

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "move the root over the host's, without its procfs and sysfs"


class InheritMounts(Step):
    """End up in a mount namespace that exists, with the finished tree as the root.

    The tree was made in a namespace that nobody else is in and that is gone from here on:
    nothing of it is ever seen in the other one, and nothing is left in there.
    """

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """A detached tree stays whole for as long as a process has its root there."""
        del setting
        clone(b, ROOT, _MOUNT, recursive=True)
        b.call("setns", MOUNT_NAMESPACE, CLONE_NEWNS)
        b.call("close", MOUNT_NAMESPACE)
        b.call("fchdir", _MOUNT)
        b.call("chroot", ".")
        b.call("dup3", _MOUNT, ROOT, os.O_CLOEXEC)
        b.call("close", _MOUNT)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "enter the mount namespace that the container shares"


class ReadonlyRoot(Step):
    """Make the root read-only, after all that is mounted below."""

    __slots__ = ()

    def emit(self, b: Builder, setting: Setting) -> None:
        """See config.md, "root"."""
        del setting
        set_attributes(b, ROOT, MountOptions(["ro"]))

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "root file system: read-only"


class RootPropagation(Step):
    """Set the root's propagation once it is the root: pivot_root(2) takes no shared one."""

    __slots__ = ("propagation",)

    def __init__(self, propagation: str) -> None:
        self.propagation = propagation

    def emit(self, b: Builder, setting: Setting) -> None:
        """See config-linux.md, "Rootfs Mount Propagation"."""
        del setting
        flag, recursive = PROPAGATION[self.propagation]
        b.call("mount", None, "/", None, flag | (k.MS_REC if recursive else 0), None, path="/")

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"root file system: {self.propagation}"
