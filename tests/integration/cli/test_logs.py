"""logs with its flags, and the log options of run, as one types them."""

from __future__ import annotations

import json
import re

from tests.support.installations import Installation

STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


def test_details(box: Installation) -> None:
    words = (
        "--log-driver",
        "json-file",
        "--log-opt",
        "labels=tier,x",
        "--log-opt",
        "tag={{.Name}}",
    )
    box.run("run", "--name", "one", "-l", "tier=a b", *words, "busybox", "echo", "hello")
    assert box.run("logs", "one") == (0, b"hello\n", b"")
    assert box.run("logs", "--details", "one") == (0, b"tag=one,tier=a+b hello\n", b"")
    assert re.fullmatch(
        STAMP + rb" tag=one,tier=a\+b hello\n", box.run("logs", "-t", "--details", "one")[1]
    )
    found = json.loads(box.run("inspect", "one")[1])[0]
    options = {"labels": "tier,x", "tag": "{{.Name}}"}
    assert found["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": options}
    with open(found["LogPath"], encoding="utf-8") as file:
        assert json.loads(file.read())["log"] == "hello\n"


def test_a_driver_without_a_log(box: Installation) -> None:
    run = ("run", "--name", "one", "--log-driver", "none", "busybox", "echo", "hello")
    assert box.run(*run) == (0, b"hello\n", b"")
    code, out, err = box.run("logs", "one")
    assert (code, out) == (1, b"")
    assert err == b"Error: configured logging driver does not support reading\n"


def test_what_is_wrong_with_options(box: Installation) -> None:
    for words, message in (
        (("--log-driver", "gelf"), "logger: no log driver named 'gelf' is registered"),
        (("--log-opt", "labels=a"), "unknown log opt 'labels' for log-driver local"),
        (("--log-driver", "none", "--log-opt", "a=b"), "invalid logging opts for driver none"),
    ):
        code, _, err = box.run("run", "--rm", *words, "busybox", "true")
        assert code == 125
        assert message in err.decode()
