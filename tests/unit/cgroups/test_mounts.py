from knarr.cgroups import mounts

PURE = "30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw
33 31 0:30 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
"""


def test_pure() -> None:
    (one,) = mounts.parse("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + PURE)
    assert (one.version, one.mount_point, one.controllers) == (2, "/sys/fs/cgroup", ())


def test_hybrid_has_v2_last_and_joined_controllers_together() -> None:
    found = mounts.parse(HYBRID)
    assert [one.version for one in found] == [1, 1, 1, 2]
    assert ("cpu", "cpuacct") in [one.controllers for one in found]
    assert ("name=systemd",) in [one.controllers for one in found]


def test_of_several_mounts_the_writable_one_with_the_root_counts() -> None:
    text = (
        "40 1 0:32 / /ro ro - cgroup cgroup rw,memory\n"
        "41 1 0:32 /docker/1 /part rw - cgroup cgroup rw,memory\n"
        "42 1 0:32 / /whole rw - cgroup cgroup rw,memory\n"
        "43 1 0:32 / /again rw - cgroup cgroup rw,memory\n"
    )
    (one,) = mounts.parse(text)
    assert one.mount_point == "/whole"


def test_a_bound_part_is_taken_when_it_is_all_there_is() -> None:
    (one,) = mounts.parse("41 1 0:32 /docker/1 /part rw - cgroup cgroup rw,pids\n")
    assert one.mount_point == "/part"


def test_octal_escapes() -> None:
    assert mounts.unescape(r"/a\040b\134c") == "/a b\\c"


def test_lines_that_are_none_are_passed_over() -> None:
    assert mounts.parse("\nnonsense\n1 2 3 - cgroup\n5 1 0:3 / /x rw - cgroup cgroup rw\n") == []


def test_one_that_another_mount_lies_upon_does_not_count() -> None:
    found = mounts.parse(HYBRID + "50 32 0:40 / /sys/fs/cgroup/unified rw - tmpfs cover rw\n")
    assert [one.version for one in found] == [1, 1, 1]
    again = "60 34 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    assert len(mounts.parse(HYBRID + again)) == 4
