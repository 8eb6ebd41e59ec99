"""What every step is, and what it has to know beside itself to become operations."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.finalleg import FinalLeg
    from knarr.runtime.process import Created, Recipe
    from knarr.runtime.program.builder import Builder


class Setting:
    """What the steps of one process depend on.

    in_userns: it is in a user namespace other than the machine's. binds: for an index in
    ``mounts[]`` the number of the prepared mount (``memory.mount_cell``) and
    whether it is a directory. has_proc: a step mounts a procfs; nothing reads /proc
    by path. has_home: the environment names a home directory.
    """

    __slots__ = ("binds", "has_home", "has_proc", "in_userns")

    @classmethod
    def inside(cls, leg: "FinalLeg") -> "Setting":
        """Return the setting of a further process, which finds all mounts made."""
        has_home = "HOME" in leg.environment()
        return cls(in_userns=True, binds={}, has_proc=False, has_home=has_home)

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


class Circumstances:
    """What decides about a program beside its plan, as plain values for a message.

    stdio: as in ``Recipe``. directories: for each bind mount in the order of the
    plan whether it is one. entrances: how many control groups are entered.
    """

    __slots__ = ("directories", "entrances", "filtered", "has_init", "stdio")

    def __init__(
        self,
        stdio: "tuple[int, int, int] | None",
        *,
        filtered: bool,
        has_init: bool = False,
        directories: "tuple[bool, ...]" = (),
        entrances: int = 0,
    ) -> None:
        self.stdio = stdio
        self.filtered = filtered
        self.has_init = has_init
        self.directories = directories
        self.entrances = entrances


class Step:
    """One thing to do in the new namespaces: a value until ``emit`` makes operations of it."""

    __slots__ = ()
    _fields: "tuple[str, ...]" = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(name for kind in cls.__mro__ for name in getattr(kind, "__slots__", ()))

    def emit(self, b: "Builder", setting: Setting) -> None:
        """Add the operations that carry the step out; raises OSError where that cannot be."""
        del b, setting
        raise TypeError(f"{type(self).__name__} cannot be carried out")

    def key(self, setting: Setting) -> "tuple[object, ...] | None":
        """Return what the operations depend on, so that they can be kept; None: not worth it.

        All that the step is, unless it says otherwise: less than that would have two
        containers share what must differ.
        """
        del setting
        return self._values()

    def _values(self) -> "tuple[object, ...]":
        return tuple([getattr(self, name) for name in self._fields])

    def describe(self) -> str:
        """Return the step as one line of text."""
        raise TypeError(f"{type(self).__name__} cannot be carried out")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe()}>"


class Stop(Step):
    """A step in which the process waits (``child.stop``) while its maker does a part of it."""

    __slots__ = ()

    def outside(self, recipe: "Recipe", created: "Created") -> None:
        """Do the maker's part, in the host's namespaces. Raises RuntimeFailure and OSError."""
        del recipe, created
        raise TypeError(f"{type(self).__name__} has no part outside")
