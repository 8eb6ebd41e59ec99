"""config.json as a document: read within limits, and the hooks in it."""

import os
import stat

from knarr.kernel import plainjson
from knarr.runtime.fields import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "config.json"
LIMIT = 16 << 20  # bytes; a large one of an engine has 100 KiB
# In the order in which they run.
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def opened(path: str) -> int:
    """Return a descriptor of a regular file; raises SpecError, and OSError without one."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SpecError(f"{path}: is not a regular file")
    return fd


def kept(path: str) -> "dict[str, Any]":
    """Return the copy that ``create`` has written of what it had checked. Raises as ``opened``."""
    config: dict[str, Any] = parse(opened(path), path)
    if not isinstance(config, dict):
        raise SpecError(f"{path}: is not an object")
    return config


def parse(fd: int, path: str) -> "Any":
    """Return the JSON that a descriptor has, and close it; raises SpecError for other things."""
    with open(fd, "rb") as file:
        data = file.read(LIMIT + 1) or b""  # None: a file of the kernel's that has nothing now
    if len(data) > LIMIT:
        raise SpecError(f"{path}: has more than {LIMIT} bytes")
    try:
        return plainjson.loads(data)
    except RecursionError as error:
        raise SpecError(f"{path}: too many levels") from error
    except ValueError as error:
        raise SpecError(f"{path}: is not JSON: {error}") from error


def hooks(config: "dict[str, Any]", kind: str) -> "list[dict[str, Any]]":
    """Return the hooks of a kind."""
    found: list[dict[str, Any]] = (config.get("hooks") or {}).get(kind) or []
    return found
