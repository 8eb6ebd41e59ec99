"""Starting containers again: those that ended, and those that a boot ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.engine import create, start
from knarr.engine.state import read_state_file
from knarr.supervisor import restart

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


def after_boot(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
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
    prepared = create.load(engine, record)
    start.start(engine, prepared, attach=False, again={"count": 0, "seconds": 0})
    return True


def again(engine: Engine, record: ContainerRecord, paths: Paths) -> bool:
    """Start a container whose policy wants it; the caller holds its lock. False: it does not.

    Raises what a start raises; that is noted as the reason why it does not run.
    """
    before = read_state_file(paths.state) or read_state_file(paths.exit) or {}
    wanted = restart.rules(paths.exit)
    if wanted is None or before.get("status") == "running":
        return False
    progress = before.get("restart") or {}
    count = int(progress.get("count") or 0)
    if not restart.allowed(wanted, int(before.get("exit_code") or 0), count - 1):
        return False
    prepared = create.load(engine, record)
    note = {"count": count, "seconds": progress.get("seconds") or 0}
    start.start(engine, prepared, attach=False, again=note)
    return True
