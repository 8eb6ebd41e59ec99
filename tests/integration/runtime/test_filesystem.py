"""The tree a container sees: mounts, masks, devices, sysctls, working directory."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from knarr.spec import capabilities
from knarr.supervisor.client import LaunchFailed
from tests.support.launch import ID_BASE, Box, Spec

# With these root may do nearly all that its user namespace allows.
MANY = [
    "CAP_SYS_ADMIN",
    "CAP_SYS_PTRACE",
    "CAP_NET_ADMIN",
    "CAP_MKNOD",
    "CAP_DAC_OVERRIDE",
    "CAP_SYS_CHROOT",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_CHOWN",
    "CAP_KILL",
    "CAP_FOWNER",
    "CAP_DAC_READ_SEARCH",
    "CAP_SYS_RAWIO",
    "CAP_SETFCAP",
]


def mount(destination: str, source: str = "", kind: str = "bind", *options: str) -> Spec:
    found = list(options) or (["rbind"] if kind == "bind" else [])
    return {"destination": destination, "type": kind, "source": source, "options": found}


def with_caps(made: Spec) -> None:
    made["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), MANY)


@pytest.mark.parametrize("userns", [True, False])
def test_masked_paths_show_nothing(box: Box, userns: bool) -> None:
    script = (
        "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do"
        ' [ -e $f ] || continue; [ -c $f ] && [ ! -s $f ] && [ -z "$(cat $f)" ] ||'
        " echo bad $f; done;"
        '[ -z "$(ls /sys/firmware 2>/dev/null)" ] || echo bad firmware;'
        '[ -d /proc/acpi ] && [ -n "$(ls /proc/acpi)" ] && echo bad acpi; true'
    )
    assert box.sh(script, userns=userns) == ""


@pytest.mark.parametrize("userns", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/domainname",
        "/proc/sysrq-trigger",
        "/proc/sys/vm/drop_caches",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
    ],
)
def test_read_only_paths_refuse_writing(box: Box, path: str, userns: bool) -> None:
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {path}")
    done = box.run("sh", "-c", f"echo 0 > {path}", userns=userns)
    assert done.code != 0
    assert b"Read-only file system" in done.err or b"Permission denied" in done.err


def test_a_mask_cannot_be_taken_off_without_privilege(box: Box) -> None:
    done = box.run("sh", "-c", "umount /proc/kcore || umount -l /proc/kcore")
    assert done.code != 0


def test_even_with_sys_admin_of_its_namespace_the_hosts_parameters_stay(box: Box) -> None:
    """Root inside may then unmount the masks; the kernel still asks for the host's root."""
    script = (
        "umount /proc/sys; mount -o remount,rw /proc; mount -t proc p /tmp;"
        " for f in /tmp/sys /proc/sys; do"
        " cat $f/kernel/core_pattern > /old;"
        " cat /old > $f/kernel/core_pattern && echo WROTE; done;"
        " head -c 1 /tmp/kcore | wc -c; true"
    )
    out = box.sh(script, edit=with_caps, userns=True)
    assert "WROTE" not in out
    assert out.split()[-1] == "0"


@pytest.mark.parametrize("userns", [True, False])
def test_devices_are_present_and_only_those(box: Box, userns: bool) -> None:
    out = box.sh(
        "cd /dev; for f in *; do [ -c $f -a ! -L $f ] && echo $f $(stat -c %t:%T:%a $f); "
        "[ -b $f ] && echo block $f; done; true",
        userns=userns,
    )
    found = dict(line.split() for line in out.splitlines())
    assert found == {
        "null": "1:3:666",
        "zero": "1:5:666",
        "full": "1:7:666",
        "random": "1:8:666",
        "urandom": "1:9:666",
        "tty": "5:0:666",
    }


def test_devices_work(box: Box) -> None:
    script = (
        "head -c 3 /dev/zero | wc -c; echo x > /dev/null;"
        "head -c 4 /dev/urandom | wc -c; echo y > /dev/full"
    )
    done = box.run("sh", "-c", script)
    assert done.out.split() == [b"3", b"4"]
    assert b"No space left" in done.err


