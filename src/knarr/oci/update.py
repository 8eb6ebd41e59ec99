"""``update``: other limits for a container, at once, and in its configuration from then on."""

import os

from knarr.errors import InvalidArgument
from knarr.kernel import plainjson
from knarr.oci import config as configs
from knarr.oci import document, interrupts, resctrl
from knarr.oci.control import check_grouped
from knarr.oci.errors import UsageError, not_running
from knarr.oci.limits import BYTES, FIELDS, NUMBER, SCHEMAS, TEXT
from knarr.oci.shape import resources_of
from knarr.oci.state import Container, write_new
from knarr.spec import quantity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from knarr.oci.log import Journal
    from knarr.oci.options import Words

    Resources = dict[str, Any]


def _bytes(text: str) -> int:
    return -1 if text == "-1" else quantity.size(text)


def _number(text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise InvalidArgument(f"{text!r} is not a whole number")
    return int(text)


_READ: "dict[str, Callable[[str], Any]]" = {BYTES: _bytes, NUMBER: _number, TEXT: str}
# Lists whose entries are about one thing each, and the fields that say which.
_ENTRIES = {
    "hugepageLimits": ("pageSize",),
    "weightDevice": ("major", "minor"),
    "throttleReadBpsDevice": ("major", "minor"),
    "throttleWriteBpsDevice": ("major", "minor"),
    "throttleReadIOPSDevice": ("major", "minor"),
    "throttleWriteIOPSDevice": ("major", "minor"),
    "priorities": ("name",),
}


def asked_for(words: "Words") -> "Resources":
    """Return what a command line asks for as linux.resources.

    With ``--resources`` the other flags count for nothing, as with runc. Raises UsageError,
    InvalidArgument, SpecError, and OSError for a file that cannot be read.
    """
    if path := words.text("resources"):
        fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return resources_of(document.parse(fd, "standard input" if path == "-" else path))
    found: Resources = {}
    for flag, (section, field, kind) in FIELDS.items():
        if text := words.text(flag):
            try:
                found.setdefault(section, {})[field] = _READ[kind](text)
            except InvalidArgument as error:
                raise UsageError(f"--{flag}: {error}") from error
    return found


def schemas(words: "Words", container: Container) -> "list[str]":
    """Return the lines of schemata that a command line asks for. Raises InvalidArgument."""
    lines = []
    for flag, (what, resource) in SCHEMAS.items():
        if line := words.text(flag):
            _check_enabled(flag, what, resource)
            if not container.values.get("resctrl", {}).get("tasks"):
                text = "the container has no linux.intelRdt that could be changed"
                raise InvalidArgument(f"--{flag}: {text}")
            lines.append(line)
    return lines


def _check_enabled(flag: str, what: str, resource: str) -> None:
    """Raise InvalidArgument where the kernel shares nothing of the kind out."""
    try:
        place = resctrl.root()
    except InvalidArgument as error:
        text = f"Intel RDT: {what} schema is not enabled ({error})"
        raise InvalidArgument(f"--{flag}: {text}") from error
    if not resctrl.is_shared(place, resource):
        text = f"Intel RDT: {what} schema is not enabled ({place}/info/{resource} is not there)"
        raise InvalidArgument(f"--{flag}: {text}")


def set_schemas(container: Container, lines: "list[str]") -> None:
    """Change shares of caches and bandwidth. Raises InvalidArgument."""
    if not lines:
        return
    try:
        resctrl.write(os.path.dirname(container.values["resctrl"]["tasks"][0]), lines)
    except OSError as error:
        text = f"linux.intelRdt: {error.strerror}: {error.filename}; the other limits hold"
        raise InvalidArgument(text) from error


def merged(now: "Mapping[str, Any]", given: "Mapping[str, Any]") -> "Resources":
    """Return limits with those that are given in place; the others stay. Pure.

    An entry for the same device, page size or interface takes the place of the one there was.
    """
    found = dict(now)
    for name, value in given.items():
        before = now.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            found[name] = merged(before, value)
        elif name in _ENTRIES and isinstance(before, list):
            own = _ENTRIES[name]
            new = [[entry.get(key) for key in own] for entry in value]
            kept = [one for one in before if [one.get(key) for key in own] not in new]
            found[name] = kept + value
        else:
            found[name] = value
    return found


def update(container: Container, given: "Resources", journal: "Journal") -> None:
    """Change limits at once, then in the configuration. Raises Conflict, InvalidArgument.

    What the kernel refuses changes nothing. Devices are as they were unless they are given.
    """
    status = container.status()
    if status not in ("created", "running", "paused"):
        not_running(container.name, status)
    check_grouped(container, "update")
    path = container.file(document.NAME)
    config = configs.read(path)
    wanted = dict(given)
    if "devices" in given:
        wanted["devices"] = configs.resources_of({"linux": {"resources": given}})["devices"]
    configs.warn_of(given, journal)
    interrupts.hold()  # limits and what is written of them belong together
    try:
        container.group().update(wanted)
    except ValueError as error:
        raise InvalidArgument(f"linux.resources.{error}") from error
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise InvalidArgument(f"linux.resources: {error.strerror}{where}") from error
    linux = config.setdefault("linux", {})
    linux["resources"] = merged(linux.get("resources") or {}, given)
    (linux["resources"].get("memory") or {}).pop("checkBeforeUpdate", None)
    try:
        write_new(path, plainjson.dumps(config))
    except OSError as error:
        text = f"{path}: {error.strerror}: the limits hold, but are not written down"
        raise InvalidArgument(text) from error
