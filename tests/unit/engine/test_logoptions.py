"""What may be said of a log, and the words for what may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from knarr.engine import logconfig, logoptions
from knarr.engine.logoptions import Store
from knarr.engine.model import ContainerConfig
from knarr.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from knarr.engine.records import ContainerRecord


def config(driver: str | None, *options: str) -> ContainerConfig:
    pairs = (option.partition("=") for option in options)
    return ContainerConfig(
        "image", log_driver=driver, log_opts={name: value for name, _, value in pairs}
    )


DRIVERS = "json-file, local, none, journald, syslog"
BAD = [
    ("gelf", [], f"logger: no log driver named 'gelf' is registered (there are {DRIVERS})"),
    ("none", ["max-size=1"], "invalid logging opts for driver none"),
    ("local", ["labels=a"], "unknown log opt 'labels' for log-driver local"),
    (None, ["tag=a"], "unknown log opt 'tag' for log-driver local"),
    ("json-file", ["max-files=3"], "unknown log opt 'max-files' for json-file log driver"),
    ("journald", ["max-size=1"], "unknown log opt 'max-size' for journald log driver"),
    ("syslog", ["facility=1"], "unknown log opt 'facility' for syslog log driver"),
    ("json-file", ["max-size=0"], "max-size must be a positive number"),
    ("json-file", ["max-size=ten"], "invalid value for max-size: ten: invalid size: 'ten'"),
    ("json-file", ["max-file=0"], "max-file cannot be less than 1"),
    ("json-file", ["max-file=x"], 'strconv.Atoi: parsing "x": invalid syntax'),
    ("json-file", ["compress=true"],
     "compress cannot be true when max-file is less than 2 or max-size is not set"),
    ("json-file", ["compress=maybe"],
     'invalid boolean value for compress: strconv.ParseBool: parsing "maybe": invalid syntax'),
    ("local", ["max-file=1"], "compression cannot be enabled when max file count is 1"),
    ("local", ["max-file=-1"], "max-file must not be negative"),
    ("local", ["mode=fast"], "logger: logging mode not supported: fast"),
    ("local", ["max-buffer-size=1m"],
     "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
    ("syslog", ["mode=non-blocking", "max-buffer-size=x"],
     "error parsing option max-buffer-size: invalid size: 'x'"),
    ("syslog", ["syslog-address=localhost"],
     "syslog-address should be in form proto://address, got localhost"),
    ("syslog", ["syslog-address=unix://log"],
     "syslog-address should be in form proto://address, got unix://log"),
    ("syslog", ["syslog-address=udp://host:99999"],
     "syslog-address: 'host:99999' is no host and port"),
    ("syslog", ["syslog-facility=mine"], "invalid syslog facility"),
    ("syslog", ["syslog-facility=24"], "invalid syslog facility"),
    ("syslog", ["syslog-format=mine"], "Invalid syslog format"),
]  # fmt: skip


@pytest.mark.parametrize(("driver", "options", "words"), BAD)
def test_what_is_wrong_is_said_as_docker_says_it(
    driver: str | None, options: list[str], words: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        logoptions.check(config(driver, *options))
    assert str(caught.value) == words


@pytest.mark.parametrize("option", ["syslog-address=tcp+tls://host", "syslog-tls-key=/key"])
def test_what_there_is_not(option: str) -> None:
    with pytest.raises(Unsupported, match=f"log opt {option.partition('=')[0]}: syslog over TLS"):
        logoptions.check(config("syslog", option))


@pytest.mark.parametrize(
    ("driver", "options", "wanted"),
    [
        (None, [], Store(0, 5, True)),
        (None, ["max-size=10m"], Store(10_000_000, 5, True)),
        ("local", [], Store(20 * 1024 * 1024, 5, True)),
        ("local", ["max-size=1.5k", "max-file=1", "compress=0"], Store(1500, 1, False)),
        ("json-file", [], Store(0, 1, False)),
        ("json-file", ["max-size=1g", "max-file=3"], Store(1_000_000_000, 3, False)),
        ("json-file", ["max-size=-1", "max-file=3"], Store(0, 3, False)),
        ("syslog", ["cache-max-size=1k", "cache-max-file=2"], Store(1000, 2, True)),
        ("journald", [], Store(20 * 1024 * 1024, 5, True)),
    ],
)
def test_how_a_log_is_kept(driver: str | None, options: list[str], wanted: Store) -> None:
    chosen = config(driver, *options)
    logoptions.check(chosen)
    assert logoptions.store(*logoptions.effective(chosen)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("udp://1.2.3.4", ("udp", "1.2.3.4", 514)),
        ("tcp://host:601", ("tcp", "host", 601)),
        ("udp://[::1]:5140", ("udp", "::1", 5140)),
        ("unixgram:///dev/log", ("unixgram", "/dev/log", 0)),
    ],
)
def test_addresses(text: str, wanted: tuple[str, str, int] | None) -> None:
    assert logoptions.address({"syslog-address": text}) == wanted


def test_facilities() -> None:
    numbers = [logoptions.facility({"syslog-facility": f}) for f in ("", "kern", "local7", "23")]
    assert numbers == [3, 0, 23, 23]


def test_what_can_be_read() -> None:
    kept = [
        config(None),
        config("json-file"),
        config("syslog"),
        config("syslog", "cache-disabled=0"),
    ]
    assert all(logoptions.readable(one) for one in kept)
    assert not logoptions.readable(config("none"))
    assert not logoptions.readable(config("journald", "cache-disabled=true"))


class _Record:
    id = "a" * 64
    name = "web"
    image_id = "sha256:" + "b" * 64
    config = ContainerConfig("busybox")


def test_tags() -> None:
    record = cast("ContainerRecord", _Record)
    template = "{{.ImageName}}/{{ .Name }}/{{.ID}}/{{.ImageID}}"
    assert logconfig.tag(record, template) == f"busybox/web/{'a' * 12}/{'b' * 12}"
    for bad in ("{{.Nope}}", "{{if .ID}}x{{end}}"):
        with pytest.raises(InvalidArgument, match="log opt tag"):
            logconfig.tag(record, bad)
