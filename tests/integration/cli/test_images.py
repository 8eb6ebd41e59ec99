"""images, tag, rmi, history, load, save, image inspect, image prune."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.installations import Installation
from tests.unit.images.helpers import Layout, config_of, tar_of


def test_images_and_names(box: Installation) -> None:
    table = box.run("images")[1].decode().splitlines()
    assert table[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert re.match(r"busybox +latest +[0-9a-f]{12} ", table[1])
    assert box.run("tag", "busybox", "mine/box:1") == (0, b"", b"")
    listed = box.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")[1].decode().split()
    assert sorted(listed) == ["busybox:latest", "mine/box:1"]
    assert len(box.run("images", "-q")[1].splitlines()) == 1
    assert box.run("images", "--format", "{{.Tag}}", "mine/box")[1] == b"1\n"
    assert box.run("rmi", "mine/box:1") == (0, b"Untagged: mine/box:1\n", b"")
    out = box.run("rmi", "busybox")[1].decode()
    assert out.startswith("Untagged: busybox:latest\nDeleted: sha256:")
    assert box.run("images", "-q")[1] == b""


def test_history_and_inspect(box: Installation) -> None:
    lines = box.run("history", "busybox")[1].decode().splitlines()
    assert lines[0].split() == ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    assert len(lines) >= 2
    value = json.loads(box.run("image", "inspect", "busybox")[1])
    assert value[0]["RepoTags"] == ["busybox:latest"]
    assert box.run("image", "inspect", "-f", "{{.Os}}", "busybox")[1] == b"linux\n"


def test_save_and_load(box: Installation, tmp_path: Path) -> None:
    before = box.run("images", "-q", "--no-trunc")[1]
    archive = box.run("save", "busybox")[1]
    file = tmp_path / "b.tar"
    assert box.run("save", "-o", str(file), "busybox") == (0, b"", b"")
    assert file.read_bytes() == archive
    folder = tmp_path / "layout"
    saved = box.run("save", "--format", "oci-dir", "-o", str(folder), "busybox")
    assert saved[0] == 0, saved
    for source in (["-i", str(file)], ["-i", str(folder)], []):
        assert box.run("rmi", "busybox")[0] == 0
        code, out, _ = box.run("load", *source, input=b"" if source else archive)
        assert (code, out) == (0, b"Loaded image: busybox:latest\n")
        assert box.run("images", "-q", "--no-trunc")[1] == before


def test_a_save_that_fails_leaves_no_file(box: Installation, tmp_path: Path) -> None:
    code, _, err = box.run("save", "-o", str(tmp_path / "x.tar"), "nothing")
    assert code == 1
    assert b"No such image: nothing" in err
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_archive(box: Installation) -> None:
    before = box.run("images", "-q")[1]
    code, _, err = box.run("load", input=b"not a tar" * 1000)
    assert code == 1
    assert err.startswith(b"Error: ")
    assert err.count(b"\n") == 1
    assert box.run("images", "-q")[1] == before


def test_image_prune(box: Installation, tmp_path: Path) -> None:
    assert box.run("image", "prune", input=b"n\n")[1].endswith(b"[y/N] ")
    assert box.run("image", "prune", "-f")[1] == b"Total reclaimed space: 0B\n"
    out = box.run("image", "prune", "-a", input=b"y\n")[1].decode()
    assert "untagged: busybox:latest" in out
    assert box.run("images", "-q")[1] == b""


def test_info_counts(box: Installation) -> None:
    box.run("create", "--name", "one", "busybox")
    assert box.run("info", "-f", "{{.Containers}} {{.Images}}")[1] == b"1 1\n"
    assert re.search(rb"Storage Driver: (erofs|overlay)\n", box.run("info")[1])
    box.run("rm", "one")


def _for_two_platforms(box: Installation, folder: Path) -> Path:
    """busybox as an image for this machine and for another, whose config differs."""
    assert box.run("save", "--format", "oci-dir", "-o", str(folder / "box"), "busybox")[0] == 0
    record = json.loads(box.run("image", "inspect", "busybox")[1])[0]
    files = folder / "box" / "blobs" / "sha256"
    layer = (files / record["RootFS"]["Layers"][0].removeprefix("sha256:")).read_bytes()
    layout = Layout()
    entries = []
    for architecture in (record["Architecture"], "s390x"):
        config = config_of(
            [layer],
            architecture=architecture,
            config={"Cmd": ["echo", architecture], "Env": ["PATH=/bin"]},
        )
        platform = {"os": "linux", "architecture": architecture}
        entries.append(
            layout.image([layer], config=config, compress=False, top=False, platform=platform)
        )
    layout.index(entries, "docker.io/library/two:1")
    archive = folder / "two.tar"
    archive.write_bytes(tar_of(layout.done()))
    return archive


def test_an_image_for_two_platforms(box: Installation, tmp_path: Path) -> None:
    archive = _for_two_platforms(box, tmp_path)
    assert box.run("load", "-qi", str(archive)) == (0, b"Loaded image: two:1\n", b"")
    here = box.run("run", "--rm", "--network", "none", "two:1")[1].decode().strip()
    other = "linux/s390x"
    assert box.run("run", "--rm", "--network", "none", "--platform", other, "two:1")[1] == (
        b"s390x\n"
    )
    listed = box.run("images", "--format", "{{.Repository}}")[1].decode().split()
    assert sorted(listed) == ["busybox", "two"]
    tree = box.run("images", "--tree", "two")[1].decode().splitlines()
    assert tree[0].split() == ["IMAGE", "ID", "SIZE", "IN", "USE"]
    assert [line.split()[:2] for line in tree[2:]] == [
        ["├─", f"linux/{here}"],
        ["└─", other],
    ]
    ids = {
        platform: box.run("image", "inspect", "--platform", platform, "-f", "{{.Id}}", "two:1")[1]
        for platform in (f"linux/{here}", other)
    }
    assert len(set(ids.values())) == 2
    step = box.run("history", "--no-trunc", "-q", "--platform", other, "two:1")[1]
    assert step == ids[other]
    name = box.run("create", "--platform", other, "two:1")[1].decode().strip()
    assert box.run("ps", "-aq", "--no-trunc", "--filter", "ancestor=two:1")[1].decode().split() == [
        name
    ]
    assert b"two:1" in box.run("ps", "-a")[1]
    code, _, err = box.run("rmi", "--platform", other, "two:1")
    assert code == 1
    assert b"container" in err
    assert box.run("rm", name)[0] == 0

    whole = box.run("save", "--format", "oci", "two:1")[1]
    one = box.run("save", "--format", "oci", "--platform", other, "two:1")[1]
    assert len(one) < len(whole)
    assert box.run("rmi", "--platform", other, "two:1")[1].startswith(b"Deleted: ")
    assert box.run("rmi", "--platform", other, "-f", "two:1")[0] == 1
    missing = b"Error: No such image: noplatform\n"
    assert box.run("rmi", "--platform", other, "noplatform") == (1, b"", missing)
    assert box.run("rmi", "--platform", other, "-f", "noplatform") == (0, b"", missing)
    code, _, err = box.run("image", "inspect", "--platform", other, "two:1")
    assert code == 1
    assert b"does not provide the specified platform (linux/s390x)" in err
    assert box.run("rmi", "two:1")[0] == 0
    assert box.run("load", input=whole)[1] == b"Loaded image: two:1\n"
    assert box.run("save", "--format", "oci", "two:1")[1] == whole
    assert box.run("rmi", "two:1")[0] == 0
    code, out, err = box.run("load", input=one)
    assert (code, out) == (0, b"Loaded image: two:1\n")
    assert b"is for linux/s390x, this machine is" in err


def test_words_of_strangers_move_no_cursor(box: Installation, tmp_path: Path) -> None:
    layout = Layout()
    history = [{"created_by": "RUN \x1b[2J a\n b", "comment": "\x9bx", "created": "\x1bc"}]
    layout.image([tar_of({"a": b""})], "x.io/odd:1", config=config_of(
        [tar_of({"a": b""})], history=history))  # fmt: skip
    layout.entries.append(layout.blob(b"x", "text/\x1b[2J"))
    file = tmp_path / "odd.tar"
    file.write_bytes(tar_of(layout.done()))
    code, _, err = box.run("load", "-qi", str(file))
    assert code == 0
    assert b"text/?[2J" in err
    line = box.run("history", "--human=false", "--no-trunc", "x.io/odd:1")[1]
    assert b"RUN ?[2J a  b" in line
    assert "\x9b".encode() not in line
    assert b"\x1b" not in line
    layout.entries[0]["mediaType"] = "\x1b]0;owned\x07"
    layout.entries.pop()
    file.write_bytes(tar_of(layout.done()))
    code, _, err = box.run("load", "-qi", str(file))
    assert code == 1
    assert b"\x1b" not in err
    assert b"?]0;owned?" in err
