"""The mount options of the OCI runtime spec as flags (config.md, "Linux mount options"). Pure."""

from knarr.kernel import mounts as k

# option -> (flag, set?) in terms of mount(2)
_FLAGS = {
    "ro": (k.MS_RDONLY, True), "rw": (k.MS_RDONLY, False),
    "nosuid": (k.MS_NOSUID, True), "suid": (k.MS_NOSUID, False),
    "nodev": (k.MS_NODEV, True), "dev": (k.MS_NODEV, False),
    "noexec": (k.MS_NOEXEC, True), "exec": (k.MS_NOEXEC, False),
    "sync": (k.MS_SYNCHRONOUS, True), "async": (k.MS_SYNCHRONOUS, False),
    "dirsync": (k.MS_DIRSYNC, True),
    "mand": (k.MS_MANDLOCK, True), "nomand": (k.MS_MANDLOCK, False),
    "noatime": (k.MS_NOATIME, True), "atime": (k.MS_NOATIME, False),
    "nodiratime": (k.MS_NODIRATIME, True), "diratime": (k.MS_NODIRATIME, False),
    "relatime": (k.MS_RELATIME, True), "norelatime": (k.MS_RELATIME, False),
    "strictatime": (k.MS_STRICTATIME, True), "nostrictatime": (k.MS_STRICTATIME, False),
    "iversion": (k.MS_I_VERSION, True), "noiversion": (k.MS_I_VERSION, False),
    "lazytime": (k.MS_LAZYTIME, True), "nolazytime": (k.MS_LAZYTIME, False),
    "silent": (k.MS_SILENT, True), "loud": (k.MS_SILENT, False),
    "nosymfollow": (k.MS_NOSYMFOLLOW, True), "symfollow": (k.MS_NOSYMFOLLOW, False),
}  # fmt: skip

PROPAGATION = {
    "private": (k.MS_PRIVATE, False), "rprivate": (k.MS_PRIVATE, True),
    "slave": (k.MS_SLAVE, False), "rslave": (k.MS_SLAVE, True),
    "shared": (k.MS_SHARED, False), "rshared": (k.MS_SHARED, True),
    "unbindable": (k.MS_UNBINDABLE, False), "runbindable": (k.MS_UNBINDABLE, True),
}  # fmt: skip

_ATIME = k.MS_NOATIME | k.MS_RELATIME | k.MS_STRICTATIME
# mount(2) flag -> attribute of mount_setattr(2); atime modes are one field of their own
_ATTRIBUTES = (
    (k.MS_RDONLY, k.MOUNT_ATTR_RDONLY),
    (k.MS_NOSUID, k.MOUNT_ATTR_NOSUID),
    (k.MS_NODEV, k.MOUNT_ATTR_NODEV),
    (k.MS_NOEXEC, k.MOUNT_ATTR_NOEXEC),
    (k.MS_NODIRATIME, k.MOUNT_ATTR_NODIRATIME),
    (k.MS_NOSYMFOLLOW, k.MOUNT_ATTR_NOSYMFOLLOW),
)
_OF_A_MOUNT = frozenset(
    name
    for name, (flag, _) in _FLAGS.items()
    if flag & (_ATIME | sum(flag for flag, _ in _ATTRIBUTES))
)
_SUPERBLOCK = k.MS_SYNCHRONOUS | k.MS_DIRSYNC | k.MS_MANDLOCK | k.MS_LAZYTIME | k.MS_I_VERSION


class MountOptions:
    """The options of one mount, sorted by what has to be done with them.

    set_flags, clear_flags: mount(2) flags. recursive_set, recursive_clear: for
    the whole tree below. propagation: (flag, recursive) pairs in order.
    data: what the file system itself gets. bind, recursive: bind and rbind.
    remount: what is mounted there is changed. copy_up: tmpcopyup. words: the options as given.
    """

    __slots__ = (
        "bind",
        "clear_flags",
        "copy_up",
        "data",
        "idmap",
        "idmap_recursive",
        "propagation",
        "recursive",
        "recursive_clear",
        "recursive_set",
        "remount",
        "set_flags",
        "words",
    )

    def __init__(self, options: "list[str]") -> None:
        self.words = tuple(options)
        self.bind = self.recursive = self.remount = self.copy_up = False
        self.idmap = self.idmap_recursive = False
        self.set_flags = self.clear_flags = self.recursive_set = self.recursive_clear = 0
        self.propagation: list[tuple[int, bool]] = []
        self.data: list[str] = []
        for option in options:
            self._add(option)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MountOptions) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def _add(self, option: str) -> None:
        if option in ("defaults", ""):
            return
        if option in ("bind", "rbind"):
            self.bind = True
            self.recursive |= option == "rbind"
        elif option in _FLAGS:
            flag, on = _FLAGS[option]
            self.set_flags = self.set_flags | flag if on else self.set_flags & ~flag
            self.clear_flags = self.clear_flags & ~flag if on else self.clear_flags | flag
        elif option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in ("idmap", "ridmap"):
            self.idmap = True
            self.idmap_recursive |= option == "ridmap"
        elif option == "remount":
            self.remount = True
        elif option == "tmpcopyup":
            self.copy_up = True
        elif option[0] == "r" and option[1:] in _OF_A_MOUNT:
            flag, on = _FLAGS[option[1:]]
            self.recursive_set = self.recursive_set | flag if on else self.recursive_set & ~flag
            self.recursive_clear = (
                self.recursive_clear & ~flag if on else self.recursive_clear | flag
            )
        else:
            self.data.append(option)

    def own_flags(self) -> int:
        """Return the flags for a mount that has nothing below it: recursive ones are its own."""
        return self.set_flags & ~self.recursive_clear | self.recursive_set

    def ignored(self) -> "list[str]":
        """Return the options that mean nothing where no file system is made: a bind mount."""
        return [
            word
            for word in self.words
            if word in self.data or (word in _FLAGS and superblock_flags(_FLAGS[word][0]))
        ]


def attributes(set_flags: int, clear_flags: int = 0) -> "tuple[int, int]":
    """Return (attr_set, attr_clr) of mount_setattr(2) for mount(2) flags."""
    attr_set = attr_clr = 0
    for flag, attribute in _ATTRIBUTES:
        if set_flags & flag:
            attr_set |= attribute
        if clear_flags & flag:
            attr_clr |= attribute
    if (set_flags | clear_flags) & _ATIME:
        attr_clr |= k.MOUNT_ATTR__ATIME
        if set_flags & k.MS_NOATIME:
            attr_set |= k.MOUNT_ATTR_NOATIME
        elif set_flags & k.MS_STRICTATIME or clear_flags & k.MS_RELATIME:
            attr_set |= k.MOUNT_ATTR_STRICTATIME
    return attr_set, attr_clr


def superblock_options(options: MountOptions) -> "list[str]":
    """Return the parameters of fsconfig(2) for what a file system, not a mount, is told."""
    return [
        name
        for name in ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand")
        if _FLAGS[name][0] & (options.set_flags if _FLAGS[name][1] else options.clear_flags)
    ]


def superblock_flags(set_flags: int) -> int:
    """Return the part of mount(2) flags that belongs to the file system, not to the mount."""
    return set_flags & _SUPERBLOCK


def known() -> "list[str]":
    """Return all options that are not a file system's own, sorted."""
    recursive = [f"r{name}" for name in _OF_A_MOUNT]
    others = ["bind", "defaults", "idmap", "rbind", "remount", "ridmap", "tmpcopyup"]
    return sorted({*_FLAGS, *recursive, *PROPAGATION, *others})
