"""Named places in the engine's steps where a test may have the process killed.

``KNARR_TEST_CRASH=engine:STEP`` kills this process with SIGKILL when it gets to
STEP, so that tests/crash can show that ``recover`` puts everything right.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "KNARR_TEST_CRASH"

STEPS = (
    "create.row",
    "create.snapshot",
    "create.directory",
    "create.spec",
    "start.rundir",
    "start.announced",
    "start.launched",
    "remove.marked",
    "remove.snapshot",
    "remove.rundir",
    "remove.directory",
)
COPY_STEP = "still"  # while a commit or a clone has a container stand still
NETWORK_STEPS = (
    "network.made",
    "network.joined",
    "network.told",
    "network.configured",
    "network.marked",
    "network.unmade",
)
FORCED_STEP = "remove.forced"  # a removal of one that runs is begun, and it runs yet
PAUSE_STEPS = ("pause.noted", "pause.frozen", "pause.thawed")


_chosen = os.environ.get(VARIABLE, "").removeprefix("engine:")


def reached(step: str) -> None:
    """Die here by SIGKILL when the environment asked for it at our start; return otherwise."""
    if step == _chosen:
        os.kill(os.getpid(), signal.SIGKILL)
