"""Layers made to hurt, unpacked by us and by umoci: the trees must be the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from knarr.content import digest as digests
from knarr.snapshots.driver import Driver
from knarr.snapshots.tarentry import BLOCK_DEVICE, CHARACTER, FIFO
from tests.support import tars
from tests.support.tars import commit, directory, file, hardlink, mounted, node, symlink, tar

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
]
LONG = "d" * 90 + "/" + "n" * 200
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")

ROOT = directory("./")
CASES = {
    "attributes": [
        tar(
            directory("./", 0o755),
            directory("d", 0o1777, uid=70000, gid=3_000_000),
            file("d/suid", b"x" * 5000, mode=0o6755, uid=1, gid=2),
            file("cap", b"elf", mode=0o755, uid=7, xattrs={b"security.capability": CAPABILITY}),
            file("user", b"u", xattrs={b"user.name": b"\0value\n="}),
            symlink("link", "/absolute/nowhere", uid=5, gid=6),
            node("null", CHARACTER, major=1, minor=3, mode=0o666),
            node("disk", BLOCK_DEVICE, major=8, minor=300, mode=0o660, gid=6),
            node("pipe", FIFO, mode=0o622),
            directory("d" * 90),
            file(LONG, b"long"),
            file(b"not-utf8-\xff\xfe", b"bytes"),
            symlink("longlink", "t" * 700),
            file("empty"),
        )
    ],
    "whiteouts": [
        tar(ROOT, directory("a"), file("a/1", b"1"), file("a/2", b"2"), directory("a/sub"),
            file("a/sub/3", b"3"), directory("b"), file("b/4", b"4"), file("top", b"t")),
        tar(ROOT, directory("a"), file("a/.wh.1"), file(".wh.top"), file(".wh.b")),
        tar(ROOT, directory("b"), file("b/new", b"n"), directory("a"), file("a/.wh.sub")),
    ],
    "opaque first": [
        tar(ROOT, directory("a"), file("a/old", b"o"), directory("a/sub"), file("a/sub/x", b"x")),
        tar(ROOT, directory("a"), file("a/.wh..wh..opq"), file("a/new", b"n")),
    ],
    "kinds change": [
        tar(ROOT, directory("d"), file("d/x", b"x"), file("f", b"f"), symlink("s", "d"),
            directory("target"), file("target/keep", b"k"), symlink("dirlink", "target")),
        tar(ROOT, file("d", b"now a file"), directory("f"), file("f/in", b"i"),
            file("s", b"was a link"), directory("dirlink"), file("dirlink/real", b"r")),
        tar(ROOT, directory("d"), file("d/y", b"y"), symlink("f", "nowhere")),
    ],
    "links": [
        tar(ROOT, file("one", b"data", mode=0o600), hardlink("two", "one"), directory("x"),
            hardlink("x/three", "/one"), symlink("sym", "one"), hardlink("sym2", "sym")),
        tar(ROOT, file("one", b"replaced"), hardlink("four", "one")),
    ],
    "duplicates": [
        tar(ROOT, file("a", b"first", mode=0o600), file("a", b"second", mode=0o644),
            directory("d", 0o700), file("d/x", b"1"), directory("d", 0o750), file("d/x", b"2"),
            symlink("l", "a"), file("l", b"not followed")),
    ],
    "through symlinks": [
        tar(ROOT, directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib"),
            symlink("abs", "/usr"), symlink("up", "../../../usr")),
        tar(ROOT, file("lib/so", b"so"), file("abs/in", b"i"), file("up/out", b"o")),
    ],
    "no parents": [
        tar(ROOT, directory("p", 0o711, uid=9, gid=9), directory("p/q", 0o2770, gid=8)),
        tar(file("p/q/r", b"r")),
    ],
    "names": [
        tar(ROOT, file("./././x", b"1"), file("/abs", b"2"), directory("y"),
            file("y/../z", b"3"), file("y//w", b"4")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_same_tree_as_umoci(case: str, driver: Driver, tmp_path: Path) -> None:
    layers = CASES[case]
    theirs = _umoci(layers, tmp_path)
    top = commit(driver, *layers)
    with mounted(driver.view(top)) as root:
        ours = tars.tree(root)
    # Directories that no entry describes get the time of the unpacking in both.
    for path in set(ours) & set(theirs):
        if ours[path][6] != tars.WHEN:
            ours[path] = _without_time(ours[path])
            theirs[path] = _without_time(theirs[path])
    assert ours == theirs


def _without_time(entry: tuple[object, ...]) -> tuple[object, ...]:
    return (*entry[:6], None, *entry[7:])


def _umoci(layers: list[bytes], folder: Path) -> tars.Tree:
    """Write an OCI layout of the layers, have umoci unpack it and return the tree."""
    image = folder / "image"
    blobs = image / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, media_type: str) -> dict[str, object]:
        name = digests.of(data)
        (blobs / name.partition(":")[2]).write_bytes(data)
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    oci = "application/vnd.oci.image."
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digests.of(data) for data in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci + "manifest.v1+json",
        "config": blob(json.dumps(config).encode(), oci + "config.v1+json"),
        "layers": [blob(data, oci + "layer.v1.tar") for data in layers],
    }
    descriptor = blob(json.dumps(manifest).encode(), oci + "manifest.v1+json")
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    (image / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    (image / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    rootfs = folder / "rootfs"
    command = ["umoci", "raw", "unpack", "--image", f"{image}:t", str(rootfs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tars.tree(rootfs)
