"""Starting containers because their policies want it: after an end, and after a boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import start
from knarr.engine.state import is_due, read_state_file
from knarr.supervisor import restart

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord

_TRIES = 5


def start_after_boot(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
    """Start a container that does not run since a boot; False where its policy does not want it.

    As with Docker, ``always`` also starts one that was stopped. The caller holds its lock.
    Raises what a start raises.
    """
    wanted = restart.rules(paths.exit)
    if wanted is None:
        return False
    code = int((read_state_file(paths.exit) or {}).get("exit_code") or 0)
    if wanted["policy"] != "always" and not restart.allowed(wanted, code, 0):
        return False
    _start(engine, record, count=0, seconds=0)
    return True


def start_again(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
    """Start a container whose policy wants it; the caller holds its lock. False: it does not.

    Only once for each end: who was to do it may come after somebody who took it for dead.
    Raises what a start raises; that is noted as the reason why it does not run.
    """
    files = (paths.state, paths.exit, paths.exit_before)
    before = next(filter(None, map(read_state_file, files)), None)
    if before is None or not is_due(before, paths):
        return False
    progress = before["restart"]
    _start(
        engine,
        record,
        count=int(progress.get("count") or 0),
        seconds=progress.get("seconds") or 0,
    )
    return True


def _start(engine: Engine, record: ContainerRecord, *, count: int, seconds: float) -> None:
    """Start a container. count: which start this is; seconds: the wait before it.

    When knarr's own processes are killed meanwhile it is tried again: nobody waits for it who
    would do that, and its policy does not give up for such a reason.
    """
    again = {"count": count, "seconds": seconds}
    for left in reversed(range(_TRIES)):
        try:
            start.start(engine, record, attach=False, again=again)
        except (errors.Unavailable, errors.Internal):
            if not left:
                raise
        else:
            return
