"""What is done to a container by its control group: it stands still, and goes on."""

from knarr.cgroups.processes import GONE
from knarr.errors import Conflict
from knarr.oci import interrupts
from knarr.oci.errors import not_running
from knarr.oci.state import Container


def pause(container: Container) -> None:
    """Have all processes stand still. Raises Conflict, TimeoutError when one does not.

    What fails or is interrupted lets them go on. Signals are held when it returns.
    """
    status = container.status()
    if status not in ("created", "running"):
        not_running(container.name, status)
    check_grouped(container, "pause")
    group = container.group()
    try:
        group.freeze()
        interrupts.hold()
        if container.status() != "paused":
            not_running(container.name, "stopped")  # it has just ended
    except BaseException:
        interrupts.hold()
        let_go_on(container)
        raise


def resume(container: Container) -> None:
    """Have all processes go on. Raises Conflict when they do not stand still."""
    status = container.status()
    if status != "paused":
        raise Conflict(f'container not paused: "{container.name}" is {status}')
    interrupts.hold()
    container.group().thaw()


def let_go_on(container: Container) -> None:
    """Have all processes go on, if there are any: the group may have been removed just now."""
    try:
        container.group().thaw()
    except OSError as error:
        if error.errno not in GONE:
            raise


def check_grouped(container: Container, what: str) -> None:
    """Raise Conflict for a container without a control group. what: the command."""
    if not container.grouped:
        raise Conflict(f'{what}: container "{container.name}" has no control group')
