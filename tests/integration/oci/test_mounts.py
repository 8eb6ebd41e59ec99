"""Mounts of a bundle: every option has its effect, as the container's own mountinfo shows it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from knarr.oci.abilities import default_config
from knarr.runtime import usernamespace
from knarr.runtime.rootfs import clone_tree
from tests.support import kernels
from tests.support.bundles import Oci

DEFAULTS: list[dict[str, Any]] = default_config()["mounts"]
USERNS = [{"type": kind} for kind in ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")]
IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "t", "options": list(options)}


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": list(options)}


def mounted(oci: Oci, *entries: dict[str, Any]) -> dict[str, tuple[set[str], str, set[str]]]:
    """Run a container with these mounts behind the usual ones.

    Returns for each place the mount's options, its propagation, and its file system's options.
    """
    path = oci.bundle("cat", "/proc/self/mountinfo", mounts=[*DEFAULTS, *entries])
    found = {}
    for line in oci("run", "-b", str(path), oci.name("mounts")).splitlines():
        own, _, file_system = line.partition(" - ")
        words = own.split()
        found[words[4]] = (set(words[5].split(",")), " ".join(words[6:]),
                           set(file_system.split()[2].split(",")))  # fmt: skip
    return found


@pytest.mark.parametrize("option", ["nosuid", "nodev", "noexec", "noatime", "nodiratime",
                                    "nosymfollow", "ro"])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "r"])
def test_flags_of_a_new_file_system_and_of_a_bind_mount(
    oci: Oci, tmp_path: Path, option: str, prefix: str
) -> None:
    word = prefix + option
    found = mounted(oci, tmpfs("/t", word), bind(tmp_path, "/b", "bind", word))
    assert option in found["/t"][0]
    assert option in found["/b"][0]


def test_flags_are_taken_back_by_their_opposites(oci: Oci) -> None:
    flags = ("ro", "nosuid", "nodev", "noexec", "nodiratime", "nosymfollow", "noatime")
    opposite = ("rw", "suid", "dev", "exec", "diratime", "symfollow", "atime")
    found = mounted(oci, tmpfs("/t", *flags, *opposite))
    assert found["/t"][0] == {"rw", "relatime"}


@pytest.mark.parametrize(("option", "shown"), [
    ("strictatime", set()), ("relatime", {"relatime"}), ("noatime", {"noatime"}),
    ("norelatime", set()), ("nostrictatime", {"relatime"}), ("rstrictatime", set()),
])  # fmt: skip
def test_times_of_access(oci: Oci, tmp_path: Path, option: str, shown: set[str]) -> None:
    found = mounted(oci, tmpfs("/t", option), bind(tmp_path, "/b", "bind", option))
    assert found["/t"][0] == found["/b"][0] - {"nosuid", "nodev", "noexec"} == {"rw", *shown}


@pytest.mark.parametrize(("option", "shown"), [
    ("sync", "sync"), ("dirsync", "dirsync"), ("lazytime", "lazytime"), ("size=64k", "size=64k"),
    ("mode=0700", "mode=700"), ("mand", "mand"),
])  # fmt: skip
def test_options_of_a_file_system(oci: Oci, option: str, shown: str) -> None:
    assert shown in mounted(oci, tmpfs("/t", option))["/t"][2]


@pytest.mark.parametrize(
    "option", ["defaults", "async", "loud", "silent", "noiversion", "iversion", "nolazytime",
               "nomand", "unbindable", "private"],
)  # fmt: skip
def test_options_that_are_the_usual_state_or_not_shown(oci: Oci, option: str) -> None:
    options, propagation, _ = mounted(oci, tmpfs("/t", option))["/t"]
    assert (options, propagation) == (
        {"rw", "relatime"},
        "unbindable" if option == "unbindable" else "",
    )


@pytest.mark.parametrize(("option", "below"), [
    ("shared", False), ("rshared", True), ("unbindable", False), ("runbindable", True),
])  # fmt: skip
def test_propagation(oci: Oci, tmp_path: Path, option: str, below: bool) -> None:
    """A clone of what is mounted below is private unless the option is a recursive one."""
    (tmp_path / "in").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "t", str(tmp_path / "in")], check=True)
    try:
        found = mounted(oci, bind(tmp_path, "/b", "rbind", option), tmpfs("/t", option))
    finally:
        subprocess.run(["umount", str(tmp_path / "in")], check=True)
    word = option.removeprefix("r")
    assert found["/b"][1].startswith(word)
    assert found["/t"][1].startswith(word)
    assert found["/b/in"][1].startswith(word) or not below


def test_flags_of_a_whole_tree(oci: Oci, tmp_path: Path) -> None:
    if not kernels.changes_trees():
        path = oci.bundle("true", mounts=[*DEFAULTS, bind(tmp_path, "/all", "rbind", "rro")])
        text = oci("run", "-b", str(path), oci.name("old"), check=False)
        assert f"mounts[{len(DEFAULTS)}]: " in text
        assert "mount_setattr: Function not implemented" in text
        return
    (tmp_path / "in").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "t", str(tmp_path / "in")], check=True)
    try:
        found = mounted(
            oci,
            bind(tmp_path, "/one", "rbind", "ro"),
            bind(tmp_path, "/all", "rbind", "rro", "rnoexec"),
            bind(tmp_path, "/back", "rbind", "ro", "rrw"),
        )
    finally:
        subprocess.run(["umount", str(tmp_path / "in")], check=True)
    assert "ro" in found["/one"][0]
    assert "rw" in found["/one/in"][0]
    assert {"ro", "noexec"} <= found["/all"][0] & found["/all/in"][0]
    assert "rw" in found["/back"][0] & found["/back/in"][0]


@pytest.mark.parametrize("mode", [0o710, 0o7777, 0o1777, 0o5, 0o2640])
def test_a_tmpfs_without_a_mode_has_that_of_what_it_covers(oci: Oci, mode: int) -> None:
    """As a mode that it was given: runc and crun do so, and a remount keeps it."""
    look = "stat -c %a /place; grep ' /place ' /proc/mounts"
    path = oci.bundle("sh", "-c", look, root={"path": "rootfs"},
                      mounts=[*DEFAULTS, tmpfs("/place", "size=64k")])  # fmt: skip
    oci.copy_root(path / "rootfs")
    place = path / "rootfs" / "place"
    place.mkdir()
    place.chmod(mode)
    said = oci("run", "-b", str(path), oci.name("like")).splitlines()
    assert said[0] == f"{mode:o}"
    assert (f"mode={mode:03o}" in said[1]) == (mode != 0o1777)
    oci.change(path, lambda config: config["mounts"][-1]["options"].append("mode=1500"))
    assert oci("run", "-b", str(path), oci.name("own")).startswith("1500\n")
    assert place.stat().st_mode & 0o7777 == mode


def test_a_tmpfs_without_a_mode_where_nothing_is(oci: Oci) -> None:
    path = oci.bundle("stat", "-c", "%a", "/run/a", "/run/a/b", root={"path": "rootfs"},
                      mounts=[*DEFAULTS, tmpfs("/run/a/b")])  # fmt: skip
    oci.copy_root(path / "rootfs")
    assert oci("run", "-b", str(path), oci.name("new")).split() == ["755", "1777"]


def test_dev_that_is_read_only(oci: Oci) -> None:
    """It becomes so when everything is in it; what is mounted below stays writable."""
    mounts = [dict(entry) for entry in DEFAULTS]
    for entry in mounts:
        if entry["destination"] == "/dev":
            entry["options"] = ["nosuid", "mode=755", "ro"]
    script = (
        "echo x >/dev/shm/y && echo x >/dev/null && echo written; touch /dev/z 2>&1; ls /dev/ptmx"
    )
    path = oci.bundle("sh", "-c", script, mounts=mounts)
    said = oci("run", "-b", str(path), oci.name("dev")).splitlines()
    assert said == ["written", "touch: /dev/z: Read-only file system", "/dev/ptmx"]


def test_paths_that_are_named_twice(oci: Oci) -> None:
    linux = {"maskedPaths": ["/etc", "/etc"], "readonlyPaths": ["/bin", "/bin"]}
    path = oci.bundle("cat", "/proc/self/mountinfo", linux=linux)
    places = [line.split()[4] for line in oci("run", "-b", str(path), oci.name("two")).splitlines()]
    assert [places.count(place) for place in ("/etc", "/bin")] == [1, 1]


def test_source_is_relative_to_the_bundle(oci: Oci) -> None:
    path = oci.bundle("cat", "/f", mounts=[*DEFAULTS, bind("here/file", "/f", "bind")])
    (path / "here").mkdir()
    (path / "here" / "file").write_text("of the bundle\n")
    assert oci("run", "-b", str(path), oci.name("relative")) == "of the bundle\n"


def test_what_cannot_have_an_effect_is_said(oci: Oci, tmp_path: Path) -> None:
    log = tmp_path / "log"
    path = oci.bundle("true", mounts=[*DEFAULTS, bind(tmp_path, "/b", "bind", "sync", "size=1")])
    oci("--log", str(log), "run", "-b", str(path), oci.name("warned"))
    assert f"mounts[{len(DEFAULTS)}].options: sync, size=1 have no effect" in log.read_text()


def test_remount_changes_what_is_there(oci: Oci, tmp_path: Path) -> None:
    found = mounted(
        oci,
        tmpfs("/t", "nosuid", "size=64k"),
        {"destination": "/t", "options": ["remount", "ro", "noexec", "size=128k"]},
        bind(tmp_path, "/b", "bind"),
        {"destination": "/b", "options": ["remount", "bind", "ro"]},
    )
    assert {"ro", "nosuid", "noexec"} <= found["/t"][0]
    assert {"ro", "size=128k"} <= found["/t"][2]
    assert "ro" in found["/b"][0]
    assert "ro" not in found["/b"][2]


def test_a_mount_of_control_groups_has_the_options_that_podman_gives(oci: Oci) -> None:
    words = ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"]
    mounts = [entry for entry in DEFAULTS if entry["type"] != "cgroup"]
    mounts.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "options": words})
    path = oci.bundle("cat", "/proc/self/mountinfo", mounts=mounts)
    lines = [line.split() for line in oci("run", "-b", str(path), oci.name("cg")).splitlines()]
    below = [words for words in lines if words[4].startswith("/sys/fs/cgroup")]
    assert below
    for line in below:
        assert {"ro", "nosuid", "noexec", "nodev"} <= set(line[5].split(",")), line
        assert line[6] == "-"


# --- id maps -------------------------------------------------------------------------------------


def needs_id_maps(path: Path) -> None:
    """Skip where files of tests lie on a file system without id-mapped mounts."""
    userns = usernamespace.make([(0, 7, 1)], [(0, 7, 1)])
    try:
        os.close(clone_tree(str(path), userns))
    except OSError as error:
        pytest.skip(f"no id-mapped mounts of {path}: {error.strerror}")
    finally:
        os.close(userns)


def owners(oci: Oci, *entries: dict[str, Any], **linux: Any) -> list[str]:
    look = "for f in $(find /m | sort); do stat -c %u:%g $f; done"
    path = oci.bundle("sh", "-c", look, mounts=[*DEFAULTS, *entries], linux=linux)
    return oci("run", "-b", str(path), oci.name("mapped")).split()


def test_a_mount_with_id_maps_of_its_own(oci: Oci, tmp_path: Path) -> None:
    needs_id_maps(tmp_path)
    maps = {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 10}]}  # fmt: skip
    source = tmp_path / "source"
    source.mkdir()
    (source / "root").touch()
    (source / "user").touch()
    os.chown(source / "user", 5, 6)
    for words in (["bind"], ["bind", "idmap"], ["rbind", "ridmap"]):
        entry = bind(source, "/m", *words) | maps
        assert owners(oci, entry) == ["1000:2000", "1000:2000", "1005:2006"]
    # Also where the container has a user namespace, through which that is seen once more.
    wide = [{"containerID": 0, "hostID": 1000, "size": 10},
            {"containerID": 10, "hostID": 2000, "size": 10}]  # fmt: skip
    linux = {"namespaces": USERNS, "uidMappings": wide, "gidMappings": wide, "resources": {}}
    mounts = [entry for entry in DEFAULTS if entry["destination"] != "/dev/mqueue"]
    entry = bind(source, "/m", "bind", "idmap") | maps
    path = oci.bundle("stat", "-c", "%u:%g", "/m/user", mounts=[*mounts, entry], linux=linux,
                      root={"path": "rootfs"})  # fmt: skip
    subprocess.run(["cp", "-a", str(oci.rootfs), str(path / "rootfs")], check=True)
    subprocess.run(["chown", "-hR", "1000:1000", str(path / "rootfs")], check=True)
    assert oci("run", "-b", str(path), oci.name("both")) == "5:16\n"


def test_a_map_for_one_mount_or_for_a_whole_tree(oci: Oci, tmp_path: Path) -> None:
    needs_id_maps(tmp_path)
    source = tmp_path / "source"
    (source / "in").mkdir(parents=True)
    (tmp_path / "other").mkdir()  # a tmpfs can be mapped since Linux 6.3 only
    subprocess.run(["mount", "--bind", str(tmp_path / "other"), str(source / "in")], check=True)
    maps = {"uidMappings": [{"containerID": 0, "hostID": 7, "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": 8, "size": 1}]}  # fmt: skip
    try:
        one = owners(oci, bind(source, "/m", "rbind", "idmap") | maps)
        tree = owners(oci, bind(source, "/m", "rbind", "ridmap") | maps)
    finally:
        subprocess.run(["umount", str(source / "in")], check=True)
    assert one == ["7:8", "0:0"]
    assert tree == ["7:8", "7:8"]


def test_a_mount_through_the_map_of_the_container(oci: Oci, tmp_path: Path) -> None:
    needs_id_maps(tmp_path)
    (tmp_path / "file").touch()
    linux = {"namespaces": USERNS, "uidMappings": IDS, "gidMappings": IDS, "resources": {}}
    mounts = [*DEFAULTS, bind(tmp_path / "file", "/tmp/m", "bind", "idmap")]
    path = oci.bundle("stat", "-c", "%u:%g", "/tmp/m", mounts=mounts, linux=linux,
                      root={"path": "rootfs"})  # fmt: skip
    subprocess.run(["cp", "-a", str(oci.rootfs), str(path / "rootfs")], check=True)
    subprocess.run(["chown", "-hR", "100000:100000", str(path / "rootfs")], check=True)
    assert oci("run", "-b", str(path), oci.name("idmap")) == "0:0\n"
    mounts[-1] = bind("/proc/version", "/tmp/m", "bind", "idmap")
    path = oci.bundle("true", mounts=mounts, linux=linux, root={"path": "rootfs"})
    subprocess.run(["cp", "-a", str(oci.rootfs), str(path / "rootfs")], check=True)
    text = oci("run", "-b", str(path), oci.name("idmap"), check=False)
    assert f"mounts[{len(DEFAULTS)}].options: idmap: /proc/version: Invalid argument" in text


# --- tmpcopyup -----------------------------------------------------------------------------------


def tree(path: Path) -> None:
    """Make what a copy has to be equal in."""
    path.mkdir(mode=0o1777)
    path.chmod(0o1771)
    (path / "a").write_text("text")
    os.link(path / "a", path / "hard")
    (path / "a").chmod(0o4751)
    os.setxattr(path / "a", "trusted.knarr", b"x")
    (path / "link").symlink_to("/nowhere/at/all")
    os.mkfifo(path / "fifo", 0o640)
    os.mknod(path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (path / "deep" / "er").mkdir(parents=True)
    (path / "deep" / "er" / "file").write_bytes(bytes(3 << 20) + b"end")
    os.chown(path / "deep", 5, 6)


def with_tree(oci: Oci, *args: str, options: tuple[str, ...] = (), **changes: Any) -> Path:
    """Return a bundle with a root of its own, in which /place has a tree."""
    entry = tmpfs("/place", "tmpcopyup", *options)
    path = oci.bundle(*args, root={"path": "rootfs"}, mounts=[*DEFAULTS, entry], **changes)
    subprocess.run(["cp", "-a", str(oci.rootfs), str(path / "rootfs")], check=True)
    tree(path / "rootfs" / "place")
    return path


LOOK = """stat -c '%n %F %a %u:%g %h' /place /place/* /place/deep/er/*; readlink /place/link
md5sum /place/deep/er/file; echo more >/place/a && echo new >/place/new; grep -c ' /place ' \
/proc/mounts"""


def test_a_copy_is_what_the_image_has(oci: Oci) -> None:
    path = with_tree(oci, "sh", "-c", LOOK)
    name = oci.name("copied")
    outside = path / "rootfs" / "place"
    before = subprocess.run(["stat", "-c", "%n %F %a %u:%g %h", str(outside), *(
        str(outside / entry) for entry in sorted(os.listdir(outside))
    ), str(outside / "deep/er/file")], check=True, text=True, stdout=subprocess.PIPE)  # fmt: skip
    said = oci("run", "-b", str(path), name).splitlines()
    wanted = before.stdout.replace(str(outside), "/place").splitlines()
    # A directory on a tmpfs counts its links as others do, so all of it is the same.
    assert said[: len(wanted)] == wanted
    assert said[len(wanted)] == "/nowhere/at/all"
    assert said[-1] == "1"
    assert (outside / "a").read_text() == "text"
    assert not (outside / "new").exists()


def test_a_copy_that_is_to_be_read_only_and_has_a_mode(oci: Oci) -> None:
    look = "stat -c %a /place; cat /place/a; echo x >/place/a"
    path = with_tree(oci, "sh", "-c", look, options=("ro", "mode=0700"))
    said = oci("run", "-b", str(path), oci.name("ro"), check=False)
    assert said.startswith("700\ntext")
    assert "Read-only file system" in said


def test_a_copy_of_nothing(oci: Oci) -> None:
    path = oci.bundle("stat", "-c", "%a", "/run/new", root={"path": "rootfs"},
                      mounts=[*DEFAULTS, tmpfs("/run/new", "tmpcopyup")])  # fmt: skip
    subprocess.run(["cp", "-a", str(oci.rootfs), str(path / "rootfs")], check=True)
    assert oci("run", "-b", str(path), oci.name("none")) == "1777\n"


def test_a_copy_in_a_user_namespace(oci: Oci) -> None:
    linux = {"namespaces": USERNS, "uidMappings": IDS, "gidMappings": IDS, "resources": {}}
    path = with_tree(oci, "sh", "-c", "stat -c '%u:%g' /place/a /place/deep; echo new >/place/a",
                     linux=linux)  # fmt: skip
    (path / "rootfs" / "place" / "null").unlink()
    subprocess.run(["chown", "-hR", "100000:100000", str(path / "rootfs")], check=True)
    os.chown(path / "rootfs" / "place" / "deep", 100005, 100006)
    os.setxattr(path / "rootfs" / "place" / "a", "trusted.knarr", b"x")
    assert oci("run", "-b", str(path), oci.name("mapped")) == "0:0\n5:6\n"


def test_a_copy_that_does_not_fit_fails_and_leaves_nothing(oci: Oci) -> None:
    path = with_tree(oci, "true", options=("size=1m",))
    text = oci("create", "-b", str(path), oci.name("full"), check=False)
    assert "mounts: tmpcopyup on /place: No space left on device" in text
    assert oci("list", "-q") == ""


def test_a_copy_counts_for_the_container(oci: Oci) -> None:
    """An image cannot have the runtime take memory that the container may not use."""
    linux = {"resources": {"memory": {"limit": 16 << 20}}}
    path = with_tree(oci, "true", linux=linux)
    with (path / "rootfs" / "place" / "large").open("wb") as file:
        file.write(b"x" * (64 << 20))
    text = oci("create", "-b", str(path), oci.name("large"), check=False)
    assert re.search(r"tmpcopyup on /place: (signal 9|.*memory)", text), text


def test_a_link_at_the_place_does_not_lead_out(oci: Oci, tmp_path: Path) -> None:
    """What is copied, and where it is mounted, is found below the root."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("of the host")
    path = with_tree(oci, "sh", "-c", "ls /place/er; ls -A /out", options=())
    root = path / "rootfs"
    subprocess.run(["rm", "-r", str(root / "place")], check=True)
    (root / "place").symlink_to(tmp_path / "secret")
    (root / "out").mkdir()
    assert oci("run", "-b", str(path), oci.name("link"), status=None) == (
        "ls: /place/er: No such file or directory\n"
    )
    assert (root / str(tmp_path / "secret").lstrip("/")).is_dir()
