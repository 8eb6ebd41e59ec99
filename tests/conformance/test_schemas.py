"""What ``knarr-oci`` writes, judged by the runtime specification's own schemas.

Debian has them in golang-github-opencontainers-specs-dev, which ``make test`` installs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT4

from tests.support.bundles import Oci
from tests.support.waiting import wait_until

# It has no types of its own.
jsonschema: Any = pytest.importorskip("jsonschema")
SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")
SEMANTIC = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
# features.md: what stands at the top, and what in "linux".
TOP = {"ociVersionMin": str, "ociVersionMax": str, "hooks": list, "mountOptions": list,
       "linux": dict, "annotations": dict, "potentiallyUnsafeConfigAnnotations": list}  # fmt: skip
SWITCHES = ("apparmor", "selinux", "intelRdt", "netDevices")

pytestmark = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason="golang-github-opencontainers-specs-dev is not installed"
)


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """The schemas by their file's name."""
    return {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}


def check(schemas: dict[str, Any], name: str, value: Any) -> None:
    """Raise ValidationError unless a value is as the schema in a file has it."""
    resources = ((key, DRAFT4.create_resource(schema)) for key, schema in schemas.items())
    registry: Registry[Any] = Registry().with_resources(resources)
    # The file's own definitions are found by its name, as those of others are.
    jsonschema.Draft4Validator({"$ref": name}, registry=registry).validate(value)


def enumerated(schemas: dict[str, Any], name: str) -> set[str]:
    """Return what a definition for Linux allows."""
    return set(schemas["defs-linux.json"]["definitions"][name]["enum"])


def test_the_judge_finds_what_is_wrong(oci: Oci, schemas: dict[str, Any]) -> None:
    state: dict[str, Any] = {"ociVersion": "1.0.2", "id": "x", "status": "stopped", "bundle": "/b"}
    check(schemas, "state-schema.json", state)
    for change in ({"status": "asleep"}, {"pid": -1}, {"id": 5}):
        with pytest.raises(jsonschema.ValidationError):
            check(schemas, "state-schema.json", state | change)
    config = json.loads((oci.bundle("true") / "config.json").read_text())
    del config["process"]["cwd"]
    with pytest.raises(jsonschema.ValidationError):
        check(schemas, "config-schema.json", config)


def test_spec(oci: Oci, schemas: dict[str, Any], tmp_path: Path) -> None:
    oci("spec", "--bundle", str(tmp_path))
    check(schemas, "config-schema.json", json.loads((tmp_path / "config.json").read_text()))


def test_state_at_every_moment(oci: Oci, schemas: dict[str, Any], tmp_path: Path) -> None:
    """What is shown, listed, and told to hooks."""
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    hooks = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{tmp_path}/{kind}"]}]
        for kind in kinds
    }
    name = oci.name("state")
    annotations = {"org.example.key": "value"}
    bundle = oci.bundle("sleep", "1000", hooks=hooks, annotations=annotations)
    shown = []
    oci("create", "-b", str(bundle), name)
    shown.append(oci.state(name))
    oci("start", name)
    shown.append(oci.state(name))
    shown += json.loads(oci("list", "--format", "json"))
    oci("kill", name, "KILL")
    wait_until(lambda: oci.state(name)["status"] == "stopped")
    shown.append(oci.state(name))
    oci("delete", name)
    assert [state["status"] for state in shown] == ["created", "running", "running", "stopped"]
    for state in (*shown, *(json.loads((tmp_path / kind).read_text()) for kind in kinds)):
        check(schemas, "state-schema.json", state)
        assert (state["id"], state["bundle"]) == (name, str(bundle))
        assert state["annotations"] == annotations


def test_features(oci: Oci, schemas: dict[str, Any]) -> None:
    """Every name is one of the specification's, and of the type that features.md gives."""
    found = json.loads(oci("features"))
    for key, value in found.items():
        assert isinstance(value, TOP[key]), key
    assert SEMANTIC.fullmatch(found["ociVersionMin"])
    assert SEMANTIC.fullmatch(found["ociVersionMax"])
    defined = set(schemas["config-schema.json"]["properties"]["hooks"]["properties"])
    assert set(found["hooks"]) == defined
    linux = found["linux"]
    # The schema is older than the time namespace.
    assert set(linux["namespaces"]) >= enumerated(schemas, "NamespaceType")
    assert set(linux["namespaces"]) <= enumerated(schemas, "NamespaceType") | {"time"}
    seccomp = linux["seccomp"]
    assert seccomp["enabled"] is True
    for key, name in (("actions", "SeccompAction"), ("operators", "SeccompOperators"),
                      ("archs", "SeccompArch")):  # fmt: skip
        assert set(seccomp[key]) <= enumerated(schemas, name), key
        assert len(seccomp[key]) == len(set(seccomp[key])), key
    assert {"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"} <= set(seccomp["actions"])
    assert set(seccomp.get("supportedFlags", ())) <= set(seccomp.get("knownFlags", ()))
    for key in SWITCHES:
        if key in linux:
            assert isinstance(linux[key]["enabled"], bool), key
    for key in ("v1", "v2", "systemd", "systemdUser", "rdma"):
        assert isinstance(linux["cgroup"][key], bool), key


def test_features_do_not_depend_on_the_place(oci: Oci, tmp_path: Path) -> None:
    """features.md: "regardless of the host's configuration": the same with another root."""
    assert oci("features") == oci("--root", str(tmp_path / "none"), "features")
    assert not (tmp_path / "none").exists()
