"""What else the resolver keeps an eye on, since it is there as long as there are endpoints.

A watch has a descriptor and is told when that is readable. The firewall's is made where the
firewall is known; it has the rules installed again when they have vanished.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Watch(Protocol):
        """Something with a descriptor that the resolver's loop waits for.

        returned: called when what it watches is there again.
        """

        returned: Callable[[], None]

        def fileno(self) -> int:
            """Return the descriptor."""

        def readable(self, events: int) -> None:
            """Take what has come, without waiting. Raises nothing."""

        def close(self) -> None:
            """Close the descriptor."""
