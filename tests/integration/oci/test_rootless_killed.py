"""An ordinary user's commands that get a signal before any of their calls of the kernel.

``create`` begins twice, the second time as root of a namespace of its own, and leaves a process
outside: both are tried. As in ``test_killed``, one call of a few, another each time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.oci.test_killed import STEP
from tests.support.rootless import GID, UID, UserOci, Users
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180 + 6000 // STEP)
# What the copy of the sources does before the command: see ``ocidriver`` for what counts.
_TRAP = """
import os, sys

FOLDER = {folder!r}

def begin():
    try:
        with open(FOLDER + "/trap") as file:
            at, number, inside = map(int, file.read().split())
    except FileNotFoundError:
        return
    if (os.geteuid() == 0) != inside:
        return
    count = 0

    def look(frame, event, argument):
        nonlocal count
        if event == "c_call":
            module = getattr(argument, "__module__", None)
            counts = module in ("posix", "fcntl", "select", "_socket", "_signal", "resource")
        else:
            place = frame.f_code.co_filename
            counts = event == "call" and place.endswith(("kernel/libc.py", "carrier.py"))
        count += counts
        if counts and count == at:
            sys.setprofile(None)
            os.close(os.open(FOLDER + "/reached", os.O_CREAT | os.O_WRONLY))
            os.kill(os.getpid(), number)

    sys.setprofile(look)
"""


class Trapped:
    """The command, and what sends it a signal."""

    def __init__(self, users: Users) -> None:
        self.oci = UserOci(users)
        os.chown(users.folder, UID, GID)
        self.folder = users.folder
        (users.folder / "src/trap.py").write_text(_TRAP.format(folder=str(users.folder)))
        entry = users.folder / "src/knarr/oci/entry.py"
        text = entry.read_text()
        begun = "    from knarr.oci.main import main as carry_out\n"
        assert begun in text
        entry.write_text(text.replace(begun, f"{begun}    import trap\n    trap.begin()\n"))

    def signalled(
        self, at: int, number: int, words: list[str], *, inside: bool
    ) -> tuple[bool, int]:
        """Run a command that gets a signal at its call ``at``: whether it came so far, status."""
        (self.folder / "trap").write_text(f"{at} {int(number)} {int(inside)}")
        reached = self.folder / "reached"
        reached.unlink(missing_ok=True)
        null = subprocess.DEVNULL
        status = subprocess.call(
            [str(self.oci.program), *words], stdin=null, stdout=null, stderr=null, timeout=60
        )
        (self.folder / "trap").unlink()
        return reached.exists(), status

    def left(self) -> list[str]:
        """Return the processes that have to do with this folder, by their command lines."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except OSError:
                continue
            if str(self.oci.folder).encode() in line:
                found.append(f"{path} {line!r}")
        return found


@pytest.fixture
def trapped() -> Iterator[Trapped]:
    """A copy of the sources of its own."""
    users = Users()
    made = Trapped(users)
    yield made
    made.oci.close()
    users.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("inside", [False, True], ids=["before", "inside"])
def test_signalled_at_any_call(trapped: Trapped, number: signal.Signals, inside: bool) -> None:
    """Nothing stays that delete --force does not find, of what is asked to end nothing at all."""
    oci = trapped.oci
    hooks = {kind: [{"path": "/bin/true"}] for kind in ("createRuntime", "poststop")}
    # The folder's name stands in the command line of the container, too.
    bundle = oci.bundle("sh", "-c", f"exec sleep 1000 # {oci.folder}", hooks=hooks)
    name = oci.name("a")
    at, reached = random.randint(1, STEP), True
    while reached:
        words = ["create", "--bundle", str(bundle), name]
        reached, status = trapped.signalled(at, number, words, inside=inside)
        if number == signal.SIGKILL:
            assert (status == -number) == reached, (at, status)
        else:
            # 143, or by the signal itself before the command has begun to listen for it
            assert status in ((0, 128 + number, -number) if reached else (0,)), (at, status)
            if status:
                assert oci("list", "-q") == "", (at, status)
        oci("delete", "--force", name)
        wait_until(lambda: not trapped.left(), 20)
        assert oci("list", "-q") == "", at
        at += random.randint(1, 2 * STEP - 1) if STEP > 1 else 1