def test_links_in_dev(box: Box) -> None:
    out = box.sh("cd /dev; for f in fd stdin stdout stderr ptmx; do readlink $f; done").split()
    assert out == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ]


def test_a_device_of_the_spec(box: Box) -> None:
    """With a user namespace the host's node is bound, whatever the name is inside."""
    entry = {
        "path": "/dev/mynull",
        "type": "c",
        "major": 1,
        "minor": 3,
        "fileMode": 0o600,
        "uid": 0,
        "gid": 0,
    }
    fifo = {"path": "/dev/fifo", "type": "p", "fileMode": 0o640}
    for userns in (None, False):
        out = box.sh(
            "stat -c %F:%t:%T /dev/mynull /dev/fifo",
            userns=userns,
            edit=lambda s: s["linux"].update(devices=[entry, fifo]),
        )
        assert out.splitlines() == ["character special file:1:3", "fifo:0:0"]


def test_mode_and_owner_of_a_default_device(box: Box) -> None:
    entry = {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o620, "gid": 5}
    out = box.sh(
        "stat -c %t:%T:%a:%u:%g /dev/tty /dev/full",
        userns=False,
        edit=lambda s: s["linux"].update(devices=[entry]),
    )
    assert out.splitlines() == ["5:0:620:0:5", "1:7:666:0:0"]


def test_a_device_of_the_host_may_get_another_name(box: Box) -> None:
    """Where its node is on the host is no part of what is kept for later starts."""
    name = f"/dev/kt-{os.getpid()}"
    entry = {"path": name, "type": "c", "major": 1, "minor": 3}

    def start() -> str:
        return box.sh(f"stat -c %t:%T {name}", edit=lambda s: s["linux"].update(devices=[entry]))

    os.mknod(name, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    try:
        assert [start(), start()] == ["1:3\n"] * 2
    finally:
        os.unlink(name)
    assert [start(), start()] == ["1:3\n"] * 2


def test_a_device_node_of_the_image_is_dead(box: Box) -> None:
    layer = box.layer()
    os.mknod(layer / "zero", 0o020666, os.makedev(1, 5))
    done = box.run("head", "-c", "1", "/zero", layers=(layer,), userns=True)
    assert done.code != 0
    assert b"Permission denied" in done.err


def test_no_device_can_be_made(box: Box) -> None:
    assert box.run("mknod", "/d", "b", "8", "0", edit=with_caps, userns=True).code != 0


@pytest.mark.parametrize("userns", [True, False])
def test_sysctls_of_its_own_namespaces(box: Box, userns: bool) -> None:
    before = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    values = {
        "net.ipv4.ip_unprivileged_port_start": "81",
        "kernel.shmmni": "99",
        "fs.mqueue.queues_max": "7",
    }
    out = box.sh(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni"
        " /proc/sys/fs/mqueue/queues_max",
        userns=userns,
        edit=lambda s: s["linux"].update(sysctl=values),
    )
    assert out.split() == ["81", "99", "7"]
    assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == before


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("kernel.pid_max", "kernel/pid_max"),
        ("kernel.core_pattern", "kernel/core_pattern"),
        ("net/../kernel/core_pattern", "kernel/core_pattern"),
        ("kernel/shmmax/../core_pattern", "kernel/core_pattern"),
        ("net.", "kernel/core_pattern"),
    ],
)
@pytest.mark.parametrize("userns", [True, False])
def test_sysctls_of_the_host_are_refused(box: Box, key: str, path: str, userns: bool) -> None:
    # The value it has: a test that fails must not change the machine.
    value = Path(f"/proc/sys/{path}").read_text().strip()
    with pytest.raises(LaunchFailed) as caught:
        box.run("true", userns=userns, edit=lambda s: s["linux"].update(sysctl={key: value}))
    assert key in caught.value.message
    assert caught.value.kind == "invalid"


