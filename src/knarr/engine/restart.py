"""``restart``: a container ends and is started again, without anybody taking it for removed."""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import held, remove, restartrules, start, stop, waiting
from knarr.engine.state import read_state_file
from knarr.kernel import process

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord


def restart(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    *,
    timeout: int | None = None,
    signal: str | int | None = None,
) -> None:
    """Stop the container if it runs, then start it; see ``stop.stop`` for timeout and signal.

    It is not removed for that end, by whom its auto_remove calls or by a prune: its lock is held
    from before it, and whoever comes to remove it finds it running. Raises as a start, Conflict
    for a sandbox, InvalidArgument for an unknown signal.
    """
    if record.config.kill_on_owner_exit:
        raise errors.Conflict(
            f"Cannot restart container {record.name}: it lives as long as the program that made it"
        )
    with paths.locked():
        record = held.startable(engine, paths)
        _stop_for_good(engine, record, paths, timeout, signal)
        _start(engine, record, paths)


def _stop_for_good(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    timeout: int | None,
    signal: str | int | None,
) -> None:
    """Stop a container and await its supervisor: with auto_remove it removes its own traces.

    Nothing that its policy wants follows. The caller holds the container's lock.
    """
    if restartrules.set_stopped(paths, stopped=True) and restartrules.cancel(paths):
        return
    pid = int((read_state_file(paths.state) or {}).get("supervisor_pid") or 0)
    with contextlib.ExitStack() as open_files:
        try:
            supervisor = process.pidfd_open(pid) if pid else -1
            if supervisor >= 0:
                open_files.callback(os.close, supervisor)
        except ProcessLookupError:
            supervisor = -1  # it died: whoever stops the container puts that right
        with contextlib.suppress(errors.NotModified):
            stop.stop(engine, record, paths, timeout=timeout, signal=signal, held=True)
            if supervisor >= 0:
                select.select([supervisor], [], [], waiting.SUPERVISOR_SECONDS)


def _start(engine: Engine, record: ContainerRecord, paths: Paths) -> None:
    """Start a container whose lock the caller holds."""
    record = held.row(engine, paths)
    with (
        contextlib.suppress(errors.NotModified),  # started by somebody else since
        remove.removed_if_not_started(engine, record, paths),
    ):
        start.start(engine, record, attach=False)
