"""What the template learns from the processes forked from it: which programs are usual here.

The first start of its kind makes the blocks of its program anew, and tells the
launcher what it was. The template makes them too, and every later fork has
them. A lesson that is lost, too long or wrong costs time and nothing else.
"""

import _socket
import json
import sys

from knarr.runtime import rehearsal
from knarr.runtime.plan import plan
from knarr.runtime.program import kept
from knarr.runtime.steps.base import Circumstances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT = 64 * 1024

_teacher: "_socket.socket | None" = None
_known = 0


def open_school() -> "_socket.socket":
    """Return the socket on which lessons arrive; its other end passes to every fork."""
    global _teacher
    flags = _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    pupil, _teacher = _socket.socketpair(_socket.AF_UNIX, flags)
    return pupil


def teacher() -> int:
    """Return the descriptor that a fork has to keep, -1 when there is no launcher."""
    return -1 if _teacher is None else _teacher.fileno()


def begin() -> None:
    """Remember what is known before a program is made."""
    global _known
    _known = kept.count()


def teach(seen: Circumstances, **what: "Any") -> None:
    """Tell the launcher of a program whose blocks were not all known. ``what``: see ``learn``."""
    if _teacher is None or kept.count() == _known:
        return
    lesson = {**what, "seen": {name: getattr(seen, name) for name in seen.__slots__}}
    try:
        _teacher.send(b"%d " % _known + json.dumps(lesson).encode())
    except OSError:
        # Too long, or too many at once: it will be told again.
        return


def hear(pupil: "_socket.socket") -> bytes:
    """Return the lesson that waits, empty when there is nothing new in it."""
    try:
        known, _, body = pupil.recv(_LIMIT).partition(b" ")
    except OSError:
        return b""
    # One whose teacher did not know what is known by now: others will tell what is still new.
    return body if known == b"%d" % kept.count() else b""


def learn(body: bytes) -> None:
    """Take one lesson: ``spec`` of a container, or ``process``, ``linux``, ``flags`` of an exec."""
    try:
        lesson = json.loads(body)
        seen = Circumstances(**lesson["seen"])
        if "spec" in lesson:
            rehearsal.rehearse(plan(lesson["spec"]), seen)
        else:
            rehearsal.rehearse_exec(lesson["process"], lesson["linux"], lesson["flags"], seen)
    except Exception as error:  # whatever is wrong with it, the launcher has to live on
        print(f"knarr launcher: a lesson was wrong: {error!r}", file=sys.stderr)


def forget(pupil: "_socket.socket") -> None:
    """Drop a lesson that nobody can take."""
    try:
        pupil.recv(1)
    except OSError:
        # It was taken.
        return
