"""Out-of-memory kills go into the journal when they happen, for containers with a memory limit.

One without a limit meets them only when the whole machine has no memory left; for that, and
where the kernel cannot tell, the event comes with the container's end.
"""

from knarr.cgroups import oom
from knarr.supervisor import journal


class OomWatch(oom.Watch):
    """A watch of a container that notes in the journal. run_dir: the container's."""

    __slots__ = ("_run_dir",)

    def __init__(self, run_dir: str, fd: int, manager: str, group: str, *, fresh: bool) -> None:
        self._run_dir = run_dir
        super().__init__(fd, manager, group, fresh=fresh)

    def note(self) -> None:
        """Put the event into the journal."""
        journal.note(self._run_dir, b"oom")
