"""``--log-driver`` and ``--log-opt``: Docker's names, defaults and words for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from knarr.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from knarr.engine.model import ContainerConfig

DEFAULT = "local"
DRIVERS = ("json-file", "local", "none", "journald", "syslog")
_FILES = frozenset({"max-size", "max-file", "compress"})
_ATTRIBUTES = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_CACHE = frozenset({"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"})
_TLS = ("syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify")
_SYSLOG = frozenset({"syslog-address", "syslog-facility", "syslog-format", *_TLS})
_KNOWN = {
    "json-file": _FILES | _ATTRIBUTES,
    "local": _FILES,
    "journald": _ATTRIBUTES | _CACHE,
    "syslog": _ATTRIBUTES | _CACHE | _SYSLOG,
}
_ANY = frozenset({"mode", "max-buffer-size"})


def names() -> list[str]:
    """Return the names of all options of all drivers, sorted."""
    return sorted(_ANY.union(*_KNOWN.values()))


_FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp",
)  # fmt: skip
_LOCALS = 16  # the number of local0
FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_ADDRESS = re.compile(r"(tcp\+tls|tcp|udp|unixgram|unix)://(.*)", re.DOTALL)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_NUMBER = re.compile(r"(\d+(?:\.\d+)?) ?([kKmMgGtTpP]?)(i?)[bB]?")
_POWERS = ("", "k", "m", "g", "t", "p")
_SIZE, _COUNT = 20 * 1024 * 1024, 5  # of the local driver
_BUFFER = 1_000_000
_SYSLOG_PORT = 514


@dataclass(frozen=True, slots=True)
class Store:
    """How the log itself is kept. limit: bytes a file, 0 without end. keep: number of files."""

    limit: int
    keep: int
    compress: bool


def effective(config: ContainerConfig) -> tuple[str, dict[str, str]]:
    """Return driver and options; what is kept without a word about it is kept without end."""
    options = dict(config.log_opts)
    if config.log_driver:
        return config.log_driver, options
    options.setdefault("max-size", "-1")
    return DEFAULT, options


def readable(config: ContainerConfig) -> bool:
    """Return whether knarr keeps the output itself."""
    if config.log_driver in (None, "", *("local", "json-file")):
        return True
    return config.log_driver != "none" and not _flag(config.log_opts, "cache-disabled")


def check(config: ContainerConfig) -> None:
    """Raise InvalidArgument or Unsupported for what is no driver, or none of its options."""
    driver, options = effective(config)
    if driver == "none":
        if options:
            raise InvalidArgument("invalid logging opts for driver none")
        return
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options and mode != "non-blocking":
        raise InvalidArgument(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        )
    buffer_size(options)
    if driver not in DRIVERS:
        raise InvalidArgument(
            f"logger: no log driver named '{driver}' is registered (there are {', '.join(DRIVERS)})"
        )
    for name in options:
        if name not in _KNOWN[driver] | _ANY:
            words = "log-driver local" if driver == "local" else f"{driver} log driver"
            raise InvalidArgument(f"unknown log opt '{name}' for {words}")
    store(driver, options)
    if driver == "syslog":
        address(options)
        facility(options)
        if options.get("syslog-format", "") not in FORMATS:
            raise InvalidArgument("Invalid syslog format")
        for name in _TLS:
            if name in options:
                raise Unsupported(_no_tls(name))


def store(driver: str, options: Mapping[str, str]) -> Store:
    """Return how the log is kept. Raises InvalidArgument."""
    if driver == "json-file":
        return _json_store(options)
    prefix = "" if driver == "local" else "cache-"
    limit, keep = _SIZE, _COUNT
    if text := options.get(f"{prefix}max-size"):
        limit = 0 if text == "-1" else _size(text, "max-size")
    if text := options.get(f"{prefix}max-file"):
        keep = _integer(text, "invalid value for max-file: " + text + ": ")
        if keep < 1:
            raise InvalidArgument("max-file must not be negative" if keep else _LESS)
    compress = f"{prefix}compress" not in options or _flag(options, f"{prefix}compress")
    if limit and compress and keep == 1:
        raise InvalidArgument("compression cannot be enabled when max file count is 1")
    return Store(limit, keep, compress)


_LESS = "max-file cannot be less than 1"


def _json_store(options: Mapping[str, str]) -> Store:
    limit, keep = 0, 1
    text = options.get("max-size")
    if text is not None and text != "-1":
        limit = _size(text, "max-size")
        if limit <= 0:
            raise InvalidArgument("max-size must be a positive number")
    if text := options.get("max-file"):
        keep = _integer(text, "")
        if keep < 1:
            raise InvalidArgument(_LESS)
    compress = _flag(options, "compress")
    if compress and (keep == 1 or not limit):
        raise InvalidArgument(
            "compress cannot be true when max-file is less than 2 or max-size is not set"
        )
    return Store(limit, keep, compress)


def buffer_size(options: Mapping[str, str]) -> int:
    """Return how many bytes may wait for a receiver, 0: the container waits instead."""
    if options.get("mode") != "non-blocking":
        return 0
    text = options.get("max-buffer-size")
    if text is None:
        return _BUFFER
    try:
        return max(1, _bytes(text, 1024))
    except ValueError:
        raise InvalidArgument(
            f"error parsing option max-buffer-size: invalid size: '{text}'"
        ) from None


def facility(options: Mapping[str, str]) -> int:
    """Return syslog's number of a facility, daemon's without one. Raises InvalidArgument."""
    text = options.get("syslog-facility") or "daemon"
    if text in _FACILITIES:
        return _FACILITIES.index(text)
    if re.fullmatch("local[0-7]", text):
        return _LOCALS + int(text[-1])
    if text.isascii() and text.isdigit() and int(text) <= _LOCALS + 7:
        return int(text)
    raise InvalidArgument("invalid syslog facility")


def address(options: Mapping[str, str]) -> tuple[str, str, int] | None:
    """Return scheme, path or host, and port of a syslog address; None for this machine's own.

    Raises InvalidArgument, Unsupported for TLS.
    """
    text = options.get("syslog-address")
    if not text:
        return None
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"syslog-address should be in form proto://address, got {text}")
    scheme, rest = found[1], found[2]
    if scheme == "tcp+tls":
        raise Unsupported(_no_tls("syslog-address"))
    if scheme.startswith("unix"):
        if not rest.startswith("/"):
            raise InvalidArgument(f"syslog-address should be in form proto://address, got {text}")
        return scheme, rest, 0
    host, port = _host_and_port(rest.rstrip("/"))
    if not host:
        raise InvalidArgument(f"syslog-address {text}: no host in it")
    return scheme, host, port


def _host_and_port(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", text)
    if found is None or int(found[2] or 0) > 65535:
        raise InvalidArgument(f"syslog-address: '{text}' is no host and port")
    return found[1].strip("[]"), int(found[2] or _SYSLOG_PORT)


def _no_tls(name: str) -> str:
    return (
        f"log opt {name}: syslog over TLS is not available; give the lines to this machine's "
        "syslog (unix:///dev/log), which can pass them on"
    )


def _flag(options: Mapping[str, str], name: str) -> bool:
    text = options.get(name)
    if text is None or text in _FALSE:
        return False
    if text in _TRUE:
        return True
    raise InvalidArgument(
        f'invalid boolean value for {name}: strconv.ParseBool: parsing "{text}": invalid syntax'
    )


def _integer(text: str, before: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f'{before}strconv.Atoi: parsing "{text}": invalid syntax') from None


def _size(text: str, name: str) -> int:
    """Return bytes in powers of 1000, as Docker reads the sizes of log files."""
    try:
        return _bytes(text, 1000)
    except ValueError:
        raise InvalidArgument(f"invalid value for {name}: {text}: invalid size: '{text}'") from None


def _bytes(text: str, base: int) -> int:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(float(found[1]) * base ** _POWERS.index(found[2].lower()))
