"""What ``exec`` is to run: an OCI process object of a file, or the container's with changes.

Nothing here touches the machine but ``from_file``, which reads the file.
"""

import os
import stat

from knarr.oci import shape
from knarr.oci.document import parse
from knarr.oci.errors import UsageError
from knarr.runtime.fields import SpecError
from knarr.runtime.processplan import USER_NAME
from knarr.spec.capabilities import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.oci.options import Words

_MOST_ID = (1 << 32) - 2  # the last is no id
# What is the container's where a process object does not say otherwise, as in runc and crun.
_INHERITED = ("apparmorProfile", "capabilities", "execCPUAffinity", "ioPriority", "oomScoreAdj",
              "rlimits", "scheduler", "selinuxLabel")  # fmt: skip
# Flags that change the container's own.
_CHANGES = ("cwd", "env", "user", "additional-gids", "cap", "no-new-privs", "apparmor",
            "process-label")  # fmt: skip


def process_of(words: "Words", config: "dict[str, Any]") -> "dict[str, Any]":
    """Return the process object that a command line asks for. Raises UsageError, SpecError.

    words: without the container's id. config: the container's.
    """
    own: dict[str, Any] = config.get("process") or {}
    path = words.text("process")
    if not path:
        return _changed(words, own)
    for name in _CHANGES:
        if words.given(name):
            raise UsageError(f"--{name}: is not for --process, whose file says it")
    if words.words:
        raise UsageError("--process: its file names the command, so none can follow the id")
    process = from_file(path)
    if words.has("tty"):
        process["terminal"] = True
    return {key: own[key] for key in _INHERITED if key in own} | process


def from_file(path: str) -> "dict[str, Any]":
    """Return the process object of a file, which may be a FIFO. Raises OSError, SpecError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    kind = os.fstat(fd).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISFIFO(kind):
        os.close(fd)
        raise SpecError(f"--process {path}: is not a file")
    return shape.process_of(parse(fd, path))


def _changed(words: "Words", own: "dict[str, Any]") -> "dict[str, Any]":
    """Return the container's own process object with what the flags say."""
    if not words.words:
        raise UsageError("expected the container's id and a command")
    process = own | {"args": words.words, "terminal": words.has("tty")}
    process["env"] = [*own.get("env", ()), *map(_variable, words.texts("env"))]
    for flag, field in (("cwd", "cwd"), ("apparmor", "apparmorProfile"),
                        ("process-label", "selinuxLabel")):  # fmt: skip
        if words.text(flag):
            process[field] = words.text(flag)
    if words.given("no-new-privs"):
        process["noNewPrivileges"] = words.has("no-new-privs")
    process["capabilities"] = _capabilities(own.get("capabilities") or {}, words.texts("cap"))
    process["user"] = _user(words, own.get("user") or {})
    return process


def _variable(text: str) -> str:
    if not text.partition("=")[1] or text.startswith("=") or "\0" in text:
        raise UsageError(f"--env {text!r}: expected NAME=VALUE")
    return text


def _capabilities(own: "dict[str, list[str]]", added: "list[str]") -> "dict[str, list[str]]":
    """Return the five sets with some added.

    Never to the inheritable one: what a container's programs inherit is up to its configuration
    (CVE-2022-29162). To the ambient one only where that has some, since it is nothing without.
    """
    if not added:
        return own
    kinds = ["bounding", "effective", "permitted"]
    kinds += ["ambient"] if own.get("inheritable") else []
    names = ["CAP_" + name.upper().removeprefix("CAP_") for name in added]
    if unknown := set(names) - set(NUMBERS):
        raise UsageError(f"--cap: {min(unknown)} is not known")
    return own | {kind: list(dict.fromkeys([*own.get(kind, ()), *names])) for kind in kinds}


def _user(words: "Words", own: "dict[str, Any]") -> "dict[str, Any]":
    """Return who it runs as: ids as they are, a name to be looked up in the container.

    Digits are an id and never a name, however many (CVE-2026-46680); of a number alone the
    group stays.
    """
    user = dict(own)
    gids = [_id("--additional-gids", text) for text in words.texts("additional-gids")]
    user["additionalGids"] = [*own.get("additionalGids", ()), *gids]
    said = words.text("user")
    if not said:
        return user
    who, mark, group = said.partition(":")
    if not who or (mark and not group) or ":" in group or "\0" in said:
        raise UsageError(f"--user {said!r}: expected USER or USER:GROUP")
    numeric = _is_number(who), not mark or _is_number(group)
    if all(numeric):
        user["uid"] = _id("--user", who)
        if mark:
            user["gid"] = _id("--user", group)
        user.pop(USER_NAME, None)
        return user
    for text, is_number in ((who, numeric[0]), (group, numeric[1] and bool(mark))):
        if is_number:
            _id("--user", text)
    # What is looked up has groups of its own, and the container's user's are not theirs.
    return user | {USER_NAME: said, "additionalGids": gids}


def _is_number(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdecimal()


def _id(flag: str, text: str) -> int:
    """Return an id; raises UsageError for what is none, or is beyond the last."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > _MOST_ID:
        raise UsageError(f"{flag}: {text!r} is not a number from 0 to {_MOST_ID}")
    return int(text)
