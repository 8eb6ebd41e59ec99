"""rename: what it changes, and Docker's words for what it refuses."""

from __future__ import annotations

import pytest

from knarr import ContainerConfig, Engine, errors
from tests.support.installations import Installation


def test_a_running_container_goes_on_under_its_new_name(box: Installation) -> None:
    identity = box.run("run", "-d", "--name", "one", "busybox", "sleep", "600")[1].strip()
    assert box.run("rename", "one", "two") == (0, b"", b"")
    assert box.run("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}")[1] == identity + b" two\n"
    assert box.run("inspect", "-f", "{{.Name}}", "two")[1] == b"/two\n"
    assert box.run("exec", "two", "echo", "x") == (0, b"x\n", b"")
    assert box.run("exec", "one", "true")[0] == 1
    assert box.run("run", "--rm", "--name", "one", "busybox", "true")[0] == 0
    assert box.run("container", "rename", "/two", "/three")[0] == 0
    assert box.run("rm", "-f", "three")[:2] == (0, b"three\n")


def test_refusals(box: Installation) -> None:
    ids = {}
    for name in ("one", "two"):
        ids[name] = box.run("create", "--name", name, "busybox")[1].decode().strip()
    for new, text in (
        ("two", ('Error when allocating new name: Conflict. The container name "/two" is already '
                 f'in use by container "{ids["two"]}". You have to remove (or rename) that '
                 "container to be able to reuse that name.")),
        ("no/slash", ("Error when allocating new name: Invalid container name (no/slash), only "
                     "[a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")),
        ("one", "Renaming a container with the same name as its current name"),
        ("", "Neither old nor new names may be empty"),
    ):  # fmt: skip
        assert box.run("rename", "one", new) == (1, b"", f"Error: {text}\n".encode())
    assert box.run("rename", "none", "x") == (1, b"", b"Error: No such container: none\n")
    code, _, err = box.run("rename", "one")
    assert code == 1
    assert b"'knarr rename' requires 2 arguments" in err


def test_the_handle_follows(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", name="one"))
    other = engine.containers.get("one")
    container.rename("two")
    assert (container.name, container.inspect()["Name"]) == ("two", "/two")
    other.remove()
    with pytest.raises(errors.NotFound):
        container.rename("three")
