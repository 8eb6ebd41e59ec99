"""Where ``knarr-oci`` begins: what a command needs is loaded once, where it stays.

What puts a process into a container begins anew from a file that nobody can write to
(``protection``), so nothing is imported before that.
"""

import gc

from knarr.oci import protection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(words: "Sequence[str]") -> "NoReturn":
    """Carry a command line out, and end with its status."""
    # Most commands end before there is anything to collect; those that last turn it on again.
    gc.disable()
    # By any word: which one is the command is looked at later, and then once more.
    if not protection.ENTERING.isdisjoint(words) and not protection.is_put_off(words):
        try:
            protection.be_read_only()
        except OSError:
            pass  # ``carry_out`` tries again, and says why not
    from knarr.oci.main import main as carry_out

    carry_out(words)
