"""The question before something is removed for good."""

from __future__ import annotations

import sys


def confirmed(warning: str) -> bool:
    """Print ``warning`` and ask; return whether the answer is yes."""
    return asked(f"WARNING! {warning}\nAre you sure you want to continue?")


def asked(question: str) -> bool:
    """Print a question; return whether the answer is yes."""
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
