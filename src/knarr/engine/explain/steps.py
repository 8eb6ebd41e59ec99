"""The steps of its start in their order: what was done, by whom, and when.

With times where the start was explained (``run --explain``): its maker then left a file in
the run directory. Otherwise the program is worked out again from the spec, without times.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from knarr.engine import runtimes
from knarr.engine.explain import stepwords
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.fields import SpecError
from knarr.supervisor.starter import TIMES

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject
    from knarr.runtime.program.builder import Program

MAKER, PROCESS = "maker", "process"
_ANY_PIPE = 16  # any descriptor beyond the standard ones
_UNTIMED = "not timed: it was not started with --explain"
_NEVER = "it has not been started: this is what a start does"
# The steps before which the maker does nothing more, in a plan without times.
_GATE, _LAST_LEG = "ready", "start"


def explain(subject: Subject, *, calls: bool) -> dict[str, Any]:
    """Return ``Start``. At, Took: ns since the request, None where they are not known.

    calls: with each operation of a step. CallCount: how many system calls were made; of a start
    without times how many there are at most.
    """
    recorded = _recorded(subject)
    if recorded is not None:
        found = _timed(recorded)
        note = ""
    else:
        found, note = _worked_out(subject)
    if not calls:
        for each in found:
            del each["Calls"]
    total = max((each["At"] for each in found if each["At"] is not None), default=None)
    return {"Timed": recorded is not None, "Note": note, "Total": total, "Steps": found}


def _recorded(subject: Subject) -> dict[str, Any] | None:
    """Return what the maker has left, None where the last start was not timed."""
    try:
        with open(f"{subject.paths.run}/{TIMES}", "rb") as file:
            value = json.loads(file.read())
    except FileNotFoundError:
        return None
    return value if isinstance(value, dict) else None


def _timed(recorded: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of both, in the order in which they were done."""
    notes: list[list[Any]] = recorded["notes"]
    asked = int(notes[0][1])
    found = []
    before, executed = asked, asked
    for name, moment in notes[1:]:
        title, meaning = stepwords.MAKER[name]
        found.append(_step(MAKER, title, meaning, moment - asked, moment - before))
        before = moment
        executed = moment if name == "executed" else executed
    # It begins with the program when that is there, which its maker notes; its first step is as
    # long as it takes to be cloned, too.
    before = next((moment for name, moment in notes if name == "stamps"), asked)
    for row in recorded["steps"]:
        name, part, ended = row["name"], row["part"], row["ended"]
        if part == "execute":
            ended = executed
        elif not ended and not any(_is_call(text) for text, _, _ in row["operations"]):
            ended = before  # it had only values to store, or nothing
        words = stepwords.of_step(name, part)
        at, took = (ended - asked, max(ended - before, 0)) if ended else (None, None)
        step = _step(PROCESS, stepwords.title(name, part), words, at, took)
        step["Calls"], step["CallCount"] = _calls(row["operations"], asked, before)
        found.append(step)
        before = ended or before
    return _in_order(found)


