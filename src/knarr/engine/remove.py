"""``rm``: everything of a container goes, in an order from which ``recover`` can go on."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import events, held, restartrules, stop, tidy, waiting
from knarr.engine.crashpoint import reached
from knarr.engine.records import CREATED, REMOVING
from knarr.engine.state import merged
from knarr.engine.translate import translated
from knarr.images import lastuse
from knarr.supervisor import undo

if TYPE_CHECKING:
    from knarr.engine.attach import Attachment
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord

_TRIES = 5


def remove(engine: Engine, record: ContainerRecord, paths: Paths, *, force: bool = False) -> None:
    """Remove the container. Raises Conflict while it runs (unless ``force``), NotFound."""
    with translated(f"container {record.name}"), paths.locked():
        remove_held(engine, held.row(engine, paths), paths, force=force)


def remove_held(engine: Engine, record: ContainerRecord, paths: Paths, *, force: bool) -> None:
    """Remove a container that exists and whose lock the caller holds. Raises as :func:`remove`.

    A removal that was begun is seen through, whatever still runs of it.
    """
    if record.state == REMOVING:
        record, force = replace(record, state=CREATED), True
    waiting.await_start(paths)
    state = merged(record, paths)
    if state.stale and not force:
        state = held.settled(engine, record, paths)
    if state.running or state.restarting:
        if not force:
            advice = ": stop the container before removing or force remove"
            raise errors.Conflict(
                f'cannot remove container "/{record.name}": container is {state.status}'
                f"{' and must be unpaused first' if state.paused else advice}"
            )
        engine.table.mark_removing(record.id)  # whoever kills it has to see it through
        reached("remove.forced")
        restartrules.set_stopped(paths, stopped=True)
        if state.restarting:
            waiting.kill_supervisor(paths)
        stop.kill_held(engine, record, paths)
    erase(engine, record, paths)


@contextmanager
def removed_if_not_started(engine: Engine, record: ContainerRecord, paths: Paths) -> Iterator[None]:
    """Have a container with auto_remove removed when the block fails to start it, as Docker does.

    The caller holds its lock.
    """
    try:
        yield
    except errors.NotModified:
        raise  # it runs
    except BaseException:  # also a signal's: whoever had it started will not come back for it
        if record.auto_remove:
            remove_held(engine, record, paths, force=True)
        raise


def erase(engine: Engine, record: ContainerRecord, paths: Paths, *, settle: bool = True) -> None:
    """Take away all of a container that does not run; the caller holds its lock.

    A row with ``--rm`` needs no mark: that it has ended already says that it is
    to go. Whatever is missing is taken as removed before. settle: wait for the
    supervisor and remove the run directory; else the supervisor does that, and
    the bytes on disk are deleted off the path too.
    """
    if not record.auto_remove:
        engine.table.mark_removing(record.id)
    told = os.path.exists(paths.spec)  # one that was never complete was never told of
    reached("remove.marked")
    if settle:
        waiting.await_supervisor(paths)
        undo.replay(paths.run)
    engine.driver.remove(record.id)
    reached("remove.snapshot")
    tidy.put_aside(engine.settings.data_root, paths.data)
    reached("remove.directory")
    engine.table.delete(record.id, durable=not record.auto_remove)
    lastuse.note(engine.content.root, record.image_id)
    if told:
        events.note(engine, record, "destroy")
    if settle:
        _delete_run_directory(paths)
    reached("remove.rundir")
    paths.forget_lock()
    if settle:
        engine.empty_trash()
    else:
        engine.tidier.later()


def erase_files(engine: Engine, paths: Paths) -> bool:
    """Remove what there is on disk of a container without a row; return whether there was any."""
    existed = paths.id in engine.driver.list_keys()
    engine.driver.remove(paths.id)
    for path in (paths.data, paths.run):
        existed = _delete(path) or existed
    paths.forget_lock()
    return existed


def _delete_run_directory(paths: Paths) -> None:
    """Remove the run directory, once more where a supervisor has come to it in between.

    That is the successor of one that was killed. It finds nothing to do, but leaves its lock.
    """
    for _ in range(_TRIES):
        try:
            _delete(paths.run)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            waiting.await_supervisor(paths)
        else:
            return
    raise errors.Unavailable(f"{paths.run}: is being used by somebody else")


def _delete(path: str) -> bool:
    """Remove a directory and all below it; False when it is not there. Raises OSError."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return False
    return True


def finish(engine: Engine, record: ContainerRecord, paths: Paths, attachment: Attachment) -> None:
    """Do what follows from an exit that ``attachment`` saw: with auto_remove, remove it all.

    Only then the supervisor is told that it was done; should this process die
    before, the supervisor has it done. It still undoes what it made and
    removes its run directory, while we go on.
    """
    if record.auto_remove:
        with translated(f"container {record.name}"), paths.locked():
            # Somebody else may have removed it: nothing of that is done twice.
            if merged(record, paths).running:
                return  # restarted meanwhile: its next end is another's to see
            erase(engine, record, paths, settle=False)
    attachment.acknowledge()
    attachment.close()


def reap(engine: Engine, container_id: str, paths: Paths) -> None:
    """Remove a container with auto_remove whose end nobody attached acknowledged."""
    with translated(f"container {container_id[:12]}"), paths.locked():
        record = engine.table.get(container_id)
        if record is None:
            erase_files(engine, paths)
        elif record.auto_remove and not merged(record, paths).running:
            erase(engine, record, paths)
