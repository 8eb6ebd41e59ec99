"""Runs commands of knarr-oci in namespaces of its own, and says what they leave behind.

It is started by ``Driver``, from a read-only clone of the interpreter's file, and forks for each
command: one that is started anew takes ten times as long. A line of JSON is a request, and one
is the answer.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

SOURCES = Path(__file__).resolve().parents[2] / "src"
_PATIENCE = 30  # seconds for a command, and for the end of what it left


class Driver:
    """The other side: runs commands, one after the other."""

    def __init__(self, folder: Path, root: Path, prefix: str) -> None:
        from knarr.runtime.readonly import read_only_program

        self.root = root
        interpreter = read_only_program(os.path.realpath(sys.executable))
        words = [sys.executable, "-I", "-S", "-B", __file__, str(folder), str(root), prefix]
        try:
            self._process = subprocess.Popen(
                words,
                executable=f"/proc/self/fd/{interpreter}",
                pass_fds=[interpreter],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        finally:
            os.close(interpreter)

    def __call__(self, *words: str) -> tuple[int, str]:
        """Run a command; return its status and what it said."""
        answer = self._ask({"run": words})
        return answer["status"], answer["said"]

    def signalled(self, at: int, number: int, *words: str) -> tuple[bool, int, str]:
        """Run a command that gets a signal just before the call of the kernel with this number.

        Returns whether it came so far, its status and what it said.
        """
        answer = self._ask({"run": words, "at": at, "signal": number})
        return answer["reached"], answer["status"], answer["said"]

    def left(self, group: str = "") -> list[str]:
        """Return what is there and was not at the beginning: mounts, processes, groups, files.

        group: the path of one whose parents may be there; they are removed.
        """
        found: list[str] = self._ask({"left": group})["left"]
        return found

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it, and with it every process in its namespace."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(60)


# Modules whose functions are calls of the kernel, and the files with those that ctypes makes.
_CALLS = frozenset(("posix", "fcntl", "select", "_socket", "_signal", "termios", "resource"))
_FILES = ("knarr/kernel/libc.py", "knarr/runtime/program/carrier.py")


def _trap(at: int, number: int, reached: mmap.mmap) -> None:
    """Have this process send itself a signal before its call of the kernel number ``at``."""
    count = 0

    def look(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event == "c_call":
            counts = getattr(argument, "__module__", None) in _CALLS
        else:
            counts = event == "call" and frame.f_code.co_filename.endswith(_FILES)
        if not counts:
            return
        count += 1
        if count == at:
            sys.setprofile(None)
            reached[0] = 1
            os.kill(os.getpid(), number)

    sys.setprofile(look)


def _run(words: list[str], folder: str, at: int = 0, number: int = 0) -> dict[str, Any]:
    reached = mmap.mmap(-1, 1)
    output = os.path.join(folder, "output")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_PATIENCE)
        null = os.open("/dev/null", os.O_RDWR)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for standard, fd in enumerate((null, file, file)):
            os.dup2(fd, standard)
        from knarr.oci.main import main

        if at:
            _trap(at, number, reached)
        main(words)
    # As every first process of a PID namespace: one that is dead and not waited for keeps the
    # namespace that it was in from ending.
    while (ended := os.waitpid(-1, 0))[0] != pid:
        continue
    status = os.waitstatus_to_exitcode(ended[1])
    said = Path(output).read_text(errors="replace")
    return {"status": status, "said": said, "reached": bool(reached[0])}


def _reap() -> None:
    """Wait for children of what has ended: the first process of a namespace has them all."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def _seen(root: str, prefix: str) -> set[str]:
    _reap()
    found = {f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            try:
                found.add(f"process {name} {Path('/proc', name, 'comm').read_text().strip()}")
            except OSError:
                continue
    found |= {f"descriptor {fd}" for fd in os.listdir("/proc/self/fd") if int(fd) < 100}
    if os.path.isdir(root):
        found |= {f"state {name}" for name in os.listdir(root) if not name.startswith("@")}
    for top in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        found |= {f"group {path}" for path in top.glob(f"{prefix}*")}
    return found


def _remove_parents(group: str) -> None:
    for top in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        path = os.path.dirname(group)
        while path.strip("/"):
            try:
                os.rmdir(f"{top}{path}")
            except OSError:
                break  # not there, or what is in it is what was left
            path = os.path.dirname(path)


def _serve(folder: str, root: str, prefix: str) -> None:
    import knarr.oci.commands
    import knarr.oci.create
    import knarr.oci.foreground
    import knarr.oci.lifecycle
    import knarr.oci.main  # noqa: F401
    from knarr.kernel import mounts

    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("proc", "/proc", "proc", 0)
    before = _seen(root, prefix)
    for line in sys.stdin:
        request = json.loads(line)
        if "run" in request:
            words = ["--root", root, *request["run"]]
            answer = _run(words, folder, request.get("at", 0), request.get("signal", 0))
        else:
            _remove_parents(request["left"])
            deadline = time.monotonic() + _PATIENCE
            while (left := _seen(root, prefix) - before) and time.monotonic() < deadline:
                time.sleep(0.01)  # what was killed may be on its way out
            answer = {"left": sorted(left)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _begin() -> None:
    sys.path.append(str(SOURCES))
    from knarr.kernel.namespaces import CLONE_NEWNS, CLONE_NEWPID, unshare

    unshare(CLONE_NEWNS | CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        _serve(*sys.argv[1:])
        os._exit(0)
    os.close(0)
    os.close(1)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    _begin()
