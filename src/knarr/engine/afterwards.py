"""The commands that a supervisor becomes when its container has ended."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from knarr.config import Settings

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def command(settings: Settings, module: str, container_id: str) -> list[str]:
    """Return the argv that calls ``main`` of a module of this room, which ``reap.carry_out`` reads.

    It is ``python -I -c … PACKAGE_ROOT RUN_ROOT DATA_ROOT ID [POLICY]``.
    """
    code = (
        "import sys;sys.path.insert(0,sys.argv.pop(1));"
        f"from knarr.engine.{module} import main;main()"
    )
    return [
        sys.executable or "/usr/bin/python3", "-I", "-c", code, _PACKAGE_ROOT,
        settings.run_root, settings.data_root, container_id,
        *([settings.policy] if settings.policy else []),
    ]  # fmt: skip
