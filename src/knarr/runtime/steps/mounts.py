"""Steps that build the container's mount tree, each through descriptors."""

import os
import stat

from knarr.kernel import mounts as k
from knarr.kernel.files import PROC_SUPER_MAGIC, fstatfs_type
from knarr.runtime.lookup import ensure_directory, ensure_file, open_in_root
from knarr.runtime.mountopts import MountOptions, attributes, superblock_flags
from knarr.runtime.steps.base import Context, Step

_ENOSYS = 38
# Kernel file systems in which a symbolic link of the image must not decide the place.
_FIXED = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"))


class PrivateTree(Step):
    """Cut the copied mount tree off from the host's, so that nothing made here reaches it."""

    __slots__ = ("slave",)

    def __init__(self, slave: bool) -> None:
        self.slave = slave

    def execute(self, context: Context) -> None:
        """See mount_namespaces(7), "Shared subtrees"."""
        del context
        k.mount(None, "/", None, k.MS_REC | (k.MS_SLAVE if self.slave else k.MS_PRIVATE))

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"mount tree: {'slave of' if self.slave else 'private from'} the host's"


class AttachRoot(Step):
    """Attach the prepared root file system; submounts can only be made on an attached one."""

    __slots__ = ()

    def execute(self, context: Context) -> None:
        """See move_mount(2)."""
        k.attach(context.root_fd, context.target_fd)
        os.close(context.target_fd)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "attach root file system"


def set_attributes(fd: int, options: MountOptions, *, attached: bool = False) -> None:
    """Apply flags and propagation of ``options`` to a mount, recursive ones to its subtree.

    On kernels without mount_setattr(2) the mount must be attached already.
    """
    attr_set, attr_clr = attributes(options.set_flags, options.clear_flags)
    if attr_set or attr_clr:
        _setattr(fd, k.AT_EMPTY_PATH, attr_set, attr_clr, options.set_flags, attached)
    rec_set, rec_clr = attributes(options.recursive_set, options.recursive_clear)
    if rec_set or rec_clr:
        k.mount_setattr(fd, "", k.AT_EMPTY_PATH | k.AT_RECURSIVE, rec_set, rec_clr)


def _setattr(
    fd: int, flags: int, attr_set: int, attr_clr: int, old_flags: int, attached: bool
) -> None:
    try:
        k.mount_setattr(fd, "", flags, attr_set, attr_clr)
    except OSError as error:
        if error.errno != _ENOSYS or not attached:
            raise
        k.mount(
            None,
            f"/proc/self/fd/{fd}",
            None,
            k.MS_REMOUNT | k.MS_BIND | (old_flags & ~superblock_flags(old_flags)),
        )


def set_propagation(fd: int, propagation: "list[tuple[int, bool]]") -> None:
    """Set the propagation of an attached mount, private where nothing is asked."""
    for flag, recursive in propagation or [(k.MS_PRIVATE, True)]:
        try:
            k.mount_setattr(
                fd,
                "",
                k.AT_EMPTY_PATH | (k.AT_RECURSIVE if recursive else 0),
                propagation=flag,
            )
        except OSError as error:
            if error.errno != _ENOSYS:
                raise
            k.mount(None, f"/proc/self/fd/{fd}", None, flag | (k.MS_REC if recursive else 0))


class NewMount(Step):
    """Mount a file system of its own: proc, tmpfs, devpts, mqueue, sysfs, cgroup2 …"""

    __slots__ = ("destination", "fstype", "options", "source")

    def __init__(self, destination: str, fstype: str, source: str, options: MountOptions) -> None:
        self.destination = destination
        self.fstype = fstype
        self.source = source
        self.options = options

    def execute(self, context: Context) -> None:
        """See fsopen(2), fsconfig(2), fsmount(2)."""
        target = ensure_directory(
            context.root_fd, self.destination, follow=self.fstype not in _FIXED
        )
        try:
            fd = new_mount(self.fstype, self.source, self.options)
            k.attach(fd, target)
        finally:
            os.close(target)
        if self.options.propagation:
            set_propagation(fd, self.options.propagation)
        if self.fstype == "proc" and context.proc_fd < 0:
            if fstatfs_type(fd) != PROC_SUPER_MAGIC:
                raise OSError(22, f"{self.destination}: is not a procfs")
            context.proc_fd = fd
        else:
            os.close(fd)

    def describe(self) -> str:
        """Return the step as one line of text."""
        data = ",".join(self.options.data)
        return f"mount {self.fstype} on {self.destination}" + (f" ({data})" if data else "")


def new_mount(fstype: str, source: str, options: MountOptions) -> int:
    """Return a detached mount of a new file-system instance with the given options."""
    context = k.fsopen(fstype)
    try:
        if source:
            k.fsconfig_string(context, "source", source)
        for item in options.data:
            key, mark, value = item.partition("=")
            if mark:
                k.fsconfig_string(context, key, value)
            else:
                k.fsconfig_flag(context, key)
        for flag, name in ((k.MS_SYNCHRONOUS, "sync"), (k.MS_DIRSYNC, "dirsync"),
                           (k.MS_LAZYTIME, "lazytime")):  # fmt: skip
            if superblock_flags(options.set_flags) & flag:
                k.fsconfig_flag(context, name)
        k.fsconfig_create(context)
        return k.fsmount(context, attributes(options.set_flags, 0)[0])
    finally:
        os.close(context)


