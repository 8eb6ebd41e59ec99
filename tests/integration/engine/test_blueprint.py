"""What containers of one configuration share is worked out once, and never wrong."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, errors
from knarr.engine.model import Limits

if TYPE_CHECKING:
    from knarr import Container, Engine

CONFIG = ContainerConfig(
    "busybox", ("sh", "-c", "hostname; cat /etc/hostname"), auto_remove=True, network="none"
)


def spec(container: Container) -> dict[str, object]:
    value: dict[str, object] = json.loads(Path(container.paths.spec).read_bytes())
    return value


def test_each_container_has_its_own_identity(engine: Engine) -> None:
    one, two = (engine.containers.create(CONFIG) for _ in range(2))
    assert len(engine.blueprints._known) == 1
    texts = [Path(each.paths.spec).read_text() for each in (one, two)]
    assert one.id in texts[0]
    assert one.id[:12] not in texts[1]
    ranges = [spec(each)["linux"]["uidMappings"][0]["hostID"] for each in (one, two)]  # type: ignore[index]
    slots = [each.record.id_slot for each in (one, two)]
    if engine.machine.private_users():
        assert ranges == [engine.ranges.first_id(slot) for slot in slots if slot is not None]
    (known,) = engine.blueprints._known.values()
    for text in texts:
        for stand_in in (known._id, known._id[:12], str(known._first)):
            assert stand_in not in text
    for each in (one, two):
        assert each.record.config == CONFIG


def test_the_same_spec_as_one_built_anew(engine: Engine) -> None:
    first = engine.containers.create(CONFIG)
    engine.blueprints._known.clear()
    second = engine.containers.create(CONFIG)
    third = engine.containers.create(CONFIG)

    def plain(container: Container) -> str:
        text = Path(container.paths.spec).read_text()
        slot = container.record.id_slot
        number = "" if slot is None else str(engine.ranges.first_id(slot))
        return (
            text.replace(container.id, "ID").replace(container.id[:12], "ID").replace(number, "N")
        )

    assert plain(first) == plain(second) == plain(third)


def test_names_and_other_options_do_not_mix(engine: Engine) -> None:
    named = engine.containers.create(ContainerConfig("busybox", ("true",), name="web"))
    other = engine.containers.create(ContainerConfig("busybox", ("true",)))
    assert len(engine.blueprints._known) == 1
    assert (named.name, other.name == "web") == ("web", False)
    limited = ContainerConfig("busybox", ("true",), limits=Limits(memory=96 << 20))
    assert "100663296" in Path(engine.containers.create(limited).paths.spec).read_text()
    assert "100663296" not in Path(other.paths.spec).read_text()


def test_a_tag_that_moves(engine: Engine) -> None:
    before = engine.containers.create(CONFIG)
    engine.images.tag("busybox", "other")
    container = engine.containers.create(ContainerConfig("busybox", ("true",)))
    changed = engine.images.import_(_empty_tar(), "busybox")
    after = engine.containers.create(CONFIG)
    assert (before.image_id, after.image_id) == (container.image_id, changed.id)
    assert engine.containers.create(ContainerConfig("other", ("true",))).image_id == before.image_id


def test_an_image_that_goes(engine: Engine) -> None:
    engine.containers.create(CONFIG).remove()
    engine.images.remove("busybox")
    with pytest.raises(errors.Unavailable, match="pull busybox:latest: "):
        engine.containers.create(CONFIG)
    assert engine.table.all() == []


def test_layers_that_went_are_unpacked_again(engine: Engine) -> None:
    first = engine.containers.create(CONFIG)
    image = engine.index.get(first.image_id)
    first.remove()
    engine.driver.remove_layer(image.chain_id)
    assert engine.containers.run(CONFIG).exit_code == 0


def test_flags_of_a_seccomp_profile(engine: Engine) -> None:
    flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})
    config = ContainerConfig("busybox", ("true",), security_opt=(f"seccomp={profile}",))
    container = engine.containers.create(config)
    assert spec(container)["linux"]["seccomp"] == {  # type: ignore[index]
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    }
    container.start()
    assert container.wait(30).exit_code == 0


def _empty_tar() -> io.BytesIO:
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    archive.seek(0)
    return archive
