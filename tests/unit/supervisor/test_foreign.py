"""What has to do with containers of other runtimes is loaded for these alone."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
from knarr.supervisor import drill, launcher, work
print(*(name for name in sys.modules if "foreign" in name or "userfiles" in name))
"""


def test_a_launcher_does_not_load_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
