"""diff: what a container changed, and nothing of what is mounted in it."""

from __future__ import annotations

from pathlib import Path

from knarr import BindMount, ContainerConfig, Engine, ExecConfig, Tmpfs


def test_nothing_is_changed_by_running(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "600")))
    assert container.diff() == []
    container.start()
    assert container.diff() == []
    container.stop(0)
    assert container.diff() == []


def test_what_it_changes(engine: Engine) -> None:
    container = engine.containers.launch(
        ContainerConfig("busybox", ("sleep", "600")), attach=False
    ).container
    script = "rm /bin/ls; echo x > /etc/new; mkdir -p /a/b; echo x > /a/b/c; echo x >> /etc/passwd"
    assert container.exec_run(ExecConfig(("sh", "-c", script))).exit_code == 0
    wanted = [("A", "/a"), ("A", "/a/b"), ("A", "/a/b/c"), ("C", "/bin"), ("D", "/bin/ls"),
              ("C", "/etc"), ("A", "/etc/new"), ("C", "/etc/passwd")]  # fmt: skip
    assert container.diff() == wanted
    container.stop(0)
    assert container.diff() == wanted


def test_mounts_that_were_asked_for_have_their_places(engine: Engine, tmp_path: Path) -> None:
    config = ContainerConfig(
        "busybox",
        ("sh", "-c", "echo x > /scratch/file"),
        binds=(BindMount(str(tmp_path), "/data", read_only=True),),
        tmpfs=(Tmpfs("/scratch"),),
    )
    container = engine.containers.launch(config, attach=False).container
    container.wait(30)
    assert container.diff() == [("A", "/data"), ("A", "/scratch")]
