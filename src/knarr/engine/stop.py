"""``stop`` and ``kill``: signals, sent by the supervisor so that a reused pid is never hit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import events, pause, restartrules, waiting
from knarr.engine.specbuild import stop_signal
from knarr.engine.state import merged
from knarr.spec import signals

if TYPE_CHECKING:
    from knarr.engine.attach import Attachment
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord

DEFAULT_TIMEOUT = 10  # Docker's, in seconds
KILL = 9
HUNG_SECONDS = 15.0


def stop(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    *,
    timeout: int | None = None,
    signal: str | int | None = None,
    held: bool = False,
) -> None:
    """Send the stop signal, then SIGKILL when the container lives on for ``timeout`` seconds.

    timeout None: the container's own, else 10; -1 waits for ever. held: the caller holds the
    container's lock and does what follows from its end. Raises
    NotModified when it does not run, InvalidArgument for an unknown signal.
    """
    number = _number(signal) if signal is not None else signal_of(engine, record)
    seconds = timeout if timeout is not None else record.config.stop_timeout
    seconds = DEFAULT_TIMEOUT if seconds is None else seconds
    asked = not held and restartrules.forbid(engine, record, paths)
    while (attachment := connect(engine, record, paths, held=held)) is not None:
        asked = True
        with attachment:
            attachment.signal(number)
            _release(paths, attachment)
            try:
                ended = attachment.wait(None if seconds < 0 else float(seconds))
            except errors.Timeout:
                attachment.signal(KILL)
                pause.release(paths)
                ended = attachment.wait()
            if ended is not None and held:
                attachment.acknowledge()
        if ended is not None:
            break  # else the supervisor died: its successor is asked again
    if not asked:
        raise errors.NotModified(f"container {record.name} is not running")
    events.note(engine, record, "stop")


def kill(engine: Engine, record: ContainerRecord, paths: Paths, signal: str | int = "KILL") -> None:
    """Send one signal. Raises Conflict when it does not run, InvalidArgument for the signal.

    One that asks it to end has a paused container go on; any other waits until it does.
    """
    number = _number(signal)
    ending = number in (KILL, signal_of(engine, record))
    if ending:
        # As with Docker, a container that is asked to end is not started again.
        if restartrules.forbid(engine, record, paths):
            return
    delivered = sent = False
    while not delivered:
        attachment = connect(engine, record, paths)
        if attachment is None:
            if sent and number == KILL:
                return  # it ended before its supervisor could tell
            raise errors.Conflict(f"container {record.id} is not running")
        with attachment:
            attachment.signal(number)
            if ending:
                _release(paths, attachment)
            sent = True
            delivered = attachment.settle() if number != KILL else attachment.wait() is not None


def _release(paths: Paths, attachment: Attachment) -> None:
    """Let a paused container go on, to end or not; who checks its health is told."""
    if pause.release(paths):
        attachment.look()


def kill_held(engine: Engine, record: ContainerRecord, paths: Paths) -> None:
    """Kill the container if it runs and wait for its end; the caller holds its lock.

    A supervisor that does not answer is killed too: what it leaves is recovered.
    """
    while (attachment := connect(engine, record, paths, held=True)) is not None:
        with attachment:
            attachment.signal(KILL)
            pause.release(paths)
            try:
                if attachment.wait(HUNG_SECONDS) is not None:
                    attachment.acknowledge()  # what would reap it (--rm) would wait for our lock
            except errors.Timeout:
                _kill_group(paths)
                waiting.kill_supervisor(paths)


def _kill_group(paths: Paths) -> None:
    """Kill all of a container that does not end: whoever did so before may have died at it.

    It then stands still, by cgroup v1, and takes no signal. Raises OSError.
    """
    try:
        pause.running_group(paths).kill()
    except FileNotFoundError:
        return  # it has ended


def connect(
    engine: Engine, record: ContainerRecord, paths: Paths, *, held: bool = False
) -> Attachment | None:
    """Return a connection to the container's supervisor, None when the container has ended.

    A dead supervisor is first replaced by one that takes the container over.
    Signals that are sent by it are told. held: the caller holds the container's lock.
    """
    while True:
        state = merged(record, paths)
        if state.stale:
            if held and state.restarting:
                # Nothing runs, and to recover it would be to start it: perhaps the caller does
                # just that, and has to clear up after a start that failed.
                return None
            engine.recover_container(record, held=held)
            continue
        if not state.running:
            return None
        attachment = waiting.reach(record, paths)
        if attachment is not None:
            attachment.on_signal = partial(events.note_signal, engine, record)
            return attachment


def signal_of(engine: Engine, record: ContainerRecord) -> int:
    """Return the number of the signal that asks this container to stop."""
    config: ContainerConfig = record.config
    return stop_signal(config, {} if config.stop_signal else engine.image_config(record.image_id))


def _number(signal: str | int) -> int:
    try:
        return signals.parse(signal)
    except ValueError as error:
        raise errors.InvalidArgument(str(error)) from error
