"""What containers of a committed image inherit."""

from __future__ import annotations

from knarr import ContainerConfig
from knarr.engine.commit import inherited

IMAGE = {
    "Env": ["PATH=/bin", "A=1", "B=2"], "Cmd": ["sh"], "Entrypoint": ["/init"], "User": "web",
    "Labels": {"a": "1", "b": "2"}, "Healthcheck": {"Test": ["NONE"]},
}  # fmt: skip


def test_the_container_goes_before_the_image() -> None:
    config = ContainerConfig(
        "x", ("sleep", "5"), env=("A=9", "B", "C=3"), user="7", working_dir="/w",
        labels={"b": "9", "c": "3"}, stop_signal="INT", name="n", tty=True,
    )  # fmt: skip
    assert inherited(config, IMAGE) == {
        "Env": ["PATH=/bin", "A=9", "C=3"], "Cmd": ["sleep", "5"], "Entrypoint": ["/init"],
        "User": "7", "WorkingDir": "/w", "StopSignal": "INT",
        "Labels": {"a": "1", "b": "9", "c": "3"}, "Healthcheck": {"Test": ["NONE"]},
    }  # fmt: skip


def test_what_was_not_said_is_the_images() -> None:
    assert inherited(ContainerConfig("x"), IMAGE) == IMAGE
    assert inherited(ContainerConfig("x"), {}) == {}


def test_another_entry_point_takes_the_command_along() -> None:
    found = inherited(ContainerConfig("x", entrypoint=("/other",)), IMAGE)
    assert found["Entrypoint"] == ["/other"]
    assert "Cmd" not in found
    found = inherited(ContainerConfig("x", ("-v",), entrypoint=()), IMAGE)
    assert "Entrypoint" not in found
    assert found["Cmd"] == ["-v"]


def test_a_sandbox_waits_for_commands_that_are_not_its_images() -> None:
    assert inherited(ContainerConfig("x", ("y",), sandbox=True), IMAGE)["Cmd"] == ["sh"]
