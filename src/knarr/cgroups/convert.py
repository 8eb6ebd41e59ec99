"""Values of cgroup v1, in which OCI speaks, turned into values of cgroup v2. Pure.

Sources: OCI runtime-spec config-linux.md, kernel Documentation/admin-guide/cgroup-v2.rst.
"""

import math

SHARES_MIN, SHARES_MAX = 2, 262144
WEIGHT_MIN, WEIGHT_MAX = 1, 10000


def shares_to_weight(shares: int) -> int:
    """Return cpu.weight (1 to 10000) for cpu.shares (2 to 262144).

    The curve goes through the three points that must hold: least to least, 1024 to 100
    (both defaults) and most to most; a straight line would turn the default of 1024
    into 39. In the logarithms it is a parabola through (1, 0), (10, 2) and (18, 4).
    """
    if shares <= SHARES_MIN:
        return WEIGHT_MIN
    if shares >= SHARES_MAX:
        return WEIGHT_MAX
    bits = math.log2(shares)
    exponent = (bits * bits + 125 * bits) / 612 - 7 / 34
    # Rounded first: 10 ** 2.0000000000000004 must not become 101.
    return math.ceil(round(10**exponent, 9))


def swap_limit(memory: int | None, swap: int | None) -> str | None:
    """Return memory.swap.max for a limit of memory plus swap, both in bytes.

    v1 counts memory and swap together, v2 swap alone. -1 is unlimited; None (or 0)
    for swap means nothing was asked, then None. With an unlimited memory limit and no
    word on swap, swap becomes unlimited too. Raises ValueError when swap has a limit
    and memory none, or when it is below memory.
    """
    if not swap:
        return "max" if memory == -1 else None
    if swap == -1:
        return "max"
    if not memory or memory == -1:
        raise ValueError("memory.swap: needs memory.limit, since it counts both together")
    if swap < memory:
        raise ValueError(f"memory.swap: {swap} is below memory.limit {memory}")
    return str(swap - memory)


def blkio_weight(weight: int) -> int:
    """Return io.weight (1 to 10000) for blkio weight (10 to 1000), on a straight line."""
    return WEIGHT_MIN + (weight - 10) * (WEIGHT_MAX - WEIGHT_MIN) // 990


def maximum(value: int) -> str:
    """Return a limit as v2 writes it: ``max`` for any negative number."""
    return "max" if value < 0 else str(value)


def cpu_max(quota: int | None, period: int | None) -> str | None:
    """Return cpu.max ("QUOTA PERIOD", microseconds); None when neither is given (or 0).

    A quota alone keeps the period that is set, a period alone means no quota.
    """
    if not quota and not period:
        return None
    text = "max" if not quota or quota < 0 else str(quota)
    return f"{text} {period}" if period else text


def parse_list(text: str) -> list[int]:
    """Return the sorted numbers of a list such as ``0-2,7``; ValueError when malformed.

    The form is that of cpuset(7), "List format"; strides (``0-10:2/4``) are not taken.
    """
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{text!r} is not a list of numbers such as 0-2,7")
        low, high = int(first), int(last or first)
        if high < low or high > 65535:
            raise ValueError(f"{text!r}: {part.strip()} is not a range from low to high")
        numbers.update(range(low, high + 1))
    return sorted(numbers)
