"""``container prune``: containers that do not run are removed, each as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from knarr import errors
from knarr.engine import gone
from knarr.images import labels, times

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.engine import Engine

Test = Callable[["Container"], bool]
KEYS = frozenset({"label", "label!", "until"})
# One that somebody began to remove and did not see through is to go too.
_STOPPED = ("created", "exited", "dead", "removing")


def prune(engine: Engine, filters: Mapping[str, Sequence[str]]) -> tuple[list[str], int]:
    """Remove all containers that do not run; return their ids and the bytes freed.

    filters: ``until`` (a time, or an age), ``label``, ``label!``. An interrupt ends it
    once the container that is being removed is gone. Raises InvalidArgument for other filters.
    """
    test = compiled(filters)
    removed, freed = [], 0
    for container in engine.containers.list(all=True):
        if container.status not in _STOPPED or not test(container):
            continue
        size = gone.written(engine, container.id)  # 0 when its removal was begun before
        if _remove(container):
            removed.append(container.id)
            freed += size
    return removed, freed


def _remove(container: Container) -> bool:
    """Remove a container; False when somebody has started or removed it meanwhile."""
    try:
        container.remove()
    except (errors.Conflict, errors.NotFound):
        return False
    except errors.KnarrError:
        raise
    except BaseException as error:  # a signal's: what was begun is seen through
        if not isinstance(error, Exception):
            _remove(container)
        raise
    return True


def compiled(filters: Mapping[str, Sequence[str]]) -> Test:
    """Return the test that a container passes when it meets every filter.

    Raises InvalidArgument in Docker's words.
    """
    for name in filters:
        if name not in KEYS:
            raise errors.InvalidArgument(f"invalid filter '{name}'")
    untils = filters.get("until", ())
    if len(untils) > 1:
        raise errors.InvalidArgument("more than one until filter specified")
    limit = times.until(untils[0]).timestamp() * 1e9 if untils else None
    wanted, unwanted = filters.get("label", ()), filters.get("label!", ())

    def test(container: Container) -> bool:
        if limit is not None and container.created > limit:
            return False
        own = container.labels if wanted or unwanted else {}
        return all(labels.meets(own, each) for each in wanted) and not any(
            labels.meets(own, each) for each in unwanted
        )

    return test
