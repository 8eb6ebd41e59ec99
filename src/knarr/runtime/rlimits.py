"""What a container's process cannot set by itself, or must not: limits, its score."""

import os
import resource

from knarr.runtime.errors import RuntimeFailure


def are_above(limits: "tuple[tuple[int, int, int], ...]") -> bool:
    """Return whether some are above those of this process, and so of a child of it."""
    return any(_is_above(hard, resource.getrlimit(number)[1]) for number, _, hard in limits)


def _is_above(hard: int, before: int) -> bool:
    return before != -1 and (hard == -1 or hard > before)


def raise_limits(pid: int, limits: "tuple[tuple[int, int, int], ...]") -> None:
    """Set those limits of a process that are above what it has, which nobody inside may do.

    limits: resource, soft, hard; -1 is unlimited. See prlimit(2).
    """
    for number, soft, hard in limits:
        if not _is_above(hard, resource.prlimit(pid, number)[1]):
            continue
        try:
            resource.prlimit(pid, number, (soft, hard))
        except OSError as error:
            text = f"error setting rlimit type {number}: {error.strerror}".lower()
            raise RuntimeFailure("error", "rlimits", text, error.errno or 0) from error
        except ValueError as error:  # how Python tells that a privilege is missing
            text = f"error setting rlimit type {number}: {error}"
            raise RuntimeFailure("error", "rlimits", text) from error


def set_score(pid: int, value: int, *, lenient: bool = False) -> str:
    """Say how likely the kernel kills a process for want of memory (proc(5), oom_score_adj).

    lenient: what is not permitted, to score lower without root, is returned as a warning.
    Raises RuntimeFailure.
    """
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)
    except OSError as error:
        text = f"oom_score_adj {value}: {error.strerror}"
        if lenient and isinstance(error, PermissionError):
            return f"process.oomScoreAdj: {text}, left as it is"
        raise RuntimeFailure("error", "oom_score_adj", text, error.errno or 0) from error
    return ""
