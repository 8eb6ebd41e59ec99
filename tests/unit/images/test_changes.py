from typing import Any

import pytest

from knarr.errors import InvalidArgument
from knarr.images.changes import apply_changes
from knarr.images.changes.words import expand, split


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b"]', {"Cmd": ["a", "b"]}),
        ("CMD echo $HOME", {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        ("CMD [a, b]", {"Cmd": ["/bin/sh", "-c", "[a, b]"]}),
        ("cmd []", {"Cmd": []}),
        ('ENTRYPOINT ["/init"]', {"Entrypoint": ["/init"]}),
        ("ENV a=1 b='2 3' c=\"$a-${b}\"", {"Env": ["a=1", "b=2 3", "c=-"]}),
        ("ENV a some text", {"Env": ["a=some text"]}),
        ("ENV a=x\\ y", {"Env": ["a=x y"]}),
        ("EXPOSE 80 443/TCP 53/udp", {"ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "53/udp": {}}}),
        ("EXPOSE 8000-8002", {"ExposedPorts": {f"{p}/tcp": {} for p in (8000, 8001, 8002)}}),
        ("LABEL a=b c='d e'", {"Labels": {"a": "b", "c": "d e"}}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("VOLUME /data /more", {"Volumes": {"/data": {}, "/more": {}}}),
        ('VOLUME ["/data"]', {"Volumes": {"/data": {}}}),
        ("WORKDIR /a/../b", {"WorkingDir": "/b"}),
        ("WORKDIR rel", {"WorkingDir": "/rel"}),
        ("WORKDIR //", {"WorkingDir": "/"}),
        ("STOPSIGNAL SIGTERM", {"StopSignal": "SIGTERM"}),
        ("STOPSIGNAL quit", {"StopSignal": "quit"}),
        ("STOPSIGNAL 9", {"StopSignal": "9"}),
        ("STOPSIGNAL SIGRTMIN+3", {"StopSignal": "SIGRTMIN+3"}),
        ("ONBUILD RUN x", {"OnBuild": ["RUN x"]}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        ("HEALTHCHECK CMD true", {"Healthcheck": {"Test": ["CMD-SHELL", "true"]}}),
        (
            'HEALTHCHECK --interval=1m30s --timeout=2s --start-period=0 --retries=3 CMD ["t", "u"]',
            {
                "Healthcheck": {
                    "Test": ["CMD", "t", "u"],
                    "Interval": 90 * 10**9,
                    "Timeout": 2 * 10**9,
                    "StartPeriod": 0,
                    "Retries": 3,
                }
            },
        ),
    ],
)
def test_one_change(change: str, expected: dict[str, Any]) -> None:
    assert apply_changes({}, [change]) == expected


def test_changes_build_on_what_is_there_and_leave_it_alone() -> None:
    before = {"Env": ["P=/bin", "Q=1"], "WorkingDir": "/srv", "Labels": {"a": "1"}, "Cmd": ["x"]}
    after = apply_changes(
        before,
        ["ENV P=$P:/sbin", "ENV R=${Q:-no} S=${T:-yes} U=${Q:+set}", "WORKDIR app", "LABEL a=2"],
    )
    assert after["Env"] == ["Q=1", "P=/bin:/sbin", "R=1", "S=yes", "U=set"]
    assert after["WorkingDir"] == "/srv/app"
    assert after["Labels"] == {"a": "2"}
    assert before["Env"] == ["P=/bin", "Q=1"]


def test_an_entrypoint_drops_the_command_unless_one_is_given_with_it() -> None:
    assert "Cmd" not in apply_changes({"Cmd": ["old"]}, ['ENTRYPOINT ["/e"]'])
    both = apply_changes({"Cmd": ["old"]}, ['CMD ["new"]', 'ENTRYPOINT ["/e"]'])
    assert both["Cmd"] == ["new"]


def test_the_shell_of_the_image_is_used() -> None:
    assert apply_changes({"Shell": ["/bin/ash", "-ec"]}, ["CMD x"])["Cmd"] == [
        "/bin/ash",
        "-ec",
        "x",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("RUN make", "not a valid change command"),
        ("FROM x", "not a valid change command"),
        ("", "not a valid change command"),
        ("CMD", "at least one argument"),
        ("USER a b", "exactly one"),
        ("ENV a", "two arguments"),
        ("ENV a=1 b", "NAME=VALUE"),
        ("ENV a='1", "not closed"),
        ("LABEL =x", "NAME=VALUE"),
        ("EXPOSE 0", "containerPort"),
        ("EXPOSE 70000", "containerPort"),
        ("EXPOSE 80/icmp", "containerPort"),
        ("EXPOSE 90-80", "containerPort"),
        ("STOPSIGNAL SIGNOPE", "invalid signal"),
        ("STOPSIGNAL 99", "invalid signal"),
        ("ONBUILD FROM x", "not allowed"),
        ("ONBUILD onbuild x", "not allowed"),
        ('VOLUME [""]', "empty"),
        ("HEALTHCHECK CMD", "missing command"),
        ("HEALTHCHECK true", "unknown type"),
        ("HEALTHCHECK NONE x", "no arguments"),
        ("HEALTHCHECK --interval=5 CMD x", "invalid duration"),
        ("HEALTHCHECK --interval=1us CMD x", "less than 1ms"),
        ("HEALTHCHECK --retries=x CMD x", "retries"),
        ("HEALTHCHECK --colour=red CMD x", "unknown option"),
    ],
)
def test_refused_with_the_reason(change: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        apply_changes({}, [change])


def test_words() -> None:
    assert split("a 'b c'  \"d e\" f\\ g") == ["a", "'b c'", '"d e"', "f\\ g"]
    env = {"A": "1"}
    assert expand("$A$B${A}x'$A'\"$A\\$A\"\\$A$", env) == "11x$A1$A$A$"
    with pytest.raises(InvalidArgument, match="modifier"):
        expand("${A?x}", env)
    for text in ("${A", "'x", '"x', "${}"):
        with pytest.raises(InvalidArgument, match="not closed"):
            expand(text, env)