@pytest.mark.parametrize("userns", [True, False])
def test_a_read_only_root(box: Box, userns: bool) -> None:
    def edit(made: Spec) -> None:
        made["root"]["readonly"] = True
        made["mounts"].append(mount("/tmp", "tmpfs", "tmpfs", "mode=1777"))

    done = box.run(
        "sh",
        "-c",
        "echo x > /tmp/x && echo y > /dev/shm/y && ! echo z > /z",
        edit=edit,
        userns=userns,
    )
    assert done.code == 0, done.err
    assert b"Read-only file system" in done.err


@pytest.fixture
def volume(box: Box) -> Path:
    folder = box.folder("volume")
    (folder / "file").write_text("content")
    os.chown(folder / "file", 0, 0)
    return folder


@pytest.mark.parametrize("userns", [True, False])
def test_bind_mounts(box: Box, volume: Path, userns: bool) -> None:
    out = box.sh(
        "cat /data/file; echo new > /data/new; stat -c %u /data/file /data/new",
        edit=lambda s: s["mounts"].append(mount("/data", str(volume))),
        userns=userns,
    )
    assert out.split() == ["content0", "0"]
    assert (volume / "new").stat().st_uid == 0


def test_ids_in_a_bind_mount_are_mapped(box: Box, volume: Path) -> None:
    box.sh(
        "touch /data/theirs; chown 1000:50 /data/theirs",
        userns=True,
        edit=lambda s: s["mounts"].append(mount("/data", str(volume))),
    )
    made = (volume / "theirs").stat()
    assert (made.st_uid, made.st_gid) == (1000, 50)
    (volume / "strange").touch()
    os.chown(volume / "strange", ID_BASE + 70000, 0)
    out = box.sh(
        "stat -c %u /data/strange", edit=lambda s: s["mounts"].append(mount("/data", str(volume)))
    )
    assert out.strip() == "65534"


@pytest.mark.parametrize("userns", [True, False])
def test_a_read_only_bind_mount_covers_what_is_mounted_below(
    box: Box, volume: Path, userns: bool
) -> None:
    if not box.can("mount_setattr"):
        pytest.skip("this kernel changes one mount at a time")
    below = volume / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", below], check=True)
    try:
        (below / "deep").write_text("deep")
        done = box.run(
            "sh",
            "-c",
            "cat /data/below/deep; echo x > /data/x; echo x > /data/below/x; true",
            edit=lambda s: s["mounts"].append(mount("/data", str(volume), "bind", "rbind", "rro")),
            userns=userns,
        )
    finally:
        subprocess.run(["umount", below], check=True)
    assert done.out == b"deep"
    assert done.err.count(b"Read-only file system") == 2


@pytest.mark.parametrize("userns", [True, False])
def test_a_read_only_bind_mount_stays_so_without_sys_admin(
    box: Box, volume: Path, userns: bool
) -> None:
    done = box.run(
        "sh",
        "-c",
        "mount -o remount,rw,bind /data; umount /data; echo x > /data/x",
        edit=lambda s: s["mounts"].append(mount("/data", str(volume), "bind", "rbind", "ro")),
        userns=userns,
    )
    assert done.code != 0
    assert not (volume / "x").exists()


def test_a_bind_mount_of_one_file(box: Box, volume: Path) -> None:
    out = box.sh(
        "cat /etc/motd; stat -c %F /etc/motd",
        edit=lambda s: s["mounts"].append(mount("/etc/motd", str(volume / "file"))),
    )
    assert out.splitlines() == ["contentregular file"]


def test_mounts_made_inside_do_not_reach_the_host(box: Box, volume: Path) -> None:
    def edit(made: Spec) -> None:
        with_caps(made)
        made["mounts"].append(mount("/data", str(volume)))

    before = Path("/proc/self/mountinfo").read_text().count("\n")
    one = box.start(
        "sh",
        "-c",
        "cd /data; mkdir m; mount -t tmpfs x m; touch m/in; echo go; cat",
        stdin=True,
        edit=edit,
    )
    one.until(b"go")
    assert not (volume / "m/in").exists()
    assert abs(Path("/proc/self/mountinfo").read_text().count("\n") - before) < 20
    one.kill()


