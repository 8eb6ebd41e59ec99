from __future__ import annotations

import pytest

from knarr.engine.security.options import SecurityOptions, parse
from knarr.errors import InvalidArgument, Unsupported


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), SecurityOptions()),
        (("seccomp=unconfined",), SecurityOptions(seccomp="unconfined")),
        (("seccomp:unconfined",), SecurityOptions(seccomp="unconfined")),
        (("seccomp=builtin",), SecurityOptions(seccomp="builtin")),
        (("seccomp=/a/b=c.json",), SecurityOptions(seccomp="/a/b=c.json")),
        (('seccomp={"defaultAction":"X"}',), SecurityOptions(seccomp='{"defaultAction":"X"}')),
        (("no-new-privileges",), SecurityOptions(no_new_privileges=True)),
        (("no-new-privileges:true",), SecurityOptions(no_new_privileges=True)),
        (("no-new-privileges=1",), SecurityOptions(no_new_privileges=True)),
        (("no-new-privileges", "no-new-privileges=false"), SecurityOptions()),
        (("apparmor=mine",), SecurityOptions(apparmor="mine")),
        (("apparmor:unconfined",), SecurityOptions(apparmor="unconfined")),
        (("systempaths=unconfined",), SecurityOptions(system_paths=False)),
        (("label=disable",), SecurityOptions()),
        (("label:disable", "disable"), SecurityOptions()),
        (("writable-cgroups",), SecurityOptions(writable_cgroups=True)),
        (("writable-cgroups=false",), SecurityOptions(writable_cgroups=False)),
        (("seccomp=a", "seccomp=b"), SecurityOptions(seccomp="b")),
    ],
)
def test_forms(options: tuple[str, ...], expected: SecurityOptions) -> None:
    assert parse(options) == expected


@pytest.mark.parametrize("option", ["", "what", "seccomp"])
def test_without_a_value(option: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse([option])
    assert str(caught.value) == f'invalid --security-opt 1: "{option}"'


@pytest.mark.parametrize(
    "option",
    ["what=ever", "no-new-privileges=maybe", "systempaths=confined", "seccomp=", "apparmor=",
     "writable-cgroups=2"],
)  # fmt: skip
def test_bad_values(option: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse([option])
    assert str(caught.value) == f'invalid --security-opt 2: "{option}"'


def test_selinux_labels_are_not_there() -> None:
    with pytest.raises(Unsupported, match="SELinux"):
        parse(["label=type:svirt_t"])
