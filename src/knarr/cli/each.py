"""Commands that take several names: each is done, errors are told one by one, the rest goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from knarr.cli import exitcodes, human
from knarr.errors import KnarrError


def for_each(names: Iterable[str], act: Callable[[str], None]) -> int:
    """Call ``act`` for every name; return 0, 1 when one of them raised a KnarrError.

    125 when the last of these came from a policy.
    """
    code = 0
    for name in names:
        try:
            act(name)
        except KnarrError as error:
            sys.stdout.flush()
            print(f"Error: {human.visible(str(error))}", file=sys.stderr)
            code = exitcodes.for_refusal(error)
    return code