def _in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return steps by the moment of their end; one without stays before what follows it."""
    moment: int = 0
    keyed = []
    for each in reversed(found):
        moment = each["At"] if each["At"] is not None else moment
        keyed.append(((moment, each["By"] == MAKER), each))
    keyed.reverse()  # a stable sort keeps those of one moment in their order
    return [each for _, each in sorted(keyed, key=lambda pair: pair[0])]


def _calls(
    operations: list[list[Any]], asked: int, before: int
) -> tuple[list[dict[str, Any]], int]:
    """Return what was carried out of a step, and how many system calls that was."""
    found, count = [], 0
    for text, moment, outcome in operations:
        if outcome == "not needed":
            continue
        at = took = None
        if moment:
            at, took = moment - asked, max(moment - before, 0)
            before = moment
        found.append({"Call": text, "Outcome": outcome, "At": at, "Took": took})
        count += outcome in ("done", "failed") and _is_call(text)
    return found, count


def _is_call(text: str) -> bool:
    """Return whether an operation is a system call: others store, compare or go."""
    head = text.partition("(")[0]
    return head != text and not head.startswith(("test ", "go to "))


def _step(
    by: str, name: str, meaning: str, at: int | None = None, took: int | None = None
) -> dict[str, Any]:
    return {"By": by, "Step": name, "Meaning": meaning, "At": at, "Took": took,
            "CallCount": None, "Calls": []}  # fmt: skip


def _worked_out(subject: Subject) -> tuple[list[dict[str, Any]], str]:
    """Return the steps that a start makes of the spec, and what to say of them."""
    note = _UNTIMED if subject.state.started_at else _NEVER
    if not subject.spec:
        return [], "its spec is not there"
    if runtimes.is_foreign(subject.config):
        names = ["request", "group", *([] if subject.config.tty else ["streams"]), "bundle",
                 "created", *_meanwhile(subject), "executed", "told"]  # fmt: skip
        return [_of_maker(name) for name in names], note
    try:
        program = _program(subject)
    except (OSError, ValueError, SpecError, RuntimeFailure) as error:
        return [], f"{note}; the program cannot be worked out: {error}"
    from knarr.runtime.program import listing

    found = [_of_maker(name) for name in _before(subject)]
    gone = False
    for name, part, operations in listing.blocks(program):
        if name in (_GATE, _LAST_LEG) and not gone:
            found += [_of_maker(each) for each in _meanwhile(subject)]
            gone = True
        step = _step(PROCESS, stepwords.title(name, part), stepwords.of_step(name, part))
        step["Calls"] = [
            {"Call": text, "Outcome": "planned", "At": None, "Took": None} for text in operations
        ]
        step["CallCount"] = sum(map(_is_call, operations))
        found.append(step)
    return [*found, _of_maker("executed"), _of_maker("told")], note


def _of_maker(name: str) -> dict[str, Any]:
    title, meaning = stepwords.MAKER[name]
    return _step(MAKER, title, meaning)


def _before(subject: Subject) -> list[str]:
    """Return what the maker does until it lets the process go on."""
    config = subject.config
    binds = any(each["type"] == "bind" for each in subject.spec.get("mounts") or ())
    steps = ["request", "group"]
    steps += [] if config.tty else ["streams"]
    steps += ["binds"] if binds else []
    steps += ["program", "process"]
    steps += ["maps"] if subject.record.id_slot is not None else []
    return [*steps, "root", *(["idmaps"] if binds else [])]


def _meanwhile(subject: Subject) -> list[str]:
    """Return what the maker does while the process carries its steps out."""
    from knarr.engine import sharing

    config = subject.config
    joined = sharing.has_own_network(config) and sharing.is_networked(config)
    return [*(["network"] if joined else []), "record"]


def _program(subject: Subject) -> Program:
    """Return the program that a start would write. Raises OSError, SpecError and others."""
    from knarr.cgroups import manager
    from knarr.runtime.finalleg import INIT_NAME
    from knarr.runtime.plan import plan
    from knarr.runtime.rehearsal import rehearse
    from knarr.runtime.steps.base import Circumstances
    from knarr.runtime.steps.mounts import BindMount

    made = plan(subject.spec)
    binds = [step for step in made.steps if isinstance(step, BindMount) and step.index >= 0]
    machine = manager.detect(subject.engine.settings.cgroup_manager)
    entrances = 0
    if machine.version == 1:
        from knarr.cgroups.v1.manager import Manager

        assert isinstance(machine, Manager)
        entrances = len(machine.mount_points) + machine.join_unified
    seen = Circumstances(
        None if made.leg.terminal else (_ANY_PIPE,) * 3,
        filtered="seccomp" in subject.linux,
        has_init=made.leg.args[0] == INIT_NAME,
        directories=tuple(os.path.isdir(step.source) for step in binds),
        entrances=entrances,
    )
    return rehearse(made, seen, whole=True)
