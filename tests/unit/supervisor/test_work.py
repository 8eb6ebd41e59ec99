"""What a caller is told of a request that failed."""

from __future__ import annotations

import pytest

from knarr import errors
from knarr.engine.launchfailure import explained
from knarr.runtime import packets
from knarr.supervisor import work
from knarr.supervisor.client import LaunchFailed


def test_a_supervisor_that_died_before_it_took_the_container_over() -> None:
    """Its maker finds nobody at the other end, which says nothing to who asked for the start."""
    maker, supervisor = packets.pair()
    supervisor.close()
    with pytest.raises(BrokenPipeError) as told:
        packets.send(maker, b"here it is", [])
    maker.close()
    failure = work._failure(told.value)["error"]
    error = explained(LaunchFailed(failure["kind"], failure["message"]), "web")
    assert isinstance(error, errors.Unavailable)
    assert str(error) == (
        "container web: a process of knarr that was at work for it was killed; try again"
    )
