"""Bind mounts of what the container's own root has, and places named by the host's path of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from knarr.oci.abilities import default_config
from tests.integration.oci.test_mounts import IDS, USERNS, bind, needs_id_maps, tmpfs
from tests.support.bundles import Oci

DEFAULTS: list[dict[str, Any]] = default_config()["mounts"]


def with_root(oci: Oci, *args: str, **changes: Any) -> tuple[Path, Path]:
    """Return a bundle and its own root."""
    path = oci.bundle(*args, root={"path": "rootfs"}, **changes)
    root = path / "rootfs"
    oci.copy_root(root)
    return path, root


def mount(oci: Oci, path: Path, *entries: dict[str, Any]) -> None:
    oci.change(path, lambda config: config["mounts"].extend(entries))


def tree_of_mounts(oci: Oci, path: Path, root: Path, *last: str) -> None:
    """As runc's tests have it: a tree of mounts that holds parts of itself."""
    sources = path / "sources"
    for name in ("a/x", "b/y", "c/z"):
        (sources / name).mkdir(parents=True)
        (sources / name / "file").write_text(f"{name}\n")
        (sources / f"link-{name[0]}").symlink_to(name[0])
    mount(
        oci, path,
        bind(sources / "a", "/mnt", "bind"),
        bind(sources / "link-b", "/mnt/x", "bind"),
        bind(sources / "c", "/mnt/x/y", "bind"),
        bind(sources / "link-a", "/mnt/x/y/z", "bind"),
        bind(root / "mnt/x", f"{root}/mnt/x/y/z/x", *last),
        bind(root / "mnt/x/y", f"{root}/mnt/x/y/z", *last),
        bind(root / "mnt", f"{root}/final", *last),
    )  # fmt: skip


def test_what_the_mounts_before_have_made(oci: Oci) -> None:
    path, root = with_root(oci, "cat", "/final/x/y/z/z/x/y/z/x/file")
    tree_of_mounts(oci, path, root, "rbind")
    assert oci("run", "-b", str(path), oci.name("tree")) == "a/x\n"


@pytest.mark.parametrize("userns", [False, True])
def test_through_an_id_map(oci: Oci, tmp_path: Path, userns: bool) -> None:
    needs_id_maps(tmp_path)
    path, root = with_root(oci, "stat", "-c", "%u:%g", "/two/file", "/other/file")
    mount(oci, path, bind(tmp_path / "source", "/one", "bind"))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").touch()
    base = IDS[0]["hostID"] if userns else 0
    maps = {"uidMappings": [{"containerID": 0, "hostID": base + 7, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": base + 8, "size": 10}]}  # fmt: skip
    words = ("bind", "idmap")
    if userns:
        subprocess.run(["chown", "-hR", "100000:100000", str(root)], check=True)
        linux = {"namespaces": USERNS, "uidMappings": IDS, "gidMappings": IDS, "resources": {}}
        oci.change(path, lambda config: config["linux"].update(linux))
        mount(oci, path, bind(root / "one", "/two", *words),
              bind(root / "one", "/other", *words) | maps)  # fmt: skip
    else:
        mount(oci, path, bind(root / "one", "/two", "bind"),
              bind(root / "one", "/other", *words) | maps)  # fmt: skip
    assert oci("run", "-b", str(path), oci.name("mapped")) == "0:0\n7:8\n"


def test_a_map_that_cannot_be(oci: Oci) -> None:
    path, root = with_root(oci, "true")
    maps = {"uidMappings": [{"containerID": 0, "hostID": 7, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 8, "size": 10}]}  # fmt: skip
    mount(oci, path, bind(root / "proc", "/two", "bind") | maps)
    said = oci("create", "-b", str(path), oci.name("bad"), check=False)
    assert f"mounts[{len(DEFAULTS)}].uidMappings: /proc: Invalid argument" in said
    assert oci("list", "-q") == ""


def test_files_and_options(oci: Oci) -> None:
    look = "cat /etc/copy; echo x >/etc/copy; echo y >/there/new; ls /data; stat -c %a /data/new"
    path, root = with_root(oci, "sh", "-c", look)
    (root / "etc" / "file").write_text("text\n")
    mount(
        oci, path,
        bind(root / "etc/file", "/etc/copy", "bind", "ro"),
        tmpfs("/data"),
        # Relative to the bundle, as every source.
        bind("rootfs/data", "/there", "bind"),
    )  # fmt: skip
    said = oci("run", "-b", str(path), oci.name("files"), status=None)
    refused = "sh: can't create /etc/copy: Read-only file system"
    assert said.splitlines() == ["text", "new", "644", refused]
    assert (root / "etc" / "file").read_text() == "text\n"
    assert list((root / "data").iterdir()) == []


def test_a_link_of_the_image_leads_to_no_file_of_the_host(oci: Oci, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host\n")
    path, root = with_root(oci, "cat", "/shown")
    (root / "source").symlink_to(tmp_path / "secret")
    mount(oci, path, bind(root / "source", "/shown", "bind"))
    said = oci("run", "-b", str(path), oci.name("link"), check=False)
    assert f"mounts[{len(DEFAULTS)}]: " in said
    assert "No such file or directory: /source" in said
    # Nor does one through a magic link.
    (root / "source").unlink()
    (root / "source").symlink_to("/proc/self/root/etc")
    said = oci("run", "-b", str(path), oci.name("magic"), check=False)
    assert "Too many levels of symbolic links: /source" in said


def test_a_source_that_is_not_there(oci: Oci) -> None:
    path, root = with_root(oci, "true")
    mount(oci, path, bind(root / "nosuch", "/shown", "bind"))
    said = oci("create", "-b", str(path), oci.name("none"), check=False)
    assert f"mounts[{len(DEFAULTS)}]: bind /nosuch on /shown" in said
    assert oci("list", "-q") == ""


def test_what_start_says_when_it_fails_later(oci: Oci) -> None:
    """The program is written down once more, from another directory."""
    path, root = with_root(oci, "/bin/tool")
    (root / "bin" / "tool").write_text("#!/no/such/interpreter\n")
    (root / "bin" / "tool").chmod(0o755)
    mount(
        oci, path, bind("rootfs/etc", "/there", "bind"), bind(root / "etc", f"{root}/too", "bind")
    )
    name = oci.name("late")
    oci("create", "-b", str(path), name)
    assert 'exec: "/bin/tool": no such file or directory' in oci("start", name, check=False)
