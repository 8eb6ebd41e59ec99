"""Groups that go away while somebody is at them: as when systemd removes a scope that is empty."""

import errno
from pathlib import Path

import pytest

from knarr.cgroups import processes
from knarr.cgroups.v2 import group


class Freezer:
    """Every call fails with one error number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def freeze(self, directory: str, timeout: float = 10.0, /) -> None:
        raise OSError(self.number, "no", directory)

    def thaw(self, directory: str, /) -> None:
        raise OSError(self.number, "no", directory)

    def frozen(self, directory: str, /) -> bool:
        return False


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV])
def test_a_group_that_is_gone_is_neither_frozen_nor_thawed(number: int, tmp_path: Path) -> None:
    processes.freeze_briefly(Freezer(number), "/x")
    processes.thaw_quietly(Freezer(number), "/x")
    (tmp_path / "cgroup.procs").write_text("")
    processes.signal_group(Freezer(number), str(tmp_path), 15)


def test_a_group_that_does_not_stand_still_is_looked_at_again() -> None:
    processes.freeze_briefly(Freezer(errno.ETIMEDOUT), "/x")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EIO])
def test_other_errors_are_told(number: int) -> None:
    for act in (processes.freeze_briefly, processes.thaw_quietly):
        with pytest.raises(OSError, match="no") as caught:
            act(Freezer(number), "/x")
        assert caught.value.errno == number


def test_killing_what_is_gone_is_done(tmp_path: Path) -> None:
    group.Group("/x", str(tmp_path / "gone")).kill()
    group.Group("/x", str(tmp_path)).kill()  # a directory without cgroup.kill and processes
