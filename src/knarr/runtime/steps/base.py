"""What every step is, and what the steps share while they run."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.runtime.users import ResolvedUser


class Context:
    """What the steps of one container share in its first process.

    root_fd: the attached root file system. target_fd: the host directory it was
    attached on. mount_fds: detached mounts prepared by the parent, by index in
    ``mounts[]``. proc_fd: the procfs that a step made, once it exists; nothing
    reads /proc by path. master: the pseudo-terminal's, until it is handed over.
    """

    __slots__ = (
        "env",
        "in_userns",
        "master",
        "mount_fds",
        "proc_fd",
        "root_fd",
        "slave",
        "target_fd",
        "user",
        "warnings",
    )

    def __init__(
        self, root_fd: int, target_fd: int, mount_fds: "dict[int, int]", *, in_userns: bool
    ) -> None:
        self.root_fd = root_fd
        self.target_fd = target_fd
        self.mount_fds = mount_fds
        self.in_userns = in_userns
        self.proc_fd = -1
        self.master = -1
        self.slave = -1
        self.env: dict[str, str] = {}
        self.user: ResolvedUser | None = None
        self.warnings: list[str] = []


class Step:
    """One thing to do; ``execute`` raises OSError, ``describe`` is one line for people."""

    __slots__ = ()

    def execute(self, context: Context) -> None:
        """Carry the step out in the calling process."""
        del context
        raise TypeError(f"{type(self).__name__} cannot be carried out")

    def describe(self) -> str:
        """Return the step as one line of text."""
        raise TypeError(f"{type(self).__name__} cannot be carried out")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe()}>"
