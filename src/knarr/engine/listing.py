"""``ps``: which containers there are, and Docker's filters on them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from knarr.engine.container import Container
from knarr.engine.ports import specs
from knarr.engine.records import CREATING
from knarr.errors import InvalidArgument, NotFound
from knarr.images import labels

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState

Filters = Mapping[str, Sequence[str]]
Test = Callable[[Container, "ContainerState", str], bool]

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")
STATUSES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")


class Listed(NamedTuple):
    """A container and the state that it was found in."""

    container: Container
    state: ContainerState


def select(
    engine: Engine, *, all: bool, filters: Filters | None, limit: int | None
) -> list[Listed]:
    """Return the containers that match, the newest first; one that restarts counts as running.

    Values of one filter are alternatives, except ``label``, whose values must
    all hold. Raises InvalidArgument for unknown filters and statuses.
    """
    wanted = {name: list(values) for name, values in (filters or {}).items()}
    _check(wanted)
    show_all = all or limit is not None or "status" in wanted or "exited" in wanted
    bounds = _bounds(engine, wanted)
    found: list[Listed] = []
    records = engine.table.all()
    present = None if show_all else _with_run_directory(engine)
    for record in records:
        if limit is not None and len(found) >= limit:
            break
        if present is not None and record.id not in present:
            continue
        if not bounds[0] < record.created < bounds[1]:
            continue
        container = Container(engine, record)
        state = container.state
        if not (show_all or state.running or state.restarting):
            continue
        if not is_complete(record, state.started_at > 0, container):
            continue
        if all_match(container, state, wanted):
            found.append(Listed(container, state))
    return found


def _with_run_directory(engine: Engine) -> set[str]:
    """Return ids among which are those of all containers that run or are to be started again."""
    try:
        return set(os.listdir(f"{engine.settings.run_root}/containers"))
    except FileNotFoundError:
        return set()


def is_complete(record: ContainerRecord, live: bool, container: Container) -> bool:
    """Return False for a row whose creation has not finished (nobody should see it yet)."""
    return record.state != CREATING or live or container.has_spec()


def all_match(container: Container, state: ContainerState, wanted: Filters) -> bool:
    """Return whether the container passes every filter that looks at it alone."""
    for name, values in wanted.items():
        test = _TESTS.get(name)
        if test is None:
            continue
        rule = all if name == "label" else any
        if not rule(test(container, state, value) for value in values):
            return False
    return True


def _check(wanted: Filters) -> None:
    for name in wanted:
        if name not in _TESTS and name not in ("before", "since"):
            raise InvalidArgument(f"invalid filter '{name}'")
    for status in wanted.get("status", ()):
        if status not in STATUSES:
            raise InvalidArgument(f"invalid filter 'status={status}'")
    for value in wanted.get("is-task", ()):
        if value not in (*_TRUE, *_FALSE):
            raise InvalidArgument(f"invalid filter 'is-task={value}'")
    for value in wanted.get("health", ()):
        if value not in _HEALTHS:
            raise InvalidArgument(
                f"invalid filter 'health={value}': invalid value for health ({value}): "
                f"must be one of {', '.join(_HEALTHS)}"
            )
    for name in ("expose", "publish"):
        for value in wanted.get(name, ()):
            _ports(value, name)
    for code in wanted.get("exited", ()):
        if not code.lstrip("-").isdigit():
            raise InvalidArgument(f"invalid filter 'exited={code}'")


def _bounds(engine: Engine, wanted: Filters) -> tuple[int, int]:
    """Return the creation times between which ``since`` and ``before`` allow."""
    low, high = -1, 1 << 63
    for name in wanted.get("since", ()):
        low = max(low, engine.table.find(name).created)
    for name in wanted.get("before", ()):
        high = min(high, engine.table.find(name).created)
    return low, high


def _by_name(container: Container, state: ContainerState, value: str) -> bool:
    del state
    pattern = value.removeprefix("/")
    try:
        return re.search(pattern, container.name) is not None
    except re.error:
        return pattern in container.name


def _by_label(container: Container, state: ContainerState, value: str) -> bool:
    del state
    return labels.meets(container.labels, value)


def _by_ancestor(container: Container, state: ContainerState, value: str) -> bool:
    del state
    if container.image == value or container.image_id.removeprefix("sha256:").startswith(
        value.removeprefix("sha256:")
    ):
        return True
    try:
        return container.is_from(value)
    except (NotFound, InvalidArgument):
        return False


def _by_id(container: Container, state: ContainerState, value: str) -> bool:
    del state
    return container.id.startswith(value)


def _by_status(container: Container, state: ContainerState, value: str) -> bool:
    del container
    return state.status == value


def _by_exit(container: Container, state: ContainerState, value: str) -> bool:
    del container
    return state.status == "exited" and state.exit_code == int(value)


def _by_volume(container: Container, state: ContainerState, value: str) -> bool:
    """Return whether something that is mounted comes from there, or is there inside."""
    del state
    config = container.config
    places = [place for bind in config.binds for place in (bind.source, bind.target)]
    places += [tmpfs.target for tmpfs in config.tmpfs]
    return value.rstrip("/") in [place.rstrip("/") for place in places]


def _by_health(container: Container, state: ContainerState, value: str) -> bool:
    del container
    return (state.health or "none") == value


def _by_task(container: Container, state: ContainerState, value: str) -> bool:
    del container, state
    return value in _FALSE  # tasks are Swarm's


def _by_exposed(container: Container, state: ContainerState, value: str) -> bool:
    """Return whether it exposes one of the ports of ``80``, ``80/udp`` or ``80-90/tcp``."""
    del state
    return bool(_ports(value, "expose") & container.exposed_ports.keys())


def _by_published(container: Container, state: ContainerState, value: str) -> bool:
    """Return whether one of these ports of the host leads to it."""
    del container
    there = {f"{each['host_port']}/{each['proto']}" for each in state.ports}
    return bool(_ports(value, "publish") & there)


def _ports(text: str, name: str) -> set[str]:
    """Return the ports of a filter's value. Raises InvalidArgument."""
    if ":" in text:
        raise InvalidArgument(f"filter for '{name}' should not contain ':': {text}")
    try:
        found = specs.ports(text)
    except ValueError:
        raise InvalidArgument(f"invalid filter '{name}={text}'") from None
    if any(port.startswith("0/") for port in found):
        raise InvalidArgument(f"invalid filter '{name}={text}'")
    return found


def _by_network(container: Container, state: ContainerState, value: str) -> bool:
    """Return whether it is, or is to be, on the network with this name or id."""
    del state
    return container.is_on(value)


_TESTS: dict[str, Test] = {
    "id": _by_id,
    "name": _by_name,
    "label": _by_label,
    "status": _by_status,
    "exited": _by_exit,
    "ancestor": _by_ancestor,
    "network": _by_network,
    "volume": _by_volume,
    "health": _by_health,
    "is-task": _by_task,
    "expose": _by_exposed,
    "publish": _by_published,
}
