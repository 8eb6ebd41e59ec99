"""Health checks on the command line: flags, ps, inspect, events, and what is refused."""

from __future__ import annotations

import json

import pytest

from tests.support.installations import Installation
from tests.support.waiting import wait_until

SOON = ("--health-interval", "50ms")


def health(box: Installation, name: str) -> str:
    return box.run("inspect", "-f", "{{.State.Health.Status}}", name)[1].decode().strip()


def test_a_container_that_becomes_healthy(box: Installation) -> None:
    words = ("--health-cmd", "test -e /ok && echo good", "--health-start-period", "1h")
    code, _, err = box.run(
        "run", "-d", "--name", "web", *words, "--health-start-interval", "50ms", *SOON,
        "--health-retries", "2", "--health-timeout", "20s", "busybox", "sleep", "600",
    )  # fmt: skip
    assert (code, err) == (0, b"")
    assert b"(health: starting)" in box.run("ps")[1]
    assert box.run("ps", "-q", "--filter", "health=starting")[1] != b""
    assert box.run("exec", "web", "touch", "/ok")[0] == 0
    wait_until(lambda: health(box, "web") == "healthy")
    assert b" (healthy)" in box.run("ps", "--format", "{{.Names}}: {{.Status}}")[1]
    shown = json.loads(box.run("container", "inspect", "web")[1])[0]
    assert shown["State"]["Health"]["Log"][-1]["Output"] == "good\n"
    assert shown["Config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "test -e /ok && echo good"],
        "Interval": 50_000_000,
        "Timeout": 20_000_000_000,
        "StartPeriod": 3_600_000_000_000,
        "StartInterval": 50_000_000,
        "Retries": 2,
    }
    told = box.run(
        "events", "--since", "0", "--until", "0s", "--filter", "event=health_status",
        "--format", "{{.Action}} {{.Actor.Attributes.name}}",
    )  # fmt: skip
    assert told[:2] == (0, b"health_status: healthy web\n")
    assert box.run("pause", "web")[0] == 0
    assert b"(Paused)" in box.run("ps")[1]
    # A stop signal lets it go on, whether it ends or not: it is checked again.
    assert box.run("kill", "-s", "TERM", "web")[0] == 0
    wait_until(lambda: health(box, "web") == "healthy")
    assert box.run("stop", "-t", "0", "web")[0] == 0
    assert health(box, "web") == "unhealthy"
    assert box.run("rm", "web")[0] == 0


def test_the_images_check_and_none(box: Installation) -> None:
    change = "HEALTHCHECK --interval=50ms CMD true"
    assert box.run("create", "--name", "base", "busybox")[0] == 0
    assert box.run("commit", "-c", change, "base", "checked")[0] == 0
    assert box.run("run", "-d", "--name", "yes", "checked", "sleep", "600")[0] == 0
    none = ("run", "-d", "--name", "no", "--no-healthcheck", "checked", "sleep", "600")
    assert box.run(*none)[0] == 0
    wait_until(lambda: health(box, "yes") == "healthy")
    assert box.run("ps", "--filter", "health=none", "--format", "{{.Names}}")[1] == b"no\n"
    assert b"(" not in box.run("ps", "--filter", "name=no", "--format", "{{.Status}}")[1]
    assert box.run("rm", "-f", "yes", "no", "base")[0] == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--no-healthcheck", "--health-cmd", "x"),
         "--no-healthcheck conflicts with --health-* options"),
        (("--health-interval", "-1s"), "--health-interval cannot be negative"),
        (("--health-interval", "10us"), "Interval in Healthcheck cannot be less than 1ms"),
        (("--health-timeout", "5"), 'invalid argument "5" for "--health-timeout" flag'),
        (("--health-retries", "many"), 'invalid argument "many" for "--health-retries" flag'),
    ],
)  # fmt: skip
def test_what_is_refused(words: tuple[str, ...], text: str, box: Installation) -> None:
    code, out, err = box.run("run", *words, "busybox", "true")
    assert (code, out) == (125, b"")
    assert text in err.decode()
    assert box.run("ps", "-aq")[1] == b""
