"""``--mount``: every field, and Docker's words for what cannot be."""

from __future__ import annotations

import os

import pytest

from knarr.cli import mountargs, verbs
from knarr.cli.flags import UsageError
from knarr.engine.model import BindMount, Tmpfs
from knarr.errors import InvalidArgument, Unsupported


def bind(**options: object) -> BindMount:
    return BindMount("/a", "/b", create_source=False, by_mount=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("type=bind,source=/a,target=/b", bind()),
        ("type=BIND,src=/a/,dst=/b/", bind()),
        ("type=bind,src=/a,destination=/b,readonly", bind(read_only=True)),
        ("type=bind,src=/a,dst=/b,ro=false", bind()),
        ("type=bind,src=/a,dst=/b,bind-propagation=rslave", bind(propagation="rslave")),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", bind(recursive=False)),
        ("type=bind,src=/a,dst=/b,bind-recursive=disabled", bind(recursive=False)),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=writable",
         bind(read_only=True, recursive_read_only=False)),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rprivate",
         bind(read_only=True, recursive_read_only=True)),
        ("type=bind,src=/a,dst=/b,consistency=cached", bind()),
        ("type=tmpfs,dst=/b", Tmpfs("/b", (), by_mount=True)),
        ("type=tmpfs,dst=/b,ro,tmpfs-size=2m,tmpfs-mode=1770",
         Tmpfs("/b", ("ro", "size=2097152", "mode=1770"), by_mount=True)),
        ('type=tmpfs,"dst=/b,c"', Tmpfs("/b,c", (), by_mount=True)),
    ],
)  # fmt: skip
def test_accepted(text: str, value: BindMount | Tmpfs) -> None:
    assert mountargs.mount(text) == value


def test_a_relative_source_is_below_the_working_directory() -> None:
    made = mountargs.mount("type=bind,src=./a,dst=/b")
    assert isinstance(made, BindMount)
    assert made.source == f"{os.getcwd()}/a"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bind,src", "invalid field 'src' must be a key=value pair"),
        ("type=,dst=/b", "type is required"),
        ("type=bind,src=/a", "target is required"),
        ("type=bind,what=1,dst=/b", "unexpected key 'what' in 'what=1'"),
        ("type=bind,ro=maybe,dst=/b", "invalid value for ro: maybe"),
        ("type=tmpfs,tmpfs-size=big,dst=/b", "invalid value for tmpfs-size: big"),
        ("type=tmpfs,tmpfs-mode=9,dst=/b", "invalid value for tmpfs-mode: 9"),
        ("type=bind,tmpfs-size=1m,src=/a,dst=/b",
         "cannot mix 'tmpfs-*' options with mount type 'bind'"),
        ("type=tmpfs,bind-propagation=shared,dst=/b",
         "cannot mix 'bind-*' options with mount type 'tmpfs'"),
        ("type=bind,src=/a,dst=/b,bind-recursive=x", (
            "invalid value for bind-recursive: x "
            '(must be "enabled", "disabled", "writable", or "readonly")'
        )),
        ("type=bind,src=/a,dst=/b,bind-recursive=writable",
         "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction"),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly", (
            "option 'bind-recursive=readonly' "
            "requires 'bind-propagation=rprivate' to be specified in conjunction"
        )),
    ],
)  # fmt: skip
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        verbs.load("run").parse(["--mount", text, "busybox"])
    assert str(caught.value) == f'invalid argument "{text}" for "--mount" flag: {message}'
    assert caught.value.exit_code == 125


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bind,dst=/b", 'type "bind": field Source must not be empty'),
        ("type=bind,src=a,dst=/b",
         "type \"bind\": invalid mount path: 'a' mount path must be absolute"),
        ("type=bind,src=/a,dst=b",
         "type \"bind\": invalid mount path: 'b' mount path must be absolute"),
        ("type=bind,src=/a,dst=/",
         "type \"bind\": invalid specification: destination can't be '/'"),
        ("type=bind,src=/a,dst=/b,bind-propagation=x",
         'type "bind": invalid propagation mode: x'),
        ("type=tmpfs,src=/a,dst=/b", 'type "tmpfs": field Source must not be specified'),
        ("type=floppy,dst=/b", 'type "floppy": mount type unknown'),
    ],
)  # fmt: skip
def test_impossible(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        mountargs.mount(text)
    assert str(caught.value) == f"invalid mount config for {message}"


def test_volumes_are_not_there_yet() -> None:
    with pytest.raises(Unsupported, match="use type=bind or type=tmpfs"):
        mountargs.mount("source=data,target=/data")
