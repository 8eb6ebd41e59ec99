"""What every step is, and what it has to know beside itself to become operations."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.program.builder import Builder


class Setting:
    """What the steps of one process depend on.

    in_userns: it has a user namespace of its own. binds: for an index in
    ``mounts[]`` the number of the prepared mount (``memory.mount_cell``) and
    whether it is a directory. has_proc: a step mounts a procfs; nothing reads /proc
    by path. has_home: the environment names a home directory.
    """

    __slots__ = ("binds", "has_home", "has_proc", "in_userns")

    def __init__(
        self,
        *,
        in_userns: bool,
        binds: "dict[int, tuple[int, bool]]",
        has_proc: bool,
        has_home: bool,
    ) -> None:
        self.in_userns = in_userns
        self.binds = binds
        self.has_proc = has_proc
        self.has_home = has_home


class Step:
    """One thing to do in the new namespaces: a value until ``emit`` makes operations of it."""

    __slots__ = ()

    def emit(self, b: "Builder", setting: Setting) -> None:
        """Add the operations that carry the step out; raises OSError where that cannot be."""
        del b, setting
        raise TypeError(f"{type(self).__name__} cannot be carried out")

    def describe(self) -> str:
        """Return the step as one line of text."""
        raise TypeError(f"{type(self).__name__} cannot be carried out")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe()}>"