def test_a_tmpfs_with_size_and_mode(box: Box) -> None:
    out = box.sh(
        "stat -c %a /scratch; df -k /scratch | tail -1;"
        " dd if=/dev/zero of=/scratch/x bs=1M count=3"
        " 2>&1 | tail -1; stat -c %s /scratch/x",
        edit=lambda s: s["mounts"].append(
            mount("/scratch", "tmpfs", "tmpfs", "size=1m", "mode=1770", "noexec")
        ),
    )
    lines = out.splitlines()
    assert lines[0] == "1770"
    assert lines[1].split()[1] == "1024"
    assert lines[-1] == str(1 << 20)


def test_mounts_are_made_in_order(box: Box, volume: Path) -> None:
    def edit(made: Spec) -> None:
        made["mounts"] += [
            mount("/data", str(volume)),
            mount("/data/t", "tmpfs", "tmpfs"),
            mount("/data/t/inner", str(volume)),
        ]

    assert box.sh("cat /data/t/inner/file", edit=edit) == "content"


def test_the_host_is_nowhere_in_its_mount_table(box: Box) -> None:
    out = box.sh("cat /proc/self/mountinfo", edit=with_caps)
    assert str(box.containers) not in out
    assert all(line.split()[4].startswith("/") for line in out.splitlines())
    targets = [line.split()[4] for line in out.splitlines()]
    assert targets.count("/") == 1


@pytest.mark.parametrize("userns", [True, False])
def test_the_working_directory_is_made(box: Box, userns: bool) -> None:
    out = box.sh(
        "pwd; stat -c %u:%a .", edit=lambda s: s["process"].update(cwd="/a/b/c"), userns=userns
    )
    assert out.split() == ["/a/b/c", "0:755"]


def test_a_working_directory_that_is_a_file(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.run("true", edit=lambda s: s["process"].update(cwd="/etc/passwd"))
    assert "/etc/passwd" in caught.value.message


def test_a_working_directory_its_user_may_not_enter(box: Box) -> None:
    def edit(made: Spec) -> None:
        made["process"]["cwd"] = "/secret"
        made["process"]["user"]["x-knarr-name"] = "alice"

    layer = box.layer()
    (layer / "secret").mkdir(mode=0o700)
    with pytest.raises(LaunchFailed) as caught:
        box.run("true", edit=edit, layers=(layer,))
    assert "ermission denied" in caught.value.message


def test_cgroups_are_read_only(box: Box) -> None:
    done = box.run(
        "sh",
        "-c",
        "find /sys/fs/cgroup -name cgroup.procs | head -3 |"
        " while read f; do "
        "echo 1 > $f && echo wrote; done; find /sys/fs/cgroup -type d | head -3 |"
        " while read d; do mkdir $d/x && echo made; done; true",
    )
    assert done.out == b""


def test_a_release_agent_cannot_be_set(box: Box) -> None:
    script = (
        "for d in /sys/fs/cgroup/*; do mount -o remount,rw $d; umount $d; done 2>/dev/null;"
        " mkdir -p /m; for c in memory pids cpu rdma devices freezer; do"
        "  mount -t cgroup -o $c c /m && { echo /evil > /m/release_agent && echo set;"
        "   mkdir /m/x && echo 1 > /m/x/notify_on_release && echo notify;"
        "   umount /m; }; done; true"
    )
    done = box.run("sh", "-c", script, edit=with_caps)
    assert b"set" not in done.out
    for agent in Path("/sys/fs/cgroup").glob("*/release_agent"):
        assert "evil" not in agent.read_text()


def test_the_default_set_has_no_dangerous_capability() -> None:
    assert not set(capabilities.DEFAULT) & {
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE",
        "CAP_SYS_MODULE",
        "CAP_DAC_READ_SEARCH",
        "CAP_BPF",
    }
