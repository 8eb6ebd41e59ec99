"""Rules that a later version of the specification turned around, each under its version."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.oci.test_hooks import hook
from tests.support.bundles import Oci
from tests.support.waiting import wait_until


@pytest.mark.parametrize("version", ["1.0.0", "1.2.1", "1.2.0-rc.1", "1.0.2-dev"])
def test_poststart_that_fails_was_a_warning(oci: Oci, tmp_path: Path, version: str) -> None:
    name, log, after = oci.name("on"), tmp_path / "log", tmp_path / "after"
    hooks = {"poststart": hook("echo because >&2; exit 4") + hook(f"cat >{after}")}
    bundle = str(oci.bundle("sleep", "1000", hooks=hooks, ociVersion=version))
    oci("create", "--bundle", bundle, name)
    oci("--log", str(log), "start", name)
    assert "hooks.poststart[0] (/bin/sh): exit status 4: because" in log.read_text()
    assert after.exists()
    assert oci.state(name)["status"] == "running"


@pytest.mark.parametrize("version", ["1.3.0", "1.10.0"])
def test_poststart_that_fails_is_an_error(oci: Oci, tmp_path: Path, version: str) -> None:
    name, after = oci.name("off"), tmp_path / "after"
    hooks = {"poststart": hook("exit 4") + hook(f"cat >{after}")}
    bundle = str(oci.bundle("sleep", "1000", hooks=hooks, ociVersion=version))
    oci("create", "--bundle", bundle, name)
    assert "hooks.poststart[0] (/bin/sh): exit status 4" in oci("start", name, check=False)
    assert not after.exists()
    wait_until(lambda: oci.state(name)["status"] == "stopped")


@pytest.mark.parametrize(("version", "late"), [
    ("1.0.0", True), ("1.0.2", True), ("1.0.2+x", True), ("1.0.2-dev", False), ("1.1.0", False),
])  # fmt: skip
def test_prestart_belonged_to_start(oci: Oci, tmp_path: Path, version: str, late: bool) -> None:
    """Until it was changed to what runc does, in the version that engines call 1.0.2-dev."""
    name, told, after = oci.name("when"), tmp_path / "told", tmp_path / "after"
    hooks = {"prestart": hook(f"cat >{told}"), "startContainer": hook("exit 0")}
    bundle = str(oci.bundle("sleep", "1000", hooks=hooks, ociVersion=version))
    oci("create", "--bundle", bundle, name)
    assert told.exists() != late
    oci("start", name)
    assert json.loads(told.read_text())["status"] == "created"
    # What fails is the end of the container and all that is known of it.
    hooks["prestart"] = hook("echo because >&2; exit 3")
    hooks["poststop"] = hook(f"cat >{after}")
    bundle, name = str(oci.bundle("true", hooks=hooks, ociVersion=version)), oci.name("bad")
    if late:
        oci("create", "--bundle", bundle, name)
    said = oci("start" if late else "create", *([] if late else ["-b", bundle]), name, check=False)
    assert "hooks.prestart[0] (/bin/sh): exit status 3: because" in said
    assert json.loads(after.read_text())["status"] == "stopped"
    assert "does not exist" in oci("state", name, check=False)
    after.unlink()
    said = oci("run", "-b", bundle, oci.name("run"), check=False)
    assert "hooks.prestart[0] (/bin/sh): exit status 3: because" in said
    assert json.loads(after.read_text())["id"] == oci.name("run")
    assert oci("list", "-q").split() == [oci.name("when")]


def test_prestart_comes_before_other_hooks_of_create(oci: Oci, tmp_path: Path) -> None:
    """Version 1.0.2 has both, and an order of them."""
    log = tmp_path / "log"
    kinds = ("createContainer", "createRuntime", "prestart")
    hooks = {kind: hook(f"echo {kind} >>{log}") for kind in kinds}
    bundle = str(oci.bundle("sleep", "1000", hooks=hooks, ociVersion="1.0.2"))
    oci("create", "--bundle", bundle, oci.name("both"))
    assert log.read_text().split() == ["prestart", "createRuntime", "createContainer"]


@pytest.mark.parametrize(("version", "refused"), [("1.0.2", True), ("1.1.0", False)])
def test_capability_that_nobody_knows(
    oci: Oci, tmp_path: Path, version: str, refused: bool
) -> None:
    log = tmp_path / "log"
    bundle = oci.bundle("true", ociVersion=version)
    text = (bundle / "config.json").read_text().replace('"CAP_KILL"', '"CAP_NOBODY_HAS"')
    (bundle / "config.json").write_text(text)
    said = oci("--log", str(log), "run", "-b", str(bundle), oci.name("cap"), check=not refused)
    assert ("'CAP_NOBODY_HAS' is not known, which until version 1.0" in said) == refused
    assert "CAP_NOBODY_HAS" in log.read_text()


@pytest.mark.parametrize("text", ["1", "1.0", "1.0.0.0", "1.a.0", "01.0.0", "1.0.0-", "v1.0.0", ""])
def test_version_that_is_none(oci: Oci, text: str) -> None:
    bundle = str(oci.bundle("true", ociVersion=text))
    assert "ociVersion" in oci("create", "-b", bundle, oci.name("none"), check=False)


def test_capability_that_cannot_be_had_is_told(oci: Oci, tmp_path: Path) -> None:
    """An ambient one has to be inheritable as well; the others are granted."""
    log = tmp_path / "log"
    sets = {key: ["CAP_CHOWN", "CAP_KILL"] for key in ("bounding", "permitted", "effective")}
    sets |= {"inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"]}
    bundle = oci.bundle("grep", "CapAmb", "/proc/self/status")
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["capabilities"] = sets
    (bundle / "config.json").write_text(json.dumps(config))
    said = oci("--log", str(log), "run", "-b", str(bundle), oci.name("ambient"))
    assert said.split() == ["CapAmb:", f"{1 << 5:016x}"]
    text = "process.capabilities.ambient: CAP_CHOWN is not permitted and inheritable as well"
    assert text in log.read_text()
    assert "CAP_KILL" not in log.read_text()


def test_capability_that_is_not_ours_is_told(oci: Oci, tmp_path: Path) -> None:
    """config.md: what cannot be granted is a warning, and no failure."""
    log = tmp_path / "log"
    bundle = oci.bundle("grep", "CapBnd", "/proc/self/status")
    config = json.loads((bundle / "config.json").read_text())
    for kind in ("bounding", "permitted", "effective"):
        config["process"]["capabilities"][kind] = ["CAP_KILL", "CAP_SYS_TIME"]
    (bundle / "config.json").write_text(json.dumps(config))
    words = ["setpriv", "--bounding-set", "-sys_time", str(oci.program), "--log", str(log)]
    done = subprocess.run(
        [*words, "run", "-b", str(bundle), oci.name("poor")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["CapBnd:", f"{1 << 5:016x}"]
    assert "CAP_SYS_TIME is not ours to grant, and left out" in log.read_text()
