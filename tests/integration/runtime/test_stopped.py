"""A container stops those who join it."""

from __future__ import annotations

from knarr.supervisor.client import LaunchFailed
from tests.support.launch import Box
from tests.support.waiting import wait_until

# Stops every process of knarr that shows, until told to end.
_STOPPING = r"""
echo 1 > /ready
while [ ! -e /stop ]; do
  for p in /proc/[0-9]*; do
    read name 2>/dev/null < $p/comm || continue
    case "$name" in knarr*) kill -STOP ${p#/proc/} ;; esac
  done 2>/dev/null
done
"""


def test_a_stopped_command_is_an_error_and_no_end_of_waiting(box: Box) -> None:
    """Whoever asks for commands again and again would gather processes outside the container."""
    one = box.start("sh", "-c", "until [ -e /go ]; do sleep 0.01; done;" + _STOPPING)
    assert one.run("touch", "/go") == (0, b"")
    messages: set[str] = set()

    def stopped() -> bool:
        try:
            one.run("true")
        except LaunchFailed as error:
            messages.add(error.message)
        return bool(messages)

    wait_until(stopped)
    assert messages == {"exec: stopped from inside before the command ran"}
    one.kill()
