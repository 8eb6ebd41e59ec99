"""``Guard``: which policies hold, looked up anew for everything that they could refuse.

The machine's own policy is ``/etc/knarr/policy.toml``. Settings can name a further one
(``KNARR_POLICY``), and then both hold: nothing that a caller sets takes the machine's away.
Where there is none, that costs one look at a path that is not there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr import errors
from knarr.config import POLICY

if TYPE_CHECKING:
    from knarr.config import Settings
    from knarr.engine.policy.rules import Rules


class Guard:
    """The policies of one engine. machine: path of the one that always holds if it is there."""

    def __init__(self, settings: Settings, machine: str = POLICY) -> None:
        self._machine = machine
        self._data_root = settings.data_root
        self._further = settings.policy

    def files(self) -> list[str]:
        """Return the paths of the policy files that hold. Raises RefusedByPolicy."""
        found = []
        try:
            os.lstat(self._machine)
        except FileNotFoundError:
            pass  # this machine has none
        except OSError as error:
            raise errors.RefusedByPolicy(self._machine, "", f"stat: {error.strerror}") from error
        else:
            found.append(self._machine)
        if self._further and self._further != self._machine:
            found.append(self._further)  # which has to be there
        return found

    def rules(self) -> Rules | None:
        """Return the rules that hold now, None where there are none.

        Raises RefusedByPolicy for a file that cannot be trusted, or not be understood, and for a
        data root that others can write: what is checked lies there.
        """
        paths = self.files()
        if not paths:
            return None
        from knarr.engine.policy import file
        from knarr.engine.policy.rules import Rules

        rules = Rules([file.read(path) for path in paths])
        file.check_place(paths[0], self._data_root)
        return rules
