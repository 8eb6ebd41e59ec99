"""Going through the motions of a start without making anything, so that its blocks are kept.

Done in the process from which those that make containers are forked.
"""

from knarr.kernel import caps
from knarr.kernel.namespaces import CLONE_NEWUSER
from knarr.kernel.seccomp import FILTER_SIZE, FilterProgram
from knarr.runtime import child, finalleg
from knarr.runtime.finalleg import Ending, FinalLeg
from knarr.runtime.plan import Plan
from knarr.runtime.process import setting_for
from knarr.runtime.processplan import exec_steps, final_leg
from knarr.runtime.program.builder import Program
from knarr.runtime.steps.base import Circumstances, Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ANY_FILE = 1000  # any number beyond the standard descriptors


def _ending(seen: Circumstances, *, in_userns: bool, has_proc: bool) -> Ending:
    permitted = caps.permitted(in_userns=in_userns)
    program = FilterProgram(bytes(FILTER_SIZE)) if seen.filtered else None
    init_fd = _ANY_FILE if seen.has_init else None
    return Ending(seen.stdio, program, init_fd, permitted, has_proc=has_proc)


def rehearse(plan: Plan, seen: Circumstances, *, whole: bool = False) -> Program:
    """Keep the blocks of a container's first process, and return its program.

    whole: with the steps whose blocks cannot be kept. Some of those look at files that a
    caller names, where whoever forks for everybody must not wait.
    Raises what ``child.first`` raises.
    """
    setting = setting_for(plan, seen.directories)
    steps = tuple(step for step in plan.steps if whole or step.key(setting) is not None)
    ending = _ending(seen, in_userns=plan.in_userns, has_proc=setting.has_proc)
    entrances = ("",) * seen.entrances
    return child.first(plan.unshare_flags, steps, setting, plan.leg, ending, entrances)


def rehearse_exec(
    process: "dict[str, Any]", linux: "dict[str, Any]", flags: int, seen: Circumstances
) -> None:
    """Keep the blocks of a further process of a container. Raises SpecError and others."""
    leg: FinalLeg = final_leg(process, linux)
    program = Program()
    setting = Setting.inside(leg)
    child.add_steps(program, exec_steps(process), setting)
    has_proc = leg.lsm_label is not None
    ending = _ending(seen, in_userns=bool(flags & CLONE_NEWUSER), has_proc=has_proc)
    finalleg.add(program, "exec", leg, ending)
