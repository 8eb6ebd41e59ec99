"""Values of the flags of run: what is accepted, and Docker's words for what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from knarr.cli import runvalues


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (runvalues.address, " 10.0.0.1 ", "10.0.0.1"),
        (runvalues.address, "0:0:0:0:0:0:0:1", "::1"),
        (runvalues.search_domain, "example.org.", "example.org"),
        (runvalues.search_domain, ".", "."),
        (runvalues.extra_host, "db:10.0.0.7", "db:10.0.0.7"),
        (runvalues.extra_host, "db=::1", "db:::1"),
        (runvalues.extra_host, "db=[fe80::1]", "db:fe80::1"),
        (runvalues.extra_host, "up:host-gateway", "up:host-gateway"),
        (runvalues.ulimit, "nofile=1024:2048", ("nofile", 1024, 2048)),
        (runvalues.ulimit, "core=infinity", ("core", -1, -1)),
        (runvalues.ulimit, "nproc=5", ("nproc", 5, 5)),
        (runvalues.sysctl, "net.core.somaxconn=9", "net.core.somaxconn=9"),
        (runvalues.sysctl, "fs.mqueue.msg_max=9", "fs.mqueue.msg_max=9"),
        (runvalues.device_weight, "/dev/sda:300", ("/dev/sda", 300)),
        (runvalues.device_rule, "c 13:* rwm", "c 13:* rwm"),
        (runvalues.device, "/dev/fuse", ("/dev/fuse", "/dev/fuse", "rwm")),
        (runvalues.device, "/dev/fuse:r", ("/dev/fuse", "/dev/fuse", "r")),
        (runvalues.device, "/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm")),
        (runvalues.device, "/dev/a:/dev/b:rw", ("/dev/a", "/dev/b", "rw")),
    ],
)
def test_accepted(parse: Callable[[str], Any], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (runvalues.address, "10.0.0", "IP address is not correctly formatted: 10.0.0"),
        (runvalues.search_domain, "1", "1 is not a valid domain"),
        (runvalues.search_domain, "-a.org", "-a.org is not a valid domain"),
        (runvalues.search_domain, "a" * 255, "a" * 255 + " is not a valid domain"),
        (runvalues.extra_host, "db", 'bad format for add-host: "db"'),
        (runvalues.extra_host, ":1.2.3.4", 'bad format for add-host: ":1.2.3.4"'),
        (runvalues.extra_host, "a:b=1.2.3.4", 'bad format for add-host: "a:b=1.2.3.4"'),
        (runvalues.extra_host, "db:1.2.3", 'invalid IP address in add-host: "1.2.3"'),
        (runvalues.ulimit, "nofile", "invalid ulimit argument: nofile"),
        (runvalues.ulimit, "files=3", "invalid ulimit type: files"),
        (runvalues.ulimit, "as=3", "invalid ulimit type: as"),
        (runvalues.ulimit, "core=1:2:3", (
            "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`"
        )),
        (runvalues.ulimit, "core=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        (runvalues.ulimit, "core=9223372036854775808",
         'strconv.ParseInt: parsing "9223372036854775808": value out of range'),
        (runvalues.ulimit, "core=2:1",
         "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
        (runvalues.ulimit, "core=-1:1", (
            "ulimit soft limit must be less than or equal to hard limit: "
            "soft: -1 (unlimited), hard: 1"
        )),
        (runvalues.sysctl, "kernel.panic=1", "sysctl 'kernel.panic=1' is not allowed"),
        (runvalues.sysctl, "net.core.somaxconn", "sysctl 'net.core.somaxconn' is not allowed"),
        (runvalues.device_weight, "/dev/sda", "bad format: /dev/sda"),
        (runvalues.device_weight, "sda:300", "bad format for device path: sda:300"),
        (runvalues.device_weight, "/dev/sda:9", "invalid weight for device: /dev/sda:9"),
        (runvalues.device_weight, "/dev/sda:x", "invalid weight for device: /dev/sda:x"),
        (runvalues.device_rule, "c 1:3 x", "invalid device cgroup format 'c 1:3 x'"),
        (runvalues.device, ":/dev/b", "bad format for path: :/dev/b"),
        (runvalues.device, "a:b:c:d", "bad format for path: a:b:c:d"),
        (runvalues.device, "/dev/a:/dev/b:x", "bad mode specified: x"),
        (runvalues.device, "/dev/a:b", "b is not an absolute path"),
        (runvalues.device, "fuse", "fuse is not an absolute path"),
    ],
)  # fmt: skip
def test_refused(parse: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value) == message
