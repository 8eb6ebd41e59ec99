"""commit: the new image has what the container changed, and nothing else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from knarr import BindMount, Container, ContainerConfig, Engine, ExecConfig, errors


def launch(engine: Engine, **options: object) -> Container:
    """Start a container that sleeps and make changes in it."""
    config = ContainerConfig("busybox", ("sleep", "600"), **options)  # type: ignore[arg-type]
    container = engine.containers.launch(config, attach=False).container
    script = "rm /bin/ls; mkdir -p /a/b; echo x > /a/b/c; chown 7:8 /a/b/c; ln -s c /a/b/link"
    assert container.exec_run(ExecConfig(("sh", "-c", script))).exit_code == 0
    return container


LOOK = ("sh", "-c", "stat -c '%u %g %n' /a/b/c; readlink /a/b/link; test -e /bin/ls || echo gone")
SEEN = b"7 8 /a/b/c\nc\ngone\n"


@pytest.mark.parametrize("userns", [None, "host"])
def test_what_it_changed_is_in_the_image(engine: Engine, userns: str | None) -> None:
    container = launch(engine, userns=userns)
    image = container.commit("made:1", author="A", message="why", changes=["ENV X=1"])
    assert container.status == "running"
    assert image.tags == ("made:1",)
    for other in (None, "host"):
        result = engine.containers.run(
            ContainerConfig("made:1", LOOK, auto_remove=True, userns=other)
        )
        assert (result.stdout, result.stderr) == (SEEN, b"")
    newest = engine.images.history("made:1")[0]
    assert (newest.created_by, newest.comment) == ("sleep 600", "why")
    shown = engine.images.inspect("made:1")
    assert (shown["Author"], shown["Config"]["Cmd"]) == ("A", ["sleep", "600"])
    assert "X=1" in shown["Config"]["Env"]
    assert len(shown["RootFS"]["Layers"]) == 2
    container.remove(force=True)
    again = engine.containers.run(ContainerConfig(image.id, LOOK, auto_remove=True))
    assert again.stdout == SEEN


def test_images_upon_images_can_be_saved_and_loaded(engine: Engine, tmp_path: Path) -> None:
    container = launch(engine)
    container.commit("made:1")
    second = engine.containers.launch(
        ContainerConfig("made:1", ("sh", "-c", "echo y > /a/second")), attach=False
    ).container
    second.wait(30)
    image = second.commit("made:2", pause=False)
    engine.images.save(["made:2"], str(tmp_path / "made.tar"))
    second.remove()
    container.remove(force=True)
    engine.images.remove("made:2")
    engine.images.remove("made:1")
    engine.images.load(str(tmp_path / "made.tar"))
    assert engine.images.get("made:2").id == image.id
    result = engine.containers.run(
        ContainerConfig("made:2", ("cat", "/a/b/c", "/a/second"), auto_remove=True)
    )
    assert result.stdout == b"x\ny\n"


def test_mounts_are_not_in_it(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    container = launch(engine, binds=(BindMount(str(tmp_path), "/data"),))
    container.commit("made:1")
    engine.images.save(["made:1"], str(tmp_path / "made.tar"))
    names: set[str] = set()
    with tarfile.open(tmp_path / "made.tar") as outer:
        layers = [member for member in outer if member.isfile() and member.size > 1024]
        for member in layers:
            file = outer.extractfile(member)
            assert file is not None
            data = file.read()
            try:
                with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                    names.update(layer.getnames())
            except tarfile.ReadError:
                continue  # a document
    assert "a/b/c" in names
    assert not {"data/secret", "etc/hosts", "etc/resolv.conf", "etc/hostname"} & names


def test_one_that_was_paused_stays_so(engine: Engine) -> None:
    container = launch(engine)
    container.pause()
    container.commit("made:1")
    assert container.status == "paused"


def test_one_that_never_ran(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("true",)))
    image = container.commit()
    assert image.tags == ()
    assert engine.containers.run(ContainerConfig(image.id, auto_remove=True)).exit_code == 0


def test_refusals_leave_nothing(engine: Engine) -> None:
    container = launch(engine)
    before = [image.id for image in engine.images.list()]
    for ref, changes in (("UPPER", ()), ("x", ("NONSENSE y",)), (f"x@sha256:{'0' * 64}", ())):
        with pytest.raises(errors.InvalidArgument):
            container.commit(ref, changes=changes)
    assert container.status == "running"
    assert [image.id for image in engine.images.list()] == before
    container.remove(force=True)
    with pytest.raises(errors.NotFound):
        container.commit("x")
