"""The system call filter of a configuration, compiled once for all who ask for the same."""

import os

from knarr.errors import InvalidArgument
from knarr.oci.state import SECCOMP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.kernel.seccomp import FilterProgram


def filter_of(config: "dict[str, Any]", root: str) -> "FilterProgram | None":
    """Return the filter of linux.seccomp, None without one. Raises InvalidArgument.

    root: where states are; compiled filters are kept there.
    """
    profile = (config.get("linux") or {}).get("seccomp")
    if not profile:
        return None
    from knarr.kernel.libc import MACHINE
    from knarr.kernel.seccomp import FilterProgram
    from knarr.runtime.seccomp.cache import Cache

    try:
        cache = Cache(os.path.join(root, SECCOMP))
        return FilterProgram(cache.program(profile, MACHINE))
    except ValueError as error:
        raise InvalidArgument(f"linux.seccomp: {error}") from error