class SysfsMount(NewMount):
    """Mount sysfs; with the host's network namespace the kernel only allows the host's own."""

    __slots__ = ()

    def execute(self, context: Context) -> None:
        """A new sysfs needs a network namespace of our user namespace (sysfs_init_fs_context)."""
        try:
            super().execute(context)
        except PermissionError:
            options = MountOptions(["rbind", "nosuid", "nodev", "noexec", "rro"])
            BindMount(-1, self.destination, "/sys", options).execute(context)


class BindMount(Step):
    """Make a directory or file of the host visible inside."""

    __slots__ = ("destination", "index", "options", "source")

    def __init__(self, index: int, destination: str, source: str, options: MountOptions) -> None:
        self.index = index
        self.destination = destination
        self.source = source
        self.options = options

    def execute(self, context: Context) -> None:
        """See open_tree(2); the parent prepares clones that need an id map or another namespace."""
        fd = context.mount_fds.get(self.index, -1)
        if fd < 0:
            recursive = k.AT_RECURSIVE if self.options.recursive else 0
            fd = k.open_tree(k.AT_FDCWD, self.source, k.OPEN_TREE_CLONE | recursive)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            target = ensure_directory(context.root_fd, self.destination)
        else:
            target = ensure_file(context.root_fd, self.destination)
        try:
            k.attach(fd, target)
        finally:
            os.close(target)
        set_propagation(fd, self.options.propagation)
        set_attributes(fd, self.options, attached=True)
        os.close(fd)

    def describe(self) -> str:
        """Return the step as one line of text."""
        read_only = (self.options.set_flags | self.options.recursive_set) & k.MS_RDONLY
        return f"bind {self.source} on {self.destination}" + (" read-only" if read_only else "")


class CgroupMount(Step):
    """Mount the cgroup file systems: one tree on v2, one mount per hierarchy on v1."""

    __slots__ = ("destination", "options")

    def __init__(self, destination: str, options: MountOptions) -> None:
        self.destination = destination
        self.options = options

    def execute(self, context: Context) -> None:
        """The hierarchies are those of /proc/self/cgroup, seen from the cgroup namespace."""
        hierarchies = _hierarchies()
        if not hierarchies:
            NewMount(self.destination, "cgroup2", "cgroup", self.options).execute(context)
            return
        frame = MountOptions(["nosuid", "nodev", "noexec", "mode=755"])
        NewMount(self.destination, "tmpfs", "cgroup", frame).execute(context)
        flags = ["nosuid", "nodev", "noexec"]
        for controllers in hierarchies:
            place = f"{self.destination}/{controllers.removeprefix('name=')}"
            data = ["none", controllers] if "=" in controllers else controllers.split(",")
            NewMount(place, "cgroup", "cgroup", self._with(flags + data)).execute(context)
            if "," in controllers:
                _link_controllers(context, self.destination, controllers)
        unified = f"{self.destination}/unified"
        NewMount(unified, "cgroup2", "cgroup", self._with(flags)).execute(context)
        if self.options.set_flags & k.MS_RDONLY:
            fd = open_in_root(context.root_fd, self.destination)
            set_attributes(fd, MountOptions(["ro"]), attached=True)
            os.close(fd)

    def _with(self, options: "list[str]") -> MountOptions:
        read_only = ["ro"] if self.options.set_flags & k.MS_RDONLY else []
        return MountOptions(options + read_only)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"mount cgroup on {self.destination}"


def _hierarchies() -> "list[str]":
    """Return the controller lists of the v1 hierarchies; empty on pure v2."""
    with open("/proc/self/cgroup") as file:
        fields = [line.rstrip("\n").split(":", 2) for line in file]
    return [controllers for number, controllers, _ in reversed(fields) if number != "0"]


def _link_controllers(context: Context, destination: str, controllers: str) -> None:
    """Give each controller of a joined hierarchy a link of its own name, as hosts have it."""
    directory = open_in_root(context.root_fd, destination, os.O_PATH | os.O_DIRECTORY)
    try:
        for name in controllers.split(","):
            os.symlink(controllers, name, dir_fd=directory)
    finally:
        os.close(directory)


class PivotRoot(Step):
    """Make the new root the only one: the host's tree is unmounted from this namespace."""

    __slots__ = ()

    def execute(self, context: Context) -> None:
        """See pivot_root(2), "pivot_root(".", ".")": no directory for the old root is needed."""
        os.fchdir(context.root_fd)
        k.pivot_root(".", ".")
        k.umount2(".", k.MNT_DETACH)
        os.chdir("/")

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "pivot root, let go of the host's tree"


class RootAttributes(Step):
    """Make the root read-only, or set its propagation, after all that is mounted below."""

    __slots__ = ("propagation", "readonly")

    def __init__(self, readonly: bool, propagation: str) -> None:
        self.readonly = readonly
        self.propagation = propagation

    def execute(self, context: Context) -> None:
        """See config.md, "root" and "linux.rootfsPropagation"."""
        options = MountOptions(
            (["ro"] if self.readonly else []) + ([self.propagation] if self.propagation else [])
        )
        set_attributes(context.root_fd, options, attached=True)
        if self.propagation:
            set_propagation(context.root_fd, options.propagation)

    def describe(self) -> str:
        """Return the step as one line of text."""
        words = (["read-only"] if self.readonly else []) + (
            [self.propagation] if self.propagation else []
        )
        return f"root file system: {', '.join(words)}"
