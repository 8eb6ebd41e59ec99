"""What a manager and a group can do: the interface that every implementation here has.

Only type checkers look at the classes; nothing of this exists at run time.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Protocol

    from knarr.cgroups.errors import UnsupportedResource
    from knarr.cgroups.files import Write

    Stats = dict[str, dict[str, int | None]]
    Usage = dict[str, int | None]

    class Controller(Protocol):
        """A module of ``v1`` or ``v2``."""

        CONTROLLER: str

        def plan(self, resources: Mapping[str, Any], /) -> list[Write]:
            """Return the writes for its part of linux.resources; pure."""

        def apply(self, directory: str, writes: Iterable[Write], update: bool = False, /) -> None:
            """Carry the writes out in a group's directory."""

    class Group(Protocol):
        """One container's place in all hierarchies, or that of one exec."""

        @property
        def path(self) -> str:
            """The path it was made with."""

        @property
        def paths(self) -> dict[str, str]:
            """Directory for each controller; ``unified`` for cgroup v2."""

        def clone_fd(self) -> int | None:
            """Return a directory descriptor for CLONE_INTO_CGROUP, None on v1.

            The caller closes it.
            """

        def attach(self, pid: int) -> None:
            """Move a process in; OSError (ESRCH when it is gone)."""

        def entrances(self) -> tuple[str, ...]:
            """Return the files into which a process writes ``0`` to move itself in, in order.

            Absolute paths of the host, found without a look at the machine. A process of
            one thread opens each for writing and writes the one byte, before it gives up
            the host's root directory and user and before it makes itself a cgroup
            namespace. There is nothing to try again: an error is an error of the start.
            Not needed for a process that starts inside by ``clone_fd``. On v1 this costs a
            thirtieth of ``attach``: the kernel need not hold up the forks and exits of the
            whole machine for a thread that moves itself.
            """

        def child(self, name: str, *, made: bool = False) -> "Group":
            """Return a new group below, which tracks what one exec starts.

            It has no limits of its own; its ``kill`` and ``destroy`` touch only its processes.
            made: somebody has made it before, and may have removed it.
            """

        def update(self, resources: Mapping[str, Any]) -> None:
            """Change limits; what resources do not name stays. Errors as ``Manager.create``.

            What fails changes nothing; where something cannot be put back the error says so.
            """

        def freeze(self) -> None:
            """Stop all processes; returns when they stand still. TimeoutError when one does not."""

        def thaw(self) -> None:
            """Let them run again."""

        def frozen(self) -> bool:
            """Return whether it was frozen."""

        def freezing(self) -> str:
            """Return the file that has 1 while ``frozen`` is true, empty where nothing freezes.

            For who looks often and has nothing else to do with the group.
            """

        def kill(self, signal: int = 9) -> None:
            """Send a signal to all processes inside, also those that fork meanwhile.

            With SIGKILL it returns when all are gone; TimeoutError after 10 seconds.
            """

        def procs(self) -> list[int]:
            """Return the ids of all processes inside and below."""

        def wait_empty(self, timeout: float) -> bool:
            """Wait at most timeout seconds until no process is left; return whether so."""

        def usage(self) -> Usage:
            """Return what was used in all, for the end of a container: few files, one pass.

            The keys are ``accounting.KEYS``: cpu_* in ns, memory_* and io_*_bytes in
            bytes, the others are counts. None for what is not accounted.
            """

        def stats(self, detail: bool = False) -> Stats:
            """Return use: ``cpu`` (ns), ``memory`` (bytes), ``io`` (bytes, operations), ``pids``.

            cpu: total_ns user_ns system_ns periods throttled_periods throttled_ns; memory:
            current peak limit oom_kills; io: read_bytes write_bytes read_ops write_ops; pids:
            current peak limit. None for what is not accounted or not limited. ``detail``
            adds swap, anon, file and inactive_file to memory.
            """

        def oom_kills(self) -> int:
            """Return how many processes the OOM killer ended; 0 when the kernel does not say."""

        def destroy(self) -> None:
            """Kill what is left and remove the group; twice is no error. OSError if it stays."""

    class Manager(Protocol):
        """Makes groups on one kind of machine."""

        name: str
        version: int

        def create(
            self,
            path: str,
            resources: Mapping[str, Any],
            *,
            owner: "int | tuple[int, int] | None" = None,
        ) -> Group:
            """Return a new group with its limits set and no process in it.

            path: absolute, counted from the mount points. owner: uid, or uid and gid, to
            which a v2 group is delegated. Raises ValueError for bad values,
            UnsupportedResource for what this machine lacks, OSError when the kernel
            refuses or the group exists with processes in it; then nothing is left.
            """

        def prepare(self) -> None:
            """Do once what every group will need, before others are forked from this process.

            Loads the program of the usual devices on v2; and what an interpreter works out
            at a function's first call is copied by nobody later. Changes no group. What
            fails here fails again, and is told then, when a group is made.
            """

        def open(self, path: str) -> Group:
            """Return an existing group; FileNotFoundError when there is none."""

        def exists(self, path: str) -> bool:
            """Return whether the group of a path is there, also one that somebody else made."""

        def usage(self, path: str) -> Usage:
            """Return ``Group.usage`` of a path; None for everything when there is no group."""

        def remove(self, path: str) -> None:
            """Remove the group of a path, in any process, as ``Group.destroy`` does.

            What is gone already, or was never made in full, is no error.
            """

        def unsupported(
            self, resources: Mapping[str, Any], parent: str = "/"
        ) -> "list[UnsupportedResource]":
            """Return what of resources this machine cannot do, tried out in a passing group.

            For a caller that warns and drops, as Docker does. Raises as ``create`` else.
            """

        def lacking(self, fields: Iterable[str]) -> list[str]:
            """Return those of some fields (``memory.swap``) that the kernel has no file for.

            Nothing is made or tried: a value may still be refused.
            """
