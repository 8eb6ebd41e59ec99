"""Commands that take several names: each is done, errors are told one by one, the rest goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from knarr.cli import human
from knarr.errors import KnarrError


def for_each(names: Iterable[str], act: Callable[[str], None]) -> int:
    """Call ``act`` for every name; return 0, or 1 when one of them raised a KnarrError."""
    code = 0
    for name in names:
        try:
            act(name)
        except KnarrError as error:
            sys.stdout.flush()
            print(f"Error: {human.visible(str(error))}", file=sys.stderr)
            code = 1
    return code
