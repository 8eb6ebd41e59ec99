"""The journal of events of one run root: a line of JSON for each, in the order of their times.

Whoever does something appends what it did: an engine in any process, the maker of a
container, its supervisor. The lock on the file is held from reading the clock to the end
of the write, so that lines stand in the order of their times. A file that has become long
is renamed once, so that there are at most two; whoever waited for its lock begins anew.
"""

import fcntl
import os
import time

NAME = "events"
OLDER = ".1"
# In a container's run directory: where its events go, and the beginning of their actor.
ACTOR = "actor"
LIMIT = 8 << 20
_LONGEST = 1 << 20
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def append(path: str, body: bytes) -> bool:
    """Append an event, all but its time: members of a JSON object, without braces.

    What cannot be written is lost, and the answer False: no container fails for that.
    """
    try:
        while not _append(path, body):
            continue
    except OSError:  # a full disk, or there is no run root
        return False
    return True


def _append(path: str, body: bytes) -> bool:
    """Append to the present file; False when it has just become the older one."""
    fd = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        here = os.fstat(fd)
        try:
            if os.stat(path).st_ino != here.st_ino:
                return False
        except FileNotFoundError:
            return False
        now = time.time_ns()
        line = b'{%s,"time":%d,"timeNano":%d}\n' % (body, now // 1_000_000_000, now)
        if os.write(fd, line) < len(line):
            os.ftruncate(fd, here.st_size)
        elif here.st_size > LIMIT:
            os.rename(path, path + OLDER)
    finally:
        os.close(fd)
    return True


def event(action: bytes, actor: bytes, more: bytes = b"") -> bytes:
    """Return the body of a container's event.

    action: as a JSON string has it, without quotes. actor: as in the file ``ACTOR``. more:
    further attributes, members of a JSON object with a comma before each.
    """
    return b'"Type":"container","Action":"%s","Actor":%s%s}},"scope":"local"' % (
        action,
        actor,
        more,
    )


def note(run_dir: str, action: bytes, more: bytes = b"") -> None:
    """Append an event of the container with this run directory; nothing when it has no actor."""
    try:
        fd = os.open(f"{run_dir}/{ACTOR}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        text = os.read(fd, _LONGEST)
    finally:
        os.close(fd)
    path, _, actor = text.partition(b"\n")
    append(os.fsdecode(path), event(action, actor, more))
