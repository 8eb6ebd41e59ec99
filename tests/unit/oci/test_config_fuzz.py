"""config.json as enemies write it: read, planned and written down as a program, without a machine.

What is wrong is said by a field's name, and nothing else comes out of it. KNARR_FUZZ_EXAMPLES sets
how many configurations are tried.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from knarr.cgroups import values
from knarr.cgroups.v1 import group as v1
from knarr.cgroups.v2 import group as v2
from knarr.errors import InvalidArgument
from knarr.oci import config as configs
from knarr.oci import create
from knarr.oci.fields import named
from knarr.runtime import child, fifogate, finalleg, process, waiting
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.fields import SpecError
from knarr.runtime.steps.mounts import BindMount
from tests.support import badconfigs

EXAMPLES = int(os.environ.get("KNARR_FUZZ_EXAMPLES", "600"))
NAMED = re.compile(
    r"(ociVersion|root|process|hostname|domainname|annotations|mounts|hooks|linux|/.*/config\.json"
    r"|config\.json)\b"
)
ALL = 2**41 - 1


def carry_as_far_as_possible(path: Path) -> None:
    """Do all that ``create`` does before there is anything to undo, and write the program down."""
    config = configs.read(str(path))
    states = str(path.parent / "states")
    request = create.Request(states, str(path.parent), None)  # type: ignore[arg-type]
    creation = create.Creation(request, "x", config)
    plan = creation.plan
    binds = sum(isinstance(step, BindMount) and step.is_prepared for step in plan.steps)
    setting = process.setting_for(plan, [True] * binds)
    stdio = None if plan.leg.terminal else (0, 1, 2)
    ending = finalleg.Ending(stdio, creation.filtered, None, ALL, has_proc=setting.has_proc)
    gate = fifogate.FifoGate("", "")
    gate.settle(ending)
    try:
        program = child.first(
            plan.unshare_flags, plan.steps, setting, plan.leg, ending, (), None, gate.emit
        )
        finalleg.set_cells(program, plan.leg, ending)
        waiting.resolve(plan.steps, setting)
    except RuntimeFailure as failure:
        raise InvalidArgument(named(plan.steps, failure).message) from failure
    resources = configs.resources_of(config)
    try:
        values.control_path("/" + configs.group_path(config, "x"))
    except ValueError as error:
        raise SpecError(f"linux.cgroupsPath: {error}") from error
    try:
        v1.plan({k: v for k, v in resources.items() if k != "unified"}, v1.CONTROLLERS, ())
        v2.plan({k: v for k, v in resources.items() if k not in ("memory", "network")})
    except ValueError as error:
        raise SpecError(f"linux.resources.{error}") from error


@pytest.mark.timeout(180 + EXAMPLES // 10)
@settings(max_examples=EXAMPLES)
@given(badconfigs.configs(badconfigs.full, badconfigs.private_users))
def test_whatever_is_wrong_is_named(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_bytes(data)
        try:
            carry_as_far_as_possible(file)
        except (SpecError, InvalidArgument) as error:
            text = str(error)
            assert NAMED.match(text), text
