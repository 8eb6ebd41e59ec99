"""Its system call filter: which profile it was made of, and what it lets pass."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from knarr.engine import runtimes
from knarr.engine.security import options
from knarr.runtime.seccomp import arches, reading

if TYPE_CHECKING:
    from knarr.engine.explain.subject import Subject

_MODES = {"0": "disabled", "1": "strict", "2": "filter"}


def explain(subject: Subject) -> dict[str, Any]:
    """Return ``Seccomp``. Allowed, Conditional, Denied: system calls of this machine, by name.

    They are read from the very program that is loaded, as is Answers: how many calls get which
    refusal; nothing where another OCI runtime has made it. Filters: how many the process has
    (Linux 5.9), None where that is not known.
    """
    wanted = "seccomp" in subject.linux
    # Another runtime makes its own of the profile.
    ours = not runtimes.is_foreign(subject.config)
    program = _program(subject) if wanted and ours else b""
    if subject.running:
        mode = _MODES.get(subject.status.get("Seccomp", "0"), "unknown")
        count = subject.status.get("Seccomp_filters")
    else:
        mode, count = _MODES["2" if wanted else "0"], None
    return {
        "Mode": mode,
        "Filters": None if count is None else int(count),
        "Profile": _profile(subject),
        "Digest": f"sha256:{hashlib.sha256(program).hexdigest()}" if program else "",
        "File": subject.paths.filter if program else "",
        **_calls(program),
    }


def _program(subject: Subject) -> bytes:
    """Return the compiled filter; empty when it is not there any more."""
    try:
        with open(subject.paths.filter, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _profile(subject: Subject) -> str:
    """Return what the profile is called: ``default``, ``unconfined``, ``inline`` or its file."""
    chosen = options.parse(subject.config.security_opt).seccomp
    if chosen is None:
        return options.UNCONFINED if subject.config.privileged else "default"
    if chosen == options.BUILTIN:
        return "default"
    return "inline" if chosen.startswith("{") else chosen


def _calls(program: bytes) -> dict[str, Any]:
    """Return what a filter says of each system call of this machine."""
    code = reading.instructions(program)
    family = arches.FAMILIES.get(os.uname().machine)
    kinds: dict[str, list[str]] = {"Allowed": [], "Conditional": [], "Denied": []}
    refusals: dict[str, int] = {}
    if code and family:
        native = arches.ARCHES[family[0]]
        for name, number in sorted(native.numbers.items()):
            found = reading.answers(code, native.audit, number)
            passing = {reading.passes(answer) for answer in found}
            kind = "Conditional" if len(passing) > 1 else "Allowed" if True in passing else "Denied"
            kinds[kind].append(name)
            if kind == "Denied":
                words = " or ".join(sorted(map(reading.describe, found)))
                refusals[words] = refusals.get(words, 0) + 1
    return {"Instructions": len(code), "Answers": refusals, **kinds}
