"""The table of mount options against the runtime spec (config.md, "Linux mount options")."""

from __future__ import annotations

import pytest

from knarr.kernel import mounts as k
from knarr.runtime.mountopts import MountOptions, attributes, known, superblock_flags

MUST = """
async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev
nodiratime noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime
remount ro rprivate rshared rslave runbindable rw shared silent slave strictatime suid sync
unbindable nosymfollow symfollow idmap ridmap rro rrw rnosuid rsuid rnodev rdev rnoexec rexec
rnodiratime rdiratime rrelatime rnorelatime rnoatime ratime rstrictatime rnostrictatime
rnosymfollow rsymfollow mand nomand tmpcopyup
""".split()  # noqa: SIM905 - a table of words


@pytest.mark.parametrize("option", MUST)
def test_every_option_of_the_spec_is_known(option: str) -> None:
    assert MountOptions([option]).data == []


def test_no_other_option_is_said_to_be_known() -> None:
    assert known() == sorted(MUST)


@pytest.mark.parametrize("option", ["rsync", "rmand", "rlazytime", "rsilent", "rdirsync"])
def test_only_what_belongs_to_a_mount_is_there_for_a_tree(option: str) -> None:
    assert MountOptions([option]).data == [option]


@pytest.mark.parametrize("option", ["size=64k", "mode=0755", "nr_inodes=5", "lowerdir=/a", "x"])
def test_what_is_unknown_goes_to_the_file_system(option: str) -> None:
    assert MountOptions(["ro", option]).data == [option]


@pytest.mark.parametrize(
    ("option", "flag", "attribute"),
    [
        ("ro", k.MS_RDONLY, k.MOUNT_ATTR_RDONLY),
        ("nosuid", k.MS_NOSUID, k.MOUNT_ATTR_NOSUID),
        ("nodev", k.MS_NODEV, k.MOUNT_ATTR_NODEV),
        ("noexec", k.MS_NOEXEC, k.MOUNT_ATTR_NOEXEC),
        ("nodiratime", k.MS_NODIRATIME, k.MOUNT_ATTR_NODIRATIME),
        ("nosymfollow", k.MS_NOSYMFOLLOW, k.MOUNT_ATTR_NOSYMFOLLOW),
    ],
)
def test_flags_of_a_mount_and_of_a_tree(option: str, flag: int, attribute: int) -> None:
    one, tree = MountOptions([option]), MountOptions(["r" + option])
    assert (one.set_flags, one.recursive_set) == (flag, 0)
    assert (tree.set_flags, tree.recursive_set) == (0, flag)
    assert attributes(flag, 0) == (attribute, 0)
    assert attributes(0, flag) == (0, attribute)


def test_the_last_of_two_opposites_counts() -> None:
    assert MountOptions(["ro", "rw"]).set_flags == 0
    assert MountOptions(["ro", "rw"]).clear_flags == k.MS_RDONLY
    assert MountOptions(["rw", "ro"]).set_flags == k.MS_RDONLY
    assert MountOptions(["rw", "ro"]).clear_flags == 0
    assert MountOptions(["rro", "rrw"]).recursive_clear == k.MS_RDONLY


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["noatime"], k.MOUNT_ATTR_NOATIME),
        (["strictatime"], k.MOUNT_ATTR_STRICTATIME),
        (["relatime"], 0),
        (["norelatime"], k.MOUNT_ATTR_STRICTATIME),
        (["atime"], 0),
    ],
)
def test_times_of_access_are_one_field(options: list[str], expected: int) -> None:
    """mount_setattr(2) wants the whole field cleared whenever it is set."""
    made = MountOptions(options)
    assert attributes(made.set_flags, made.clear_flags) == (expected, k.MOUNT_ATTR__ATIME)


def test_bind_and_propagation() -> None:
    made = MountOptions(["rbind", "rslave", "shared", "idmap"])
    assert (made.bind, made.recursive, made.idmap) == (True, True, True)
    assert made.propagation == [(k.MS_SLAVE, True), (k.MS_SHARED, False)]
    assert not MountOptions(["bind"]).recursive


def test_what_belongs_to_the_file_system() -> None:
    made = MountOptions(["sync", "dirsync", "lazytime", "ro"])
    assert superblock_flags(made.set_flags) == k.MS_SYNCHRONOUS | k.MS_DIRSYNC | k.MS_LAZYTIME
