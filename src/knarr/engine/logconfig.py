"""From a container's log options to what its supervisor has to know, when it is started."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import logoptions
from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = ("/dev/log", "/var/run/syslog", "/var/run/log")
_CONNECT_SECONDS = 5.0
_FIELD = re.compile(r"\{\{-?\s*\.(\w+)\s*-?\}\}")
_SHORT = 12


def is_plain(record: ContainerRecord) -> bool:
    """Return whether nothing was said about the log, as for most containers."""
    return not record.config.log_driver and not record.config.log_opts


def request(engine: Engine, record: ContainerRecord, paths: Paths) -> dict[str, Any]:
    """Return what a start's request says of the log: ``log`` and ``log_config``.

    Raises InvalidArgument for a bad tag or pattern, Unavailable when the driver's receiver
    cannot be reached, in Docker's words.
    """
    driver, options = logoptions.effective(record.config)
    if driver == "none":
        return {"log": None, "log_config": None}
    store = logoptions.store(driver, options)
    kept = logoptions.readable(record.config)
    return {
        "log": paths.log if kept else None,
        "log_config": {
            "limit": store.limit if kept else 0,
            "keep": store.keep,
            "compress": store.compress and store.limit > 0,
            "forward": _forward(engine, record, paths, driver, options, store),
        },
    }


def _forward(
    engine: Engine,
    record: ContainerRecord,
    paths: Paths,
    driver: str,
    options: Mapping[str, str],
    store: logoptions.Store,
) -> dict[str, Any] | None:
    if driver == "local":
        return None
    found = attributes(engine, record, driver, options)
    if driver == "json-file":
        return {
            "kind": "json",
            "path": paths.json_log,
            "limit": store.limit,
            "keep": store.keep,
            "attrs": _json(found) if found else "",
        }
    name = tag(record, options.get("tag") or "{{.ID}}")
    buffer = logoptions.buffer_size(options)
    if driver == "journald":
        addresses: list[Any] = [["dgram", JOURNAL]]
        _reach(addresses, "journald is not enabled on this host")
        fields = {**_journal_fields(record, name), **found}
        return {
            "kind": "journal",
            "addresses": addresses,
            "buffer": buffer,
            "fields": fields,
            "partial": secrets.token_hex(16),
        }
    return {
        "kind": "syslog",
        "addresses": _syslog_addresses(options),
        "buffer": buffer,
        "facility": logoptions.facility(options),
        "format": options.get("syslog-format", ""),
        "host": os.uname().nodename,
        "tag": name,
    }


def _json(values: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(values.items())), ensure_ascii=False, separators=(",", ":"))


def _journal_fields(record: ContainerRecord, name: str) -> dict[str, str]:
    return {
        "CONTAINER_ID": record.id[:_SHORT],
        "CONTAINER_ID_FULL": record.id,
        "CONTAINER_NAME": record.name,
        "CONTAINER_TAG": name,
        "IMAGE_NAME": record.config.image,
        "SYSLOG_IDENTIFIER": name,
    }


def _syslog_addresses(options: Mapping[str, str]) -> list[Any]:
    """Return where to send, names looked up. Raises Unavailable when nobody is there."""
    given = logoptions.address(options)
    if given is None:
        addresses: list[Any] = [[kind, path] for path in SYSLOG for kind in ("dgram", "stream")]
        _reach(addresses, "Unix syslog delivery error")
        return addresses
    scheme, where, port = given
    if scheme == "unix":
        addresses = [["stream", where], ["dgram", where]]
        _reach(addresses, f"dial unix {where}")
        return addresses
    if scheme == "unixgram":
        addresses = [["dgram", where]]
        _reach(addresses, f"dial unixgram {where}")
        return addresses
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(where, port, type=kind)
    except OSError as error:
        raise _unavailable(f"dial {scheme}: lookup {where}: {error.strerror}") from None
    word = "dgram" if scheme == "udp" else "stream"
    addresses = [[word, list(entry[4][:2])] for entry in found]
    _reach(addresses, f"dial {scheme} {where}:{port}")
    return addresses


def _reach(addresses: list[Any], words: str) -> None:
    """Raise Unavailable when none of the addresses can be connected to."""
    failure: OSError | None = None
    for kind, where in addresses:
        family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
        if family is socket.AF_INET and ":" in where[0]:
            family = socket.AF_INET6
        type_ = socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM
        with socket.socket(family, type_ | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(_CONNECT_SECONDS)
            try:
                sock.connect(where if isinstance(where, str) else tuple(where))
            except OSError as error:
                failure = error
            else:
                return
    reason = "" if failure is None or not words.startswith("dial") else f": {failure.strerror}"
    raise _unavailable(words + (f": connect{reason.lower()}" if reason else ""))


def _unavailable(words: str) -> errors.Unavailable:
    return errors.Unavailable(f"failed to initialize logging driver: {words}")


def attributes(
    engine: Engine, record: ContainerRecord, driver: str, options: Mapping[str, str]
) -> dict[str, str]:
    """Return the labels and variables that the options name, and the tag of a json-file.

    Raises InvalidArgument.
    """
    texts = [*(engine.image_defaults(record.image_id).get("Env") or ()), *record.config.env]
    variables = dict(text.split("=", 1) for text in texts if "=" in text)
    found = {
        **_chosen(engine.labels(record), options, "labels"),
        **_chosen(variables, options, "env"),
    }
    if driver == "journald":
        return {_journal_name(name): value for name, value in found.items() if _journal_name(name)}
    if driver == "json-file" and options.get("tag"):
        found["tag"] = tag(record, options["tag"])
    return found


def _chosen(values: Mapping[str, str], options: Mapping[str, str], name: str) -> dict[str, str]:
    names = [word for word in (options.get(name) or "").split(",") if word in values]
    if pattern := options.get(f"{name}-regex"):
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise InvalidArgument(f"log opt {name}-regex: {error}") from None
        names.extend(word for word in values if expression.search(word))
    return {word: values[word] for word in names}


def _journal_name(name: str) -> str:
    """Return a name as the journal allows it: capitals, digits, underscores, not first."""
    return re.sub("[^A-Z0-9]", "_", name.upper(), flags=re.ASCII).lstrip("_")


def tag(record: ContainerRecord, template: str) -> str:
    """Return what a tag's template stands for. Raises InvalidArgument."""
    image = record.image_id.partition(":")[2]
    values = {
        "ID": record.id[:_SHORT],
        "FullID": record.id,
        "Name": record.name,
        "ImageID": image[:_SHORT],
        "ImageFullID": record.image_id,
        "ImageName": record.config.image,
        "DaemonName": "knarr",
    }

    def replaced(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise InvalidArgument(f"log opt tag: there is no .{found[1]} in {template!r}")
        return values[found[1]]

    text = _FIELD.sub(replaced, template)
    if "{{" in text:
        raise InvalidArgument(
            f"log opt tag: {template!r}: fields only, such as {{{{.Name}}}} or {{{{.ID}}}}"
        )
    return text
