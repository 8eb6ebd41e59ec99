"""A user namespace that nobody is in: mounts are seen through its id map."""

import os

from knarr.kernel.clone import clone3
from knarr.kernel.namespaces import CLONE_NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def make(uids: "Sequence[tuple[int, int, int]]", gids: "Sequence[tuple[int, int, int]]") -> int:
    """Return a descriptor of a new user namespace; the caller is single-threaded. OSError.

    uids, gids: first id inside, first id outside, how many (user_namespaces(7)).
    """
    reader, writer = os.pipe()
    pid, pidfd = clone3(CLONE_NEWUSER)
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        for name, maps in (("uid_map", uids), ("gid_map", gids)):
            text = "\n".join(f"{inside} {outside} {size}" for inside, outside, size in maps)
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)
        os.waitpid(pid, 0)
        os.close(pidfd)
