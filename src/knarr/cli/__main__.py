"""``python -I -m knarr.cli``: run one command in this very process."""

from __future__ import annotations

import os
import sys


def _start_server() -> None:
    """Start a command server for the commands that follow; it ends at once if one is there."""
    run_root = os.path.abspath(os.environ.get("KNARR_RUN_ROOT") or "/run/knarr")
    existing = run_root
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.access(existing, os.W_OK | os.X_OK):
        return  # it could not make its socket there
    keep = ("PATH", "HOME", "LANG", "TZ")
    env = {k: v for k, v in os.environ.items() if k in keep or k.startswith("KNARR_")}
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    argv = [sys.executable, "-I", "-m", "knarr.cli.server", run_root]
    try:
        os.posix_spawn(sys.executable, argv, env, file_actions=null, setsid=True)
    except OSError:
        return  # commands run in their callers all the same


def main() -> None:
    """Run ``sys.argv`` and end this process with the command's exit code."""
    if os.environ.get("KNARR_SERVER") == "start":  # set by the thin command, not by people
        del os.environ["KNARR_SERVER"]
        _start_server()
    from knarr.cli import main as command
    from knarr.cli.caller import Caller

    caller = Caller()
    caller.end(command.run(sys.argv[1:], caller))


if __name__ == "__main__":
    main()
