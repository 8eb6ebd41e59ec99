"""The steps of a start as lines: who did what, when, and with which system calls."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

Facts = dict[str, Any]
_WIDTH = 110


def steps(found: Facts) -> Iterator[str]:
    """Yield the lines: with times, moments since the request and how long each step took."""
    if found["Note"]:
        yield found["Note"]
    timed = found["Timed"]
    if timed:
        yield (f"{_ms(found['Total'])} ms from the request to the container that runs; DONE AT and"
               " TOOK are in ms, the process and its maker worked at the same time")  # fmt: skip
        yield "DONE AT    TOOK  BY       CALLS  STEP"
    elif found["Steps"]:
        yield "BY       CALLS  STEP"
    for each in _folded(found["Steps"]):
        head = f"{each['By']:<7}  {each['CallCount'] if each['CallCount'] is not None else '':>5}  "
        if timed:
            head = f"{_ms(each['At']):>7} {_ms(each['Took']):>7}  {head}"
        text = each["Step"] + (f": {each['Meaning']}" if each["Meaning"] else "")
        lines = textwrap.wrap(text, _WIDTH - len(head), break_on_hyphens=False)
        yield head + lines[0]
        for line in lines[1:]:
            yield " " * len(head) + line
        for call in each.get("Calls") or ():
            yield _call(call, len(head))


def _folded(found: Sequence[Facts]) -> Iterator[Facts]:
    """Yield the steps, with those for single devices together: there may be a hundred."""
    together: Facts | None = None
    for each in found:
        name = each["Step"]
        if not name.startswith("device /"):
            if together is not None:
                yield together
                together = None
            yield each
            continue
        place = name.split(" ")[1]
        if together is None:
            together = {**each, "Step": f"devices {place}", "Calls": list(each.get("Calls") or ())}
            continue
        together["Step"] += f" {place}"
        together["At"] = each["At"]
        for kind in ("Took", "CallCount"):
            if each[kind] is not None:
                together[kind] += each[kind]
        together["Calls"] += each.get("Calls") or ()
    if together is not None:
        yield together


def _call(call: Facts, indent: int) -> str:
    took = "" if call["Took"] is None else f"{call['Took'] / 1000:.1f} us"
    outcome = "  (failed, as it may)" if call["Outcome"] == "failed" else ""
    return f"{took:>{indent - 2}}  {call['Call']}{outcome}"


def _ms(ns: int | None) -> str:
    return "-" if ns is None else f"{ns / 1e6:.3f}"
