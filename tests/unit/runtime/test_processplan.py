"""``process`` of a spec as the final leg; what it refuses is in test_plan.py."""

from __future__ import annotations

import resource

from knarr.runtime.plan import plan
from knarr.runtime.processplan import final_leg
from tests.support.launch import spec


def test_the_final_leg() -> None:
    leg = final_leg(
        {
            "args": ["a"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": ["CAP_KILL"]},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2**64 - 1}],
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
            "scheduler": {
                "policy": "SCHED_BATCH",
                "nice": 4,
                "flags": ["SCHED_FLAG_RESET_ON_FORK"],
            },
            "apparmorProfile": "knarr",
        },
        {"personality": {"domain": "LINUX32"}, "seccomp": {"flags": ["SECCOMP_FILTER_FLAG_LOG"]}},
    )
    assert leg.capabilities == {
        "bounding": 1,
        "effective": 0,
        "permitted": 0,
        "inheritable": 0,
        "ambient": 32,
    }
    assert leg.rlimits == ((resource.RLIMIT_NOFILE, 5, -1),)
    assert leg.io_priority == 2 << 13 | 3
    assert leg.scheduler is not None
    assert (leg.scheduler["policy"], leg.scheduler["nice"], leg.scheduler["flags"]) == (3, 4, 1)
    assert (leg.personality, leg.umask, leg.seccomp_flags) == (8, 0o022, 2)
    assert leg.lsm_label == ("apparmor", "exec knarr")


def test_a_capability_that_nobody_knows_is_told_and_left_out() -> None:
    made = spec("sh")
    assert plan(made).warnings == ()
    expected = plan(made).leg.capabilities
    for kind, names in made["process"]["capabilities"].items():
        made["process"]["capabilities"][kind] = [*names, "CAP_FLY", "chown"]
    found = plan(made)
    assert found.leg.capabilities == expected
    assert found.warnings == (
        "process.capabilities: 'CAP_FLY' is not known and left out",
        "process.capabilities: 'chown' is not known and left out",
    )
    made["process"]["capabilities"] = {"bounding": ["CAP_CHOWN", "CAP_CHOWN"], "ambient": None}
    assert plan(made).warnings == ()
