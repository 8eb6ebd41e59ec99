"""What a configuration refuses to hold."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.engine.model import ContainerConfig, ExecConfig
from knarr.errors import InvalidArgument


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("ls -l", r"^command 'ls -l': give its words, such as \('ls', '-l'\)$"),
        (("sleep", 5), "^command: 5 is not a text$"),
        ((b"ls",), "^command: b'ls' is not a text$"),
    ],
)
def test_a_command_is_words(command: Any, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        ContainerConfig("busybox", command)
    with pytest.raises(InvalidArgument, match=reason):
        ExecConfig(command)
    with pytest.raises(InvalidArgument, match=reason.replace("command", "entrypoint")):
        ContainerConfig("busybox", entrypoint=command)
