"""What the resolver is told so that it watches over the firewall's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knarr.networks import naming

if TYPE_CHECKING:
    from knarr.config import Settings

# Its first word comes before all that it imports: the resolver waits for it.
_PROGRAM = (
    "import os; os.write(int(sys.argv[4]), b'1'); "
    "from knarr.engine.restoring import main; main(sys.argv[2], sys.argv[3])"
)


def words(settings: Settings) -> tuple[str, ...]:
    """Return the table's name, and the program that restores it with its words."""
    return naming.table(settings.data_root), _PROGRAM, settings.data_root, settings.run_root
