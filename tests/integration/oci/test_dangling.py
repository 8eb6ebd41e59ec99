"""Mounts whose place is a symbolic link to nowhere: what it leads to is made, in the root."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from knarr.oci.abilities import default_config
from knarr.runtime.program.carrier import INTERPRETER_VARIABLE
from tests.support.bundles import Oci
from tests.support.execs import user_namespace

DEFAULTS: list[dict[str, Any]] = default_config()["mounts"]


def bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "source": str(source), "options": ["bind"]}


def tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "t", "options": list(options)}


def linked(oci: Oci, links: dict[str, str], *args: str, **changes: Any) -> Path:
    """Return a bundle with a root of its own, in which there are these links."""
    changes = {"root": {"path": "rootfs"}} | changes
    path = oci.bundle(*args, **changes)
    oci.copy_root(path / "rootfs")
    for name, target in links.items():
        place = path / "rootfs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            place.rmdir()  # another test has mounted something there
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    return path


LINKS = [
    # Where it ends, and what the image has.
    ("/tmp/hosts", {"etc/hosts": "/tmp/hosts"}),
    ("/tmp/hosts", {"etc/hosts": "../../../tmp/hosts"}),
    ("/tmp/foo/bar/baz/hosts", {"jump": "/tmp/foo/bar", "etc/hosts": "/jump/baz/hosts"}),
    ("/run/a/b", {"etc/hosts": "one", "etc/one": "/two", "two": "run/a/b"}),
    ("/etc/new/hosts", {"etc/hosts": "new/./x/../hosts"}),
]


@pytest.mark.parametrize(("end", "links"), LINKS)
@pytest.mark.parametrize("interpreter", [False, True])
def test_bind_mounts(
    oci: Oci, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    end: str, links: dict[str, str], interpreter: bool,
) -> None:  # fmt: skip
    if interpreter:
        monkeypatch.setenv(INTERPRETER_VARIABLE, "1")
    (tmp_path / "file").write_text("of the host\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "in").write_text("inside\n")
    mounts = [*DEFAULTS, bind(tmp_path / "file", "/etc/hosts")]
    path = linked(oci, links, "sh", "-c", f"cat /etc/hosts {end}; grep -c ' {end} ' /proc/mounts",
                  mounts=mounts)  # fmt: skip
    assert oci("run", "-b", str(path), oci.name("file")) == "of the host\nof the host\n1\n"
    mounts = [*DEFAULTS, bind(tmp_path / "folder", "/etc/hosts")]
    path = linked(oci, links, "cat", "/etc/hosts/in", f"{end}/in", mounts=mounts)
    assert oci("run", "-b", str(path), oci.name("folder")) == "inside\ninside\n"
    # The second time it leads somewhere.
    assert oci("run", "-b", str(path), oci.name("again")) == "inside\ninside\n"


@pytest.mark.parametrize("options", [(), ("mode=0700",), ("tmpcopyup",)])
def test_a_tmpfs(oci: Oci, options: tuple[str, ...]) -> None:
    look = "grep -c ' /data/place ' /proc/mounts; stat -c %a /place /data"
    path = linked(oci, {"place": "/data/place"}, "sh", "-c", look,
                  mounts=[*DEFAULTS, tmpfs("/place", *options)])  # fmt: skip
    said = oci("run", "-b", str(path), oci.name("tmpfs")).split()
    assert said == ["1", "777", "755"]
    assert (path / "rootfs" / "data" / "place").stat().st_mode & 0o7777 == 0o755


def test_what_an_earlier_mount_covers_is_not_touched(oci: Oci, tmp_path: Path) -> None:
    """/etc/resolv.conf of a system with systemd, and a tmpfs on /run."""
    (tmp_path / "resolv").write_text("nameserver 127.0.0.1\n")
    mounts = [*DEFAULTS, tmpfs("/run"), bind(tmp_path / "resolv", "/etc/resolv.conf")]
    target = "../run/systemd/resolve/stub-resolv.conf"
    path = linked(oci, {"etc/resolv.conf": target}, "cat", "/etc/resolv.conf", mounts=mounts)
    assert oci("run", "-b", str(path), oci.name("resolv")) == "nameserver 127.0.0.1\n"
    assert not (path / "rootfs" / "run" / "systemd").exists()


def test_in_a_user_namespace_it_belongs_to_the_containers_root(oci: Oci, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    changes = user_namespace(oci, tmp_path)
    root = Path(changes["root"]["path"])
    (root / "tmp").chmod(0o1777)
    (root / "etc" / "place").symlink_to("/tmp/deep/file")
    path = oci.bundle("stat", "-c", "%u:%g", "/tmp/deep", **changes,
                      mounts=[*DEFAULTS, bind(tmp_path / "file", "/etc/place")])  # fmt: skip
    assert oci("run", "-b", str(path), oci.name("user")) == "0:0\n"
    found = (root / "tmp" / "deep").stat()
    assert (found.st_uid, found.st_gid) == (100000, 100000)


def test_two_of_them_and_hooks(oci: Oci, tmp_path: Path) -> None:
    """What is asked on the way does not get in the way of what stops there."""
    (tmp_path / "file").write_text("both\n")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo ran >>{tmp_path}/ran"]}
    mounts = [*DEFAULTS, bind(tmp_path / "file", "/one"), bind(tmp_path / "file", "/two")]
    path = linked(oci, {"one": "/tmp/1", "two": "/tmp/2"}, "cat", "/tmp/1", "/tmp/2",
                  mounts=mounts, hooks={"createRuntime": [hook]})  # fmt: skip
    assert oci("run", "-b", str(path), oci.name("two")) == "both\nboth\n"
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_in_a_time_namespace(oci: Oci, tmp_path: Path) -> None:
    """Its process has a copy of the memory in which the question is asked."""
    (tmp_path / "file").write_text("apart\n")
    path = linked(oci, {"one": "/tmp/1"}, "cat", "/tmp/1",
                  mounts=[*DEFAULTS, bind(tmp_path / "file", "/one")])  # fmt: skip
    oci.change(path, lambda config: config["linux"]["namespaces"].append({"type": "time"}))
    assert oci("run", "-b", str(path), oci.name("time")) == "apart\n"


@pytest.mark.parametrize(("links", "said"), [
    ({"etc/place": "place"}, "Too many levels of symbolic links"),
    ({"etc/place": "/etc/other", "etc/other": "/etc/place"}, "Too many levels of symbolic links"),
    ({"etc/place": "/etc/passwd/x"}, "Not a directory"),
    ({"etc/place": "/proc/sys/nosuch"}, "symbolic link to nowhere"),
    ({"etc/place": "/sys/nosuch/file"}, "symbolic link to nowhere"),
])  # fmt: skip
def test_links_for_which_nothing_can_be_made(
    oci: Oci, tmp_path: Path, links: dict[str, str], said: str
) -> None:
    (tmp_path / "file").write_text("x")
    index = len(DEFAULTS)
    path = linked(oci, links, "true", mounts=[*DEFAULTS, bind(tmp_path / "file", "/etc/place")])
    text = oci("create", "-b", str(path), oci.name("bad"), check=False)
    assert text.startswith(f"knarr-oci: mounts[{index}]: ")
    assert said in text
    assert oci("list", "-q") == ""


def test_nothing_is_made_outside_the_root(oci: Oci, tmp_path: Path) -> None:
    """A link with the host's own path, and one that climbs, end below the root."""
    (tmp_path / "file").write_text("x")
    for number, target in enumerate((f"{tmp_path}/out", "../../../../../../../../.." + str(tmp_path)
                                     + "/out")):  # fmt: skip
        path = linked(oci, {"place": target}, "true",
                      mounts=[*DEFAULTS, bind(tmp_path / "file", "/place")])  # fmt: skip
        oci("run", "-b", str(path), oci.name(f"out{number}"))
        assert not (tmp_path / "out").exists()
        assert (path / "rootfs" / str(tmp_path).lstrip("/") / "out").is_file()


def test_what_is_mounted_into_procfs_by_such_a_link_is_refused(oci: Oci, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = linked(oci, {"place": "/jump/version", "jump": "/proc"}, "true",
                  mounts=[*DEFAULTS, bind(tmp_path / "file", "/place")])  # fmt: skip
    said = oci("create", "-b", str(path), oci.name("proc"), check=False)
    assert "leads into /proc" in said


def test_procfs_itself_is_not_put_where_a_link_leads(oci: Oci) -> None:
    path = linked(oci, {}, "true")
    os.rmdir(path / "rootfs" / "proc")
    (path / "rootfs" / "proc").symlink_to("/nowhere")
    assert json.loads((path / "config.json").read_text())["mounts"][0]["type"] == "proc"
    said = oci("create", "-b", str(path), oci.name("proc"), check=False)
    assert "mounts[0]: mount proc on /proc" in said
    assert not (path / "rootfs" / "nowhere").exists()
