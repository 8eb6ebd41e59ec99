"""Events: what happens to containers and images, as ``docker events`` tells it."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine.paths import prepare_run_root
from knarr.supervisor import journal
from knarr.supervisor import state as states

if TYPE_CHECKING:
    from knarr.config import Settings
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord

_encode = json.JSONEncoder(separators=(",", ":")).encode


def path(settings: Settings) -> str:
    """Return the path of the journal."""
    return f"{settings.run_root}/{journal.NAME}"


def note(engine: Engine, record: ContainerRecord, action: str, **more: str) -> None:
    """Tell what was done to a container. more: further attributes of the event."""
    # Inside an actor that ends with attributes: ``{"ID":…,"Attributes":{…`` and no braces.
    added = f",{_encode(more)[1:-1]}" if more else ""
    body = journal.event(
        _encode(action)[1:-1].encode(), actor(engine, record).encode(), added.encode()
    )
    _append(engine.settings, body)


def _append(settings: Settings, body: bytes) -> None:
    if not journal.append(path(settings), body):
        with contextlib.suppress(errors.KnarrError, OSError):
            prepare_run_root(settings.run_root)
            journal.append(path(settings), body)


def note_image(engine: Engine, action: str, image_id: str, name: str = "") -> None:
    """Tell what was done to an image. name: the one it has, had, or gets."""
    attributes = {"name": name or image_id}
    text = _encode({
        "Type": "image",
        "Action": action,
        "Actor": {"ID": image_id, "Attributes": attributes},
        "scope": "local",
    })  # fmt: skip
    _append(engine.settings, text[1:-1].encode())


def note_network(
    engine: Engine, action: str, network_id: str, name: str, driver: str, container: str = ""
) -> None:
    """Tell what was done to a network. container: whom it connected, or disconnected."""
    _append(engine.settings, network_event(action, network_id, name, driver, container).encode())


def network_event(action: str, network_id: str, name: str, driver: str, container: str = "") -> str:
    """Return the body of a network's event, for whoever tells it."""
    attributes = {"container": container} if container else {}
    text = _encode({
        "Type": "network",
        "Action": action,
        "Actor": {"ID": network_id, "Attributes": {**attributes, "name": name, "type": driver}},
        "scope": "local",
    })  # fmt: skip
    return text[1:-1]


def actor(engine: Engine, record: ContainerRecord) -> str:
    """Return the actor of a container's events, without the braces at the end."""
    try:
        labels = engine.labels(record)
    except errors.KnarrError:
        labels = record.config.labels  # a damaged image is not the event's business
    attributes = {**labels, "image": record.config.image, "name": record.name}
    return _encode({"ID": record.id, "Attributes": attributes})[:-2]


def introduce(
    engine: Engine, record: ContainerRecord, paths: Paths, *, attached: bool = False
) -> None:
    """Write down who a container is for what is told by its supervisor and others below us.

    Written anew under the same name when the container is renamed. attached: somebody is, from
    the beginning, which is told. Raises OSError.
    """
    text = f"{path(engine.settings)}\n{actor(engine, record)}".encode()
    states.replace(paths.run, text, journal.ACTOR)
    if attached:
        note(engine, record, "attach")


def note_signal(engine: Engine, record: ContainerRecord, number: int) -> None:
    """Tell a signal, before it can have an effect."""
    note(engine, record, "kill", signal=str(number))


def renamed(engine: Engine, record: ContainerRecord, paths: Paths, before: str) -> None:
    """Tell that a container has another name than before."""
    with contextlib.suppress(FileNotFoundError):  # it does not run
        introduce(engine, record, paths)
    note(engine, record, "rename", oldName=f"/{before}")


def note_end(engine: Engine, record: ContainerRecord, code: int) -> None:
    """Tell an end that no supervisor told."""
    note(engine, record, "die", exitCode=str(code))
