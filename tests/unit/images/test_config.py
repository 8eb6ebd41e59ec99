import json
from typing import Any

import pytest

from knarr.errors import InvalidArchive
from knarr.images.config import parse
from knarr.images.platform import Platform
from tests.unit.images.helpers import config_of, layer


def changed(**fields: Any) -> bytes:
    return config_of([layer("a")], **fields)


def test_reads_what_an_image_is() -> None:
    config = parse(changed(variant="v8", architecture="arm64"))
    assert config.platform == Platform("linux", "arm64", "v8")
    assert len(config.diff_ids) == len(config.history) == 1
    assert config.config["Cmd"] == ["sh"]
    assert config.created == "2024-01-02T03:04:05Z"


def test_fields_nobody_knows_are_kept() -> None:
    document = parse(changed(moby={"x": 1})).document
    assert document["moby"] == {"x": 1}


@pytest.mark.parametrize("value", [None, {}, ...])
def test_an_image_may_have_no_runtime_part(value: Any) -> None:
    document = json.loads(changed())
    if value is ...:
        del document["config"]
    else:
        document["config"] = value
    assert parse(json.dumps(document).encode()).config == {}


def test_commands_of_old_builders_become_lists() -> None:
    assert parse(changed(config={"Cmd": "sh"})).config["Cmd"] == ["sh"]


@pytest.mark.parametrize(
    "fields",
    [
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}},
        {"rootfs": {"type": "layers", "diff_ids": "x"}},
        {"rootfs": {"type": "base"}},
        {"rootfs": []},
        {"config": []},
        {"config": {"Env": [1]}},
        {"config": {"Env": "A=b"}},
        {"config": {"Cmd": {"a": "b"}}},
        {"config": {"Volumes": ["/x"]}},
        {"config": {"ExposedPorts": 80}},
        {"config": {"Labels": {"a": 1}}},
        {"config": {"User": 0}},
        {"config": {"WorkingDir": ["/"]}},
        {"config": {"Healthcheck": {"Test": "x"}}},
        {"config": {"Healthcheck": {"Interval": "1s"}}},
        {"history": {}},
        {"history": [1]},
        {"history": [{"empty_layer": "yes"}]},
        {"history": [{"created_by": ["x"]}]},
        {"architecture": 64},
        {"created": 5},
    ],
)
def test_a_wrong_field_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArchive):
        parse(changed(**fields))
